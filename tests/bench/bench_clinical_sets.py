"""Sets of diagnoses on cases that trained nothing: python -m tests.bench.bench_clinical_sets

SPT_DATA_HOME=... python -m tests.bench.bench_clinical_sets [--folds 5] [--only N] [--alone]

symptom2disease, cases dealt to folds by their set of words, so that equal ones stay together, and
class by class. Of the cases that are not a fold's, 22 % calibrate and 12 % stop training early, and
nothing else is learnt from them. Sets come from the calibration cases alone, at 90, 95 and 99 %:
the share of test cases whose set holds the diagnosis, with Wilson's interval, and the mean size.
The model is the exported student. With `--alone` it is its network without a teacher, fitted to the
labels in this process: a minute of one core, and no Ray. Beside it, TF-IDF and logistic regression
on the words. Folds that are finished are used again. The student's width and rates were chosen
among five by the accuracy on the first fold's test cases, so that its figures are a bit too good:
accuracy and size above all, for thresholds come from other cases.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load as load_weights
from scipy.stats import binomtest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from cluster.settings import load_settings
from jobs.recipes.config import PipelineConfig
from spt_core.artifacts import filesystem
from spt_core.data.catalog import DATASETS, open_dataset
from spt_core.data.conform import conform
from spt_core.data.infer import infer_columns
from spt_core.data.labels import class_counts, classes_of, rule_of
from spt_core.data.partition import PARTS
from spt_core.data.splits import Splits
from spt_core.distillation import DistillationPipeline
from spt_core.export import export
from spt_core.families.tabular.config import TabularConfig
from spt_core.families.tabular.learner import LEARNER
from spt_core.families.tabular.network import StudentNetwork, table_facts
from spt_core.families.tabular.rows import encoded_arrays, target_of
from spt_core.fitting.loop import BEST, fit
from spt_core.fitting.plan import TrainingRun
from spt_core.fitting.shards import MemoryShard
from spt_core.heads import HEADS, ITEM_HEADS
from spt_core.heads.base import Truth
from spt_core.heads.labels import with_sets
from spt_core.heads.outcomes import Outcomes
from spt_core.model import default_policy, open_answerer
from spt_core.policy import LabelPolicy
from spt_core.task import find
from spt_core.training import SpecializedModelTrainer
from tests.bench import protocol

NAME, WORDS, LABEL = "symptom2disease", "patient.symptoms", "diagnosis"
COVERAGES = (0.9, 0.95, 0.99)
SHARES = {"train": 0.66, "validation": 0.12, "calibration": 0.22}


def folds(table: pa.Table, num_folds: int) -> np.ndarray:
    """The fold of each row: sets of words in random order, dealt in turn class by class."""
    sets, number = np.unique(np.array(table[WORDS].to_pylist()), return_inverse=True)
    labels = np.array(table[LABEL].to_pylist())
    label_of = np.array([labels[number == place][0] for place in range(len(sets))])
    order = np.lexsort((np.random.default_rng(0).random(len(sets)), label_of))
    of_set = np.empty(len(sets), np.int64)
    of_set[order] = np.arange(len(sets)) % num_folds
    return of_set[number]


def parts_of(table: pa.Table, fold_of: np.ndarray, fold: int) -> dict[str, pa.Table]:
    """The fold as test, and the rest by SHARES, equal sets of words together."""
    rest = table.take(np.flatnonzero(fold_of != fold))
    _, number = np.unique(np.array(rest[WORDS].to_pylist()), return_inverse=True)
    place = np.random.default_rng(fold).random(number.max() + 1)[number]
    which = np.searchsorted(np.cumsum([*SHARES.values()])[:-1], place, side="right")
    parts = {name: rest.take(np.flatnonzero(which == i)) for i, name in enumerate(SHARES)}
    return {**parts, "test": table.take(np.flatnonzero(fold_of == fold))}


def outcomes_of(splits: Splits, config: PipelineConfig) -> tuple[Outcomes, Outcomes]:
    """What the exported student says of the calibration and of the test rows."""
    teacher = SpecializedModelTrainer(config.training).train(splits)
    student = DistillationPipeline(config.distillation).distill(teacher, splits)
    exported = export(student.artifact)
    answerer = open_answerer(exported, default_policy(exported))
    calibration, test = (
        answerer.outcomes(splits.table(part), splits.label) for part in ("calibration", "test")
    )
    return calibration, test


def outcomes_alone(
    splits: Splits, config: PipelineConfig, folder: str
) -> tuple[Outcomes, Outcomes]:
    """What the student's network says, fitted to the labels and calibrated as a student is."""
    task, training = find(splits.task), config.distillation.training
    training = dataclasses.replace(training, num_epochs=60, output_dir=folder)
    target, signature = target_of(task, splits, "none"), splits.signature
    encoded = {part: encoded_arrays(splits, part, signature, target, limit=10**6) for part in PARTS}
    features, targets = encoded["train"]
    run = TrainingRun(
        learner=LEARNER,
        signature=signature,
        role="student",
        config=training,
        facts=table_facts(signature, training.network, features, targets, target),
        num_rows=len(features),
        row_bytes=4,
        scoring_rows=8192,
        head=task.head,
    )
    train, held_out = (
        MemoryShard((*encoded[part], np.ones(len(encoded[part][0]), np.float32)), seed=0)
        for part in ("train", "validation")
    )
    best: list[bytes] = []

    def keep(metrics: Mapping[str, float], written: Path | None) -> None:
        if "final" in metrics and written is not None:
            best.append((written / BEST).read_bytes())

    fit(run, train, held_out, report=keep, resume=None)
    network = cast(StudentNetwork, LEARNER.network(run).eval())
    network.load_state_dict(load_weights(best[-1]))
    held, truth = encoded["calibration"]
    with torch.no_grad():
        raw = network(torch.from_numpy(held)).double().numpy()
        network.calibrate(target.output.calibration(raw, truth.astype(np.float64), target, None))
        scores = {
            part: network.score(torch.from_numpy(encoded[part][0])).double().numpy()
            for part in PARTS[2:]
        }
    head, usual = ITEM_HEADS[task.head], HEADS[task.head].default_policy(task, splits.classes)
    said = []
    for part, of_part in scores.items():
        table = splits.table(part)
        truths = Truth(table, splits.label, np.arange(table.num_rows))
        said.append(head.decided(task, splits.classes, truths, head.outputs(of_part), usual))
    return said[0], said[1]


