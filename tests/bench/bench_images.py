"""Image quality by folds: bench_images neu|pneumonia [--folds 5] [--only N] [--pruned]

SPT_DATA_HOME=... python -m tests.bench.bench_images neu --only 1 --pruned

Five folds: images are dealt to folds at random, those that look alike to the same one; a fold is
predicted by models that saw none of it, and all predictions are pooled. Of the images that train, a
tenth each is kept for validation (on which INT8 must be as good) and for calibration and
thresholds. The baselines get the same rows: logistic regression on pixels, on features of random
and of pretrained weights, its strength chosen on the validation rows. Intervals resample images.

Printed are accuracy (neu) or the area under the ROC curve (pneumonia) of the teacher, the student,
the student in INT8 and the baselines; what share of the teacher's the student keeps, and INT8 of
the student's; the student's difference to each baseline; and how far its answers fall where the
places are hidden that its map names, beside the same shape elsewhere. Of each model: its size, what
it computes (products), and the median time of an answer with its reasons, in process. `--pruned`
adds a student whose blocks lose half of their inner channels, in full precision and in INT8.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import roc_auc_score

from cluster.settings import load_settings
from jobs.overrides import override
from jobs.recipes.config import PipelineConfig
from spt_core.answering import Answerer
from spt_core.benchmark.pictures import deletion_facts
from spt_core.benchmark.timing import timed_calls
from spt_core.compression.quantize import quantize
from spt_core.data.alike import LEAST_CORRELATION
from spt_core.data.catalog import DATASETS, open_dataset
from spt_core.data.corpus import LOOK
from spt_core.data.labels import class_counts, classes_of, rule_of
from spt_core.data.splits import Splits
from spt_core.distillation import DistillationPipeline
from spt_core.errors import QualityError
from spt_core.export import export
from spt_core.families.baseline import BaselineWork
from spt_core.families.image.baselines import tune_image_baselines
from spt_core.families.image.distilling import narrowed_image
from spt_core.heads import HEADS
from spt_core.heads.outcomes import Outcomes
from spt_core.images import looks_of
from spt_core.model import SpecializedModel, open_answerer
from spt_core.scoring import fitted_policy
from spt_core.task import Task, find
from spt_core.training import SpecializedModelTrainer
from tests.bench import protocol

DATA = {"neu": "neu-surface-defects", "pneumonia": "imaging-pneumoniamnist"}
HELD_SHARE = 0.1
NUM_RESAMPLES = 1000
PRUNED_SHARE = 0.5**0.5  # of the width: half of what is computed
TIMED_CALLS = 200
Figure = Callable[[Outcomes], float]


def accuracy(of: Outcomes) -> float:
    """The share of images that are given their class."""
    return float((of.given == of.labels).all(1).mean())


def auc(of: Outcomes) -> float:
    """The area under the ROC curve of the one finding."""
    return float(roc_auc_score(of.labels[:, 0], of.probabilities[:, 0]))


FIGURES: dict[str, Figure] = {"neu": accuracy, "pneumonia": auc}


def folds(table: pa.Table, num_folds: int) -> np.ndarray:
    """The fold of each row: images in random order, dealt in turn, those alike together."""
    looks = looks_of(table[LOOK].to_pylist())
    _, group = connected_components(looks @ looks.T >= LEAST_CORRELATION, directed=False)
    order = np.random.default_rng(0).permutation(group.max() + 1)
    return (order % num_folds)[group]


def parts_of(table: pa.Table, fold_of: np.ndarray, fold: int) -> dict[str, pa.Table]:
    """Train, a tenth each for validation and calibration, and test."""
    rest = np.random.default_rng(fold).permutation(np.flatnonzero(fold_of != fold))
    size = int(len(rest) * HELD_SHARE)
    chosen = {
        "validation": rest[:size],
        "calibration": rest[size : 2 * size],
        "train": rest[2 * size :],
        "test": np.flatnonzero(fold_of == fold),
    }
    return {part: table.take(np.sort(rows)) for part, rows in chosen.items()}


def fold_outcomes(
    task: Task, splits: Splits, config: PipelineConfig, *, with_pruned: bool
) -> tuple[dict[str, Outcomes], dict[str, Any]]:
    """Test outcomes of the baselines and of our models; size, and the deletion test."""
    test, label = splits.table("test"), splits.label
    work = BaselineWork(
        task=task,
        signature=splits.signature,
        classes=splits.classes,
        splits=splits,
        policy=HEADS[task.head].default_policy(task, splits.classes),
        num_trials=3,
        max_rows=100_000,
        seed=0,
    )
    tuned = tune_image_baselines(work)
    of = {each.name: each.outcomes(test, label, None) for each in tuned.fitted}
    teacher = SpecializedModelTrainer(config.training).train(splits)
    made = {"teacher": teacher, "student": distilled(config, teacher, splits)}
    if with_pruned:
        made["pruned"] = distilled(config, teacher, splits, share=PRUNED_SHARE)
    exports = {name: export(model.artifact) for name, model in made.items()}
    facts: dict[str, Any] = {"left_out": tuned.left_out}
    for name in [name for name in made if name != "teacher"]:
        full = exports[name]
        try:
            exports[f"{name} INT8"] = quantize(
                full, splits.table("validation"), label, fitted_policy(full, splits)
            )
        except QualityError as error:
            facts[f"{name} INT8"] = str(error)
    for name, exported in exports.items():
        answerer = open_answerer(exported, fitted_policy(exported, splits))
        of[name] = answerer.outcomes(test, label)
        facts[name] = {
            "MB": exported.size_bytes / 1e6,
            "multiply_adds": exported.artifact.metrics["multiply_adds"],
            "p50_ms": p50_ms(answerer, test),
        }
        if name == "student":
            facts["deletion"] = deletion_facts(answerer, test)
            rows = answerer.predictor.encode(test)
            outside = [bool(any(answerer.predictor.cautions([row]))) for row in rows]
            facts["held-out images that are warned of"] = float(np.mean(outside))
    return of, facts


def distilled(
    config: PipelineConfig, teacher: SpecializedModel, splits: Splits, share: float | None = None
) -> SpecializedModel:
    """The recipe's student, or one of a share of its width."""
    own = config.distillation
    if share is not None:
        network = narrowed_image(own.training.network, teacher.artifact, share)
        own = dataclasses.replace(own, training=dataclasses.replace(own.training, network=network))
    return DistillationPipeline(own).distill(teacher, splits)


