"""Text quality by document: python -m tests.bench.bench_text_folds tos|ddi|tram [--epochs N]

SPT_DATA_HOME=... python -m tests.bench.bench_text_folds tram [--folds 5] [--seed 0] [--student]

Grouped 5-fold: documents are dealt to folds, a fold is predicted by a model that saw none of its
documents, and all predictions are pooled. Of the documents that train, a tenth is kept for
calibration and thresholds, chosen there alone. TF-IDF + logistic regression gets the same rows: its
strength and thresholds are chosen on the same tenth. The interval is of the difference, documents
being resampled. Folds that are finished are used again (same folder, code and settings).
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from cluster.settings import load_settings
from jobs.recipes import PipelineConfig
from spt_core.answering.text import TextAnswerer
from spt_core.benchmark.outcomes import outcomes_of
from spt_core.benchmark.text_baselines import tune_text_baselines
from spt_core.data.catalog import DATASETS, open_dataset
from spt_core.data.labels import class_counts, classes_of, rule_of
from spt_core.data.splits import Splits
from spt_core.distillation import DistillationPipeline
from spt_core.metrics import HEAD_METRICS, Outcomes
from spt_core.model import open_answerer
from spt_core.policy import LabelPolicy, fit_label_policy
from spt_core.task import Task, find
from spt_core.training import SpecializedModelTrainer
from tests.bench import protocol

METRIC_OF = {
    "tos": ("compliance-unfair-tos", "any_label_f1"),
    "ddi": ("ddi-corpus-2013", "micro_f1"),
    "tram": ("tram-attack", "macro_f1_frequent"),
}
CALIBRATION_SHARE = 0.1
NUM_RESAMPLES = 1000


class Pooled(NamedTuple):
    """Out-of-fold outcomes of one model, all folds together."""

    parts: list[Outcomes]

    def joined(self) -> Outcomes:
        """All items; documents of different folds are different ones."""
        first = self.parts[0]
        groups = [part.groups + 1_000_000 * n for n, part in enumerate(self.parts)]
        return first._replace(
            labels=np.concatenate([p.labels for p in self.parts]),
            probabilities=np.concatenate([p.probabilities for p in self.parts]),
            given=np.concatenate([p.given for p in self.parts]),
            groups=np.concatenate(groups),
            support=np.sum([p.support for p in self.parts], axis=0),
        )


def folds(table: pa.Table, group: str, num_folds: int) -> np.ndarray:
    """The fold of each row: documents in random order, dealt in turn."""
    documents = np.array(table[group].to_pylist())
    names = np.unique(documents)
    order = np.random.default_rng(0).permutation(len(names))
    of_name = dict(zip(names[order], np.arange(len(names)) % num_folds, strict=True))
    return np.array([of_name[name] for name in documents])


def parts_of(table: pa.Table, group: str, fold_of: np.ndarray, fold: int) -> dict[str, pa.Table]:
    """Train, calibration (a tenth of the training documents) and test; nothing stops early."""
    rest = np.flatnonzero(fold_of != fold)
    documents = np.array(table[group].to_pylist())
    names = np.unique(documents[rest])
    chosen = np.random.default_rng(fold).permutation(names)
    held = np.isin(documents[rest], chosen[: max(int(len(names) * CALIBRATION_SHARE), 1)])
    calibration = table.take(rest[held])
    return {
        "train": table.take(rest[~held]),
        "validation": calibration,
        "calibration": calibration,
        "test": table.take(np.flatnonzero(fold_of == fold)),
    }


def policy_on(answerer: TextAnswerer, table: pa.Table, label: str) -> LabelPolicy:
    """Thresholds chosen on calibration rows."""
    task = answerer.task
    found = outcomes_of(answerer, table, label)  # documents play no part in thresholds
    return fit_label_policy(
        task.head, answerer.classes, found.labels, found.probabilities, task.negative_class
    )


def predicted(source: Any, splits: Splits) -> Outcomes:
    """Test outcomes of a model under the policy of its calibration rows."""
    head = find(splits.task).head
    plain = open_answerer(source, LabelPolicy(thresholds={}, most_probable=head != "multi_label"))
    assert isinstance(plain, TextAnswerer)
    policy = policy_on(plain, splits.table("calibration"), splits.label)
    answerer = open_answerer(source, policy)
    assert isinstance(answerer, TextAnswerer)
    return outcomes_of(answerer, splits.table("test"), splits.label, group=splits.corpus.group)


def fold_outcomes(
    task: Task, splits: Splits, config: PipelineConfig, *, with_student: bool
) -> dict[str, Outcomes]:
    """Test outcomes of our models and of the baseline."""
    found: dict[str, Outcomes] = {}
    baseline = tune_text_baselines(
        task,
        splits.classes,
        splits.table("train"),
        splits.table("calibration"),
        splits.label,
        num_trials=5,
    )[0]
    found[baseline.name] = baseline.outcomes(splits.table("test"), splits.corpus.group)
    teacher = SpecializedModelTrainer(config.training).train(splits)
    found["teacher"] = predicted(teacher.source, splits)
    if with_student:
        student = DistillationPipeline(config.distillation).distill(teacher, splits)
        found["student"] = predicted(student.source, splits)
    return found


def difference(first: Outcomes, second: Outcomes, metric: Any) -> dict[str, float]:
    """The difference of two models' figures, with its interval over documents."""
    draw = np.random.default_rng(0)
    order = np.argsort(first.groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(first.groups[order])) + 1)
    values = []
    for _ in range(NUM_RESAMPLES):
        chosen = draw.integers(0, len(members), len(members))
        rows = np.concatenate([members[i] for i in chosen])
        values.append(metric(first.take(rows)) - metric(second.take(rows)))
    low, high = np.quantile(values, [0.025, 0.975])
    return {"value": metric(first) - metric(second), "low": float(low), "high": float(high)}


