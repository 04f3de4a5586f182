"""Vocabulary extension on three domains: what it saves, bits per byte, and the task's metric.

SPT_DATA_HOME=... python -m tests.bench.bench_vocabulary [--only ddi] [--steps 100] [--lists]

Held out: a fifth of the documents. Bases are trained on the same bytes with a fresh head. For the
task's metric each is fine-tuned with the recipe's rate, on `--score-rows` rows for `--score-epochs`
epochs, with each of `--score-seeds` seeds: less than a training of the task, so that its figures
are lower. Seconds are of this machine as busy as it was; the speeds of both bases are measured in
turns.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from cluster.settings import load_settings
from jobs.recipes import default
from spt_core.artifacts import as_uri
from spt_core.data.catalog import DATASETS
from spt_core.data.corpus import ROW
from spt_core.data.labels import class_counts, classes_of, rule_of
from spt_core.families.text.config import DEFAULT_BASE
from spt_core.task import find
from spt_core.vocabulary import DomainVocabularyManager, VocabularyConfig
from spt_core.vocabulary.config import MaskedConfig
from spt_core.vocabulary.score import TaskScore, drawn_rows
from spt_core.vocabulary.study import study
from spt_core.vocabulary.terms import read_terms

DOMAINS: Mapping[str, tuple[str, ...]] = {  # the score's rows are those of the last
    "finance": ("compliance-obliqa", "compliance-unfair-tos"),
    "ddi": ("ddi-corpus-2013",),
    "tram": ("tram-attack",),
}
LISTS: Mapping[str, tuple[str, ...]] = {
    "finance": ("vocabulary/finance_fibo_labels.txt",),
    "ddi": (
        "vocabulary/medical_fda_active_ingredients.txt",
        "vocabulary/medical_fda_drug_names.txt",
    ),
    "tram": (
        "technology/vocabulary/attack_enterprise_malware.csv",
        "technology/vocabulary/attack_enterprise_tool.csv",
        "technology/vocabulary/attack_enterprise_attack-pattern.csv",
    ),
}


def rows_of(name: str, home: str) -> tuple[pa.Table, pa.Table]:
    """Training and held-out rows of a data set by document."""
    dataset = DATASETS[name]
    assert dataset.read is not None
    group = dataset.roles.group
    assert group is not None
    table = dataset.read(f"{as_uri(home)}/{find(dataset.task).industry}/{name}")
    places = [
        int(hashlib.sha256(f"vocabulary-{document}".encode()).hexdigest(), 16) % 5 == 0
        for document in table[group].to_pylist()
    ]
    mask = pa.array(places)
    return table.filter(pa.compute.invert(mask)), table.filter(mask)


def score_of(name: str, pair: tuple[pa.Table, pa.Table], given: argparse.Namespace) -> TaskScore:
    """The metric of a data set's task, on some of its rows."""
    label, task = DATASETS[name].roles.label, find(DATASETS[name].task)
    train, held_out = (
        table.append_column(ROW, pa.array(range(table.num_rows))).take(
            drawn_rows(table[label].to_pylist(), task.head, given.score_rows)
        )
        for table in pair
    )
    rule = rule_of(task)
    return TaskScore(
        task=task,
        train=train,
        held_out=held_out,
        label=label,
        classes=classes_of(rule, class_counts(train[label], rule)),
        config=dataclasses.replace(default(task).training, num_epochs=given.score_epochs),
        num_seeds=given.score_seeds,
    )


def measured(domain: str, given: argparse.Namespace, home: str, storage: str) -> dict[str, Any]:
    """The figures of one domain."""
    pairs = [rows_of(name, home) for name in DOMAINS[domain]]
    train, held_out = ([t for pair in pairs for t in pair[i]["text"].to_pylist()] for i in (0, 1))
    score = score_of(DOMAINS[domain][-1], pairs[-1], given)
    terms = [t for file in LISTS[domain] for t in read_terms(f"{home}/{file}")]
    start = time.monotonic()
    manager = DomainVocabularyManager(
        DEFAULT_BASE,
        storage,
        config=VocabularyConfig(
            max_phrases=given.phrases, context_steps=given.context_steps, min_uses=given.min_uses
        ),
    )
    extension = manager.extend_from_texts(
        industry=score.task.industry,
        texts=train,
        fingerprint=f"bench-{domain}",
        new_terms=terms if given.lists else (),
    )
    seconds = round(time.monotonic() - start, 1)
    found = study(
        extension,
        train,
        held_out,
        score=score,
        fingerprint=f"bench-{domain}",
        storage=storage,
        training=MaskedConfig(num_steps=given.steps, first_steps=given.steps // 3),
    )
    after_training = [round(score(adapted.base), 4) for adapted in found.adapted]
    return {
        "domain": domain,
        **dataclasses.asdict(found.savings),
        **found.facts(),
        "score_after_training_on_text": after_training,
        "last_losses": [adapted.losses[-1] for adapted in found.adapted],
        "extending_s": seconds,
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(DOMAINS))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--context-steps", type=int, default=300)
    parser.add_argument("--phrases", type=int, default=100)
    parser.add_argument("--min-uses", type=int, default=3)
    parser.add_argument("--score-rows", type=int, default=2000)
    parser.add_argument("--score-epochs", type=int, default=2)
    parser.add_argument("--score-seeds", type=int, default=2)
    parser.add_argument("--lists", action="store_true", help="the industry's lists of terms too")
    given = parser.parse_args()
    storage = str(Path("bench_results/vocabulary").absolute())
    home = load_settings(storage=storage).data_home
    for domain in [given.only] if given.only else DOMAINS:
        print(json.dumps(measured(domain, given, home, storage)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
