"""Text quality by document, teacher and student: python -m tests.bench.bench_text_folds tram

SPT_DATA_HOME=... python -m tests.bench.bench_text_folds tos|ddi|tram [--folds 5] [--epochs N]
    [--student [--student-epochs N]] [--pretrain-steps 200]

Grouped 5-fold: documents are dealt to folds, a fold is predicted by a model that saw none of its
documents, and all predictions are pooled. Of the documents that train, a tenth is kept for
calibration and thresholds, chosen there alone. TF-IDF + logistic regression gets the same rows: its
strength and thresholds are chosen on the same tenth. The interval is of the difference, documents
being resampled. Folds that are finished are used again (same folder, code and settings).

`--pretrain-steps` trains a second teacher from a base that has read the fold's training texts first
(masked-language training on them and on nothing else; Gururangan et al., "Don't Stop Pretraining",
ACL 2020, call it task-adaptive), and tells the difference between the two.

The student is what the pipeline would serve: exported, and in INT8 where that keeps 99 % on the
calibration rows. Its size is that of its files beside those of the exported teacher. Its speed is
of one text at a time, in process, one thread, in blocks that take turns: from the text to the
probabilities ("probabilities"), and to the whole answer with its phrases ("answer").
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from cluster.settings import load_settings
from jobs.recipes.config import PipelineConfig
from spt_core.answering import Answerer
from spt_core.artifacts import ExportedModel
from spt_core.compression.quantize import quantize
from spt_core.data.catalog import DATASETS, open_dataset
from spt_core.data.labels import class_counts, classes_of, rule_of
from spt_core.data.splits import Splits
from spt_core.distillation import DistillationPipeline
from spt_core.errors import QualityError
from spt_core.export import export
from spt_core.families.baseline import BaselineWork
from spt_core.families.text.baselines import tune_text_baselines
from spt_core.families.text.bases import find_base
from spt_core.families.text.config import TextConfig
from spt_core.heads import HEADS
from spt_core.heads.outcomes import Outcomes
from spt_core.model import SpecializedModel, default_policy, open_answerer
from spt_core.policy import Policy
from spt_core.task import Task, find
from spt_core.training import SpecializedModelTrainer
from spt_core.vocabulary.config import MaskedConfig
from spt_core.vocabulary.masked_lm import adapt
from tests.bench import protocol

METRIC_OF = {
    "tos": ("compliance-unfair-tos", "any_label_f1"),
    "ddi": ("ddi-corpus-2013", "micro_f1"),
    "tram": ("tram-attack", "macro_f1_frequent"),
}
CALIBRATION_SHARE = 0.1
NUM_RESAMPLES = 1000
PRETRAINED = "teacher, pretrained on the training texts"
TIMED_TEXTS, BLOCKS = 100, 10


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


def policy_on(answerer: Answerer, table: pa.Table, label: str) -> Policy:
    """Thresholds chosen on calibration rows."""
    return answerer.head.policy(answerer.task, answerer.outcomes(table, label))


def predicted(source: Any, splits: Splits) -> Outcomes:
    """Test outcomes of a model under the policy of its calibration rows."""
    plain = open_answerer(source, default_policy(source))
    policy = policy_on(plain, splits.table("calibration"), splits.label)
    answerer = open_answerer(source, policy)
    return answerer.outcomes(splits.table("test"), splits.label, group=splits.corpus.group)


def fold_outcomes(
    task: Task,
    splits: Splits,
    config: PipelineConfig,
    *,
    with_student: bool,
    pretrain_steps: int,
) -> tuple[dict[str, Outcomes], dict[str, Any]]:
    """Test outcomes of our models and of the baseline; the student's size and speed."""
    found: dict[str, Outcomes] = {}
    work = BaselineWork(
        task=task,
        signature=splits.signature,
        classes=splits.classes,
        splits=splits,
        policy=HEADS[task.head].default_policy(task, splits.classes),
        num_trials=5,
        max_rows=max(splits.num_rows.values()),
        seed=0,
    )
    baseline = tune_text_baselines(work).fitted[0]
    test = splits.table("test")
    found[baseline.name] = baseline.outcomes(test, splits.label, splits.corpus.group)
    teacher = SpecializedModelTrainer(config.training).train(splits)
    found["teacher"] = predicted(teacher.source, splits)
    if pretrain_steps:
        found[PRETRAINED] = predicted(pretrained(splits, config, pretrain_steps).source, splits)
    if not with_student:
        return found, {}
    student = DistillationPipeline(config.distillation).distill(teacher, splits)
    small, is_int8 = served(student, splits)
    found["student"] = predicted(small, splits)
    large = export(teacher.artifact)
    facts = {
        "int8": is_int8,
        "teacher_bytes": large.size_bytes,
        "student_bytes": small.size_bytes,
        "smaller": large.size_bytes / small.size_bytes,
        "faster": faster(large, small, splits),
    }
    return found, facts