def linear_accuracy(splits: Splits) -> float:
    """Of TF-IDF and logistic regression on the same training rows."""
    train, test = (splits.table(part) for part in ("train", "test"))
    words = [[" ".join(json.loads(cell)) for cell in t[WORDS].to_pylist()] for t in (train, test)]
    vectors = TfidfVectorizer()
    model = LogisticRegression(C=10.0, max_iter=1000)
    model.fit(vectors.fit_transform(words[0]), train[LABEL].to_pylist())
    return float(model.score(vectors.transform(words[1]), test[LABEL].to_pylist()))


def held_and_sizes(policy: LabelPolicy, of: Outcomes) -> tuple[np.ndarray, np.ndarray]:
    """Whether each row's set holds its class, and how many classes it has."""
    sets = policy.sets(of.probabilities)
    return np.asarray((sets & (of.labels > 0)).any(1)), np.asarray(sets.sum(1))


def figures(
    folds_of: list[tuple[Outcomes, Outcomes]],
) -> dict[str, Mapping[str, Any]]:
    """Of each coverage over all folds together; each fold has its own threshold."""
    told: dict[str, Mapping[str, Any]] = {}
    usual = LabelPolicy(thresholds={}, most_probable=True)
    for coverage in COVERAGES:
        pairs = [
            held_and_sizes(with_sets(usual, calibration, coverage), test)
            for calibration, test in folds_of
        ]
        held, sizes = (np.concatenate(each) for each in zip(*pairs, strict=True))
        labels = np.concatenate([test.labels for _, test in folds_of])
        by_class = {
            name: float(held[labels[:, k] > 0].mean())
            for k, name in enumerate(folds_of[0][1].classes)
        }
        least = min(by_class, key=lambda name: by_class[name])
        bounds = binomtest(int(held.sum()), len(held)).proportion_ci(method="wilson")
        told[f"{coverage:.0%}"] = {
            "coverage": float(held.mean()),
            "interval_95": [bounds.low, bounds.high],
            "mean_size": float(sizes.mean()),
            "share_of_one": float((sizes == 1).mean()),
            "largest": int(sizes.max()),
            "least_covered": {least: by_class[least]},
        }
    return told