def main() -> None:
    """Run the folds, pool, print."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("which", choices=METRIC_OF)
    made.add_argument("--folds", type=int, default=5)
    made.add_argument("--only", type=int, help="run this many folds and stop")
    made.add_argument("--epochs", type=int)
    made.add_argument("--rate", type=float)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--student", action="store_true")
    asked = made.parse_args()
    name, metric_name = METRIC_OF[asked.which]
    task = find(DATASETS[name].task)
    metric = HEAD_METRICS[task.head][metric_name]
    storage = protocol.bench_storage(f"text-{asked.which}")
    config = protocol.recipe(task, storage)
    changed = {"num_epochs": asked.epochs, "learning_rate": asked.rate, "seed": asked.seed}
    given = {key: value for key, value in changed.items() if value is not None}
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, **given))
    pooled: dict[str, Pooled] = {}
    with protocol.local_session(storage):
        corpus = open_dataset(name, data_home=load_settings().data_home, storage=storage)
        table, columns = protocol.typed_rows(task, corpus, storage)
        assert corpus.group is not None
        fold_of = folds(table, corpus.group, asked.folds)
        rule = rule_of(task)
        classes = classes_of(rule, class_counts(table[corpus.label], rule))
        for fold in range(asked.only or asked.folds):
            parts = parts_of(table, corpus.group, fold_of, fold)
            splits = protocol.make_splits(
                task, corpus, columns, parts, storage, classes=classes, name=f"-{fold}"
            )
            found = fold_outcomes(task, splits, config, with_student=asked.student)
            for model, outcomes in found.items():
                pooled.setdefault(model, Pooled([])).parts.append(outcomes)
                protocol.say(f"fold {fold}, {model}: {metric_name} {metric(outcomes):.4f}")
    joined = {model: of.joined() for model, of in pooled.items()}
    baseline = next(model for model in joined if model.startswith("TF-IDF"))
    protocol.finish(
        f"text-{asked.which}",
        {
            "dataset": name,
            "metric": metric_name,
            "folds": asked.only or asked.folds,
            "config": given,
            "figures": {
                model: {key: each(of) for key, each in HEAD_METRICS[task.head].items()}
                for model, of in joined.items()
            },
            "gain": {
                model: difference(of, joined[baseline], metric)
                for model, of in joined.items()
                if model != baseline
            },
        },
    )


if __name__ == "__main__":
    main()