def pretrained(splits: Splits, config: PipelineConfig, num_steps: int) -> SpecializedModel:
    """A teacher whose base has read the training texts."""
    training, network = config.training, config.training.network
    assert isinstance(network, TextConfig)
    base = adapt(
        find_base(network.base, training.output_dir),
        splits.table("train")["text"].to_pylist(),
        fingerprint=splits.fingerprints["train"],
        storage=training.output_dir,
        config=MaskedConfig(num_steps=num_steps, first_steps=num_steps // 4, seed=training.seed),
    ).base
    training = dataclasses.replace(training, network=dataclasses.replace(network, base=base.uri))
    return SpecializedModelTrainer(training).train(splits)


def served(student: SpecializedModel, splits: Splits) -> tuple[ExportedModel, bool]:
    """What the pipeline would deploy of a student, and whether that is INT8."""
    full = export(student.artifact)
    answerer = open_answerer(full, default_policy(full))
    rows = splits.table("calibration")
    try:
        return quantize(full, rows, splits.label, policy_on(answerer, rows, splits.label)), True
    except QualityError as error:
        protocol.say(f"INT8 is refused: {error}")
        return full, False


def faster(large: ExportedModel, small: ExportedModel, splits: Splits) -> dict[str, list[float]]:
    """Seconds of the large model / of the small one, each block's ratio: [low, median, high]."""
    models = [open_answerer(model, default_policy(model)) for model in (large, small)]
    names = {field.name for field in splits.signature.fields if field.kind == "text"}
    records = splits.table("test", TIMED_TEXTS).select(sorted(names)).to_pylist()
    found: dict[str, list[float]] = {}
    for what in ("probabilities", "answer"):
        ratios: list[float] = []
        for _ in range(BLOCKS + 1):  # the first warms up
            taken = [seconds(call_of(model, what), records) for model in models]
            ratios.append(taken[0] / taken[1])
        found[what] = [float(q) for q in np.quantile(ratios[1:], [0.25, 0.5, 0.75])]
    return found


def call_of(model: Answerer, what: str) -> Callable[[Mapping[str, Any]], Any]:
    """From a record to probabilities, or to the answer."""
    if what == "answer":
        return model.answer
    return model.outputs


def seconds(call: Callable[[Mapping[str, Any]], Any], records: list[dict[str, Any]]) -> float:
    """How long the calls take, one after the other."""
    start = time.perf_counter()
    for record in records:
        call(record)
    return time.perf_counter() - start


def share_kept(first: Outcomes, second: Outcomes, metric: Any) -> dict[str, float]:
    """The share of the second's figure that the first keeps, with its interval over documents."""
    values = [metric(a) / metric(b) for a, b in resampled(first, second)]
    low, high = np.quantile(values, [0.025, 0.975])
    return {"value": metric(first) / metric(second), "low": float(low), "high": float(high)}


def resampled(first: Outcomes, second: Outcomes) -> Iterator[tuple[Outcomes, Outcomes]]:
    """Both on the same drawn documents, again and again."""
    draw = np.random.default_rng(0)
    order = np.argsort(first.groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(first.groups[order])) + 1)
    for _ in range(NUM_RESAMPLES):
        chosen = draw.integers(0, len(members), len(members))
        rows = np.concatenate([members[i] for i in chosen])
        yield first.take(rows), second.take(rows)


def difference(first: Outcomes, second: Outcomes, metric: Any) -> dict[str, float]:
    """The difference of two models' figures, with its interval over documents."""
    values = [metric(a) - metric(b) for a, b in resampled(first, second)]
    low, high = np.quantile(values, [0.025, 0.975])
    return {"value": metric(first) - metric(second), "low": float(low), "high": float(high)}


def main() -> None:
    """Run the folds, pool, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=METRIC_OF)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", type=int, help="run this many folds and stop")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--student", action="store_true")
    parser.add_argument("--student-epochs", type=int)
    parser.add_argument("--pretrain-steps", type=int, default=0)
    asked = parser.parse_args()
    name, metric_name = METRIC_OF[asked.which]
    task = find(DATASETS[name].task)
    metric = HEADS[task.head].metrics[metric_name]
    storage = protocol.bench_storage(f"text-{asked.which}")
    config = protocol.recipe(task, storage)
    changed = {"num_epochs": asked.epochs, "learning_rate": asked.rate, "seed": asked.seed}
    given = {key: value for key, value in changed.items() if value is not None}
    for_student = {"seed": asked.seed, "num_epochs": asked.student_epochs or asked.epochs}
    for_student = {key: value for key, value in for_student.items() if value is not None}
    config = dataclasses.replace(
        config,
        training=dataclasses.replace(config.training, **given),
        distillation=dataclasses.replace(
            config.distillation,
            training=dataclasses.replace(config.distillation.training, **for_student),
        ),
    )
    facts: list[dict[str, Any]] = []
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
                task,
                corpus,
                columns,
                parts,
                storage,
                classes=classes,
                name=f"-{fold}-of-{asked.folds}",
            )
            found, told = fold_outcomes(
                task,
                splits,
                config,
                with_student=asked.student,
                pretrain_steps=asked.pretrain_steps,
            )
            facts.append(told)
            protocol.say(f"fold {fold}: {told}")
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
            "config": vars(asked),
            "students": facts,
            "figures": {
                model: {key: each(of) for key, each in HEADS[task.head].metrics.items()}
                for model, of in joined.items()
            },
            "gain": {
                model: difference(of, joined[baseline], metric)
                for model, of in joined.items()
                if model != baseline
            },
            "benefit_of_pretraining": difference(joined[PRETRAINED], joined["teacher"], metric)
            if asked.pretrain_steps
            else None,
            "kept": share_kept(joined["student"], joined["teacher"], metric)
            if asked.student
            else None,
        },
    )


if __name__ == "__main__":
    main()