def main() -> None:
    """Run the folds, pool, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", type=int, help="run this many folds and stop")
    parser.add_argument("--alone", action="store_true", help="without a teacher, in this process")
    asked = parser.parse_args()
    task = find(DATASETS[NAME].task)
    storage = protocol.bench_storage("clinical-sets")
    config = protocol.recipe(task, storage)
    network = dataclasses.replace(TabularConfig(), booster_trials=1)
    training = dataclasses.replace(
        config.training, network=network, batch_size=64, num_epochs=40, early_stopping_patience=6
    )
    student = dataclasses.replace(
        config.distillation.training,
        network=dataclasses.replace(network, student_hidden=(128,)),
        batch_size=32,
        learning_rate=1e-3,
        weight_decay=0.3,
        early_stopping_patience=25,
    )
    distillation = dataclasses.replace(
        config.distillation, training=student, num_steps=1000, num_folds=0
    )
    config = dataclasses.replace(config, training=training, distillation=distillation)
    said: list[tuple[Outcomes, Outcomes]] = []
    linear: list[float] = []
    with contextlib.nullcontext() if asked.alone else protocol.local_session(storage):
        corpus = open_dataset(NAME, data_home=load_settings().data_home, storage=storage)
        columns = infer_columns(corpus, task)
        raw = pq.read_table(filesystem(corpus.uris[0])[1])
        table, bad = conform(raw, columns.all, label=LABEL, labels=columns.labels)
        assert bad.num_rows == 0, bad.to_pylist()[:3]
        fold_of = folds(table, asked.folds)
        rule = rule_of(task)
        classes = classes_of(rule, class_counts(table[LABEL], rule))
        for fold in range(asked.only or asked.folds):
            splits = protocol.make_splits(
                task,
                corpus,
                columns,
                parts_of(table, fold_of, fold),
                storage,
                classes=classes,
                name=f"-{fold}-of-{asked.folds}",
            )
            said.append(
                outcomes_alone(splits, config, storage)
                if asked.alone
                else outcomes_of(splits, config)
            )
            linear.append(linear_accuracy(splits))
            _, test = said[-1]
            accuracy = float((test.probabilities.argmax(1) == test.labels.argmax(1)).mean())
            protocol.say(f"fold {fold}: {accuracy=:.4f}, linear {linear[-1]:.4f}")
    hits = [t.probabilities.argmax(1) == t.labels.argmax(1) for _, t in said]
    protocol.finish(
        "clinical-sets-alone" if asked.alone else "clinical-sets",
        {
            "dataset": NAME,
            "model": "the student's network, without a teacher" if asked.alone else "student",
            "folds": len(said),
            "test_cases": sum(map(len, hits)),
            "calibration_cases": [len(calibration.labels) for calibration, _ in said],
            "accuracy": float(np.concatenate(hits).mean()),
            "accuracy_tfidf_logistic_regression": float(np.mean(linear)),
            "sets": figures(said),
        },
    )


if __name__ == "__main__":
    main()