def p50_ms(answerer: Answerer, table: pa.Table) -> float:
    """The median time of an answer with its reasons to an encoded image."""
    assert answerer.task.subject is not None
    name = answerer.task.subject.name
    records = [{name: content} for content in table[name].slice(0, 50).to_pylist()]
    return 1000 * float(np.median(timed_calls(answerer.answer, records, TIMED_CALLS)))


def joined(parts: list[Outcomes]) -> Outcomes:
    """All folds' items."""
    return parts[0]._replace(
        labels=np.concatenate([part.labels for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
        given=np.concatenate([part.given for part in parts]),
        groups=np.arange(sum(len(part.labels) for part in parts)),
    )


def paired(
    first: Outcomes, second: Outcomes, combine: Callable[[float, float], float], figure: Figure
) -> dict[str, float]:
    """A figure of two models on the same images, with its interval over them."""
    draw, size = np.random.default_rng(0), len(first.labels)
    values: list[float] = []
    for _ in range(NUM_RESAMPLES):
        rows = draw.integers(0, size, size)
        values.append(combine(figure(first.take(rows)), figure(second.take(rows))))
    low, high = np.quantile(values, [0.025, 0.975])
    return {"value": combine(figure(first), figure(second)), "low": low, "high": high}


def main() -> None:
    """Run the folds, pool, print."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("which", choices=DATA)
    asked.add_argument("--folds", type=int, default=5)
    asked.add_argument("--only", type=int, help="run this many folds and stop")
    asked.add_argument("--pruned", action="store_true", help="a pruned student beside it")
    asked.add_argument("--set", action="append", default=[], dest="assignments")
    given = asked.parse_args()
    name, figure = DATA[given.which], FIGURES[given.which]
    dataset = DATASETS[name]
    task = find(dataset.task)
    storage = protocol.bench_storage(f"images-{given.which}")
    config = override(protocol.recipe(task, storage), [*dataset.settings, *given.assignments])
    student = dataclasses.replace(
        config.distillation.training, output_dir=config.training.output_dir
    )
    config = dataclasses.replace(
        config, distillation=dataclasses.replace(config.distillation, training=student)
    )
    pooled: dict[str, list[Outcomes]] = {}
    facts: list[dict[str, Any]] = []
    with protocol.local_session(storage):
        corpus = open_dataset(name, data_home=load_settings().data_home, storage=storage)
        table, columns = protocol.typed_rows(task, corpus, storage)
        fold_of = folds(table, given.folds)
        rule = rule_of(task)
        classes = classes_of(rule, class_counts(table[corpus.label], rule))
        for fold in range(given.only or given.folds):
            splits = protocol.make_splits(
                task,
                corpus,
                columns,
                parts_of(table, fold_of, fold),
                storage,
                classes=classes,
                name=f"-{fold}-of-{given.folds}",
            )
            of, own = fold_outcomes(task, splits, config, with_pruned=given.pruned)
            facts.append(own)
            for model, outcomes in of.items():
                pooled.setdefault(model, []).append(outcomes)
                protocol.say(f"fold {fold}, {model}: {figure.__name__} {figure(outcomes):.4f}")
            protocol.say(f"fold {fold}: {own}")
    whole = {model: joined(parts) for model, parts in pooled.items()}
    baselines = [model for model in whole if "regression" in model]
    kept = [
        ("student", "teacher"),
        ("student INT8", "student"),
        ("pruned", "student"),
        ("pruned INT8", "student"),
    ]
    protocol.finish(
        f"images-{given.which}",
        {
            "dataset": name,
            "figure": figure.__name__,
            "folds": given.only or given.folds,
            "config": vars(given),
            "facts": facts,
            "figures": {model: figure(of) for model, of in whole.items()},
            "kept": {
                f"{one} of {other}": paired(whole[one], whole[other], lambda a, b: a / b, figure)
                for one, other in kept
                if one in whole and len(whole[one].labels) == len(whole[other].labels)
            },
            "gain": {
                model: paired(whole["student"], whole[model], lambda a, b: a - b, figure)
                for model in baselines
            },
        },
    )


if __name__ == "__main__":
    main()
