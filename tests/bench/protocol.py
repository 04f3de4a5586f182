"""What the quality benches share: splits by a published protocol, boosters, intervals."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score, roc_auc_score

from cluster.lifecycle import ray_session
from cluster.settings import load_settings
from jobs.recipes import default
from jobs.recipes.config import PipelineConfig
from spt_core.artifacts import ExportedModel, as_uri, code_fingerprint, filesystem, write_manifest
from spt_core.compression.selection import select
from spt_core.data.corpus import ROW, Corpus
from spt_core.data.hashing import row_hashes
from spt_core.data.infer import infer_columns
from spt_core.data.labels import num_saying
from spt_core.data.partition import PARTS
from spt_core.data.read import plain_errors, read
from spt_core.data.splits import SplitConfig, Splits
from spt_core.data.splitting import MAX_TERMS, MIN_TERM_ROWS
from spt_core.distillation import DistillationPipeline
from spt_core.families.tabular.boosters import FOREST_KINDS, Rows, fit_lightgbm, fit_xgboost, tune
from spt_core.families.tabular.rows import encoded_arrays
from spt_core.families.tabular.serving import TabularServing
from spt_core.model import SpecializedModel
from spt_core.signature import Signature
from spt_core.task import Task
from spt_core.training import SpecializedModelTrainer

FITS = {"lightgbm": fit_lightgbm, "xgboost": fit_xgboost}


def typed_rows(task: Task, corpus: Corpus, storage: str) -> tuple[pa.Table, Any]:
    """All good rows of a corpus in memory, and the fields that were inferred."""
    columns = infer_columns(corpus, task)
    with plain_errors():
        rows = read(
            corpus, columns.all, quarantine=f"{storage}/bench-quarantine", labels=columns.labels
        )
        blocks = list(rows.iter_batches(batch_format="pyarrow", batch_size=None))
    return pa.concat_tables(blocks).sort_by(ROW), columns


def make_splits(
    task: Task,
    corpus: Corpus,
    columns: Any,
    parts: Mapping[str, pa.Table],
    storage: str,
    *,
    classes: tuple[str, ...] = (),
    name: str = "",
) -> Splits:
    """Splits whose parts are given, as a published protocol asks; the Signature is of train."""
    train = parts["train"]
    fields = []
    for field in (*columns.features, *(w.as_field() for w in corpus.windows)):
        counts = sorted(
            (train[field.name].value_counts().to_pylist() if field.kind == "category" else []),
            key=lambda entry: -entry["counts"],
        )
        known = tuple(e["values"] for e in counts if e["values"] is not None)
        if field.kind == "terms":
            cells = [json.loads(cell) for cell in train[field.name].to_pylist() if cell is not None]
            of_terms = Counter(term for cell in cells for term in cell)
            known = tuple(t for t, n in of_terms.most_common(MAX_TERMS) if n >= MIN_TERM_ROWS)
        required = field.required and train[field.name].null_count == 0
        fields.append(dataclasses.replace(field, categories=known, required=required))
    names = [name for name in train.column_names if name != ROW]
    fingerprint = {
        part: f"{np.sum(row_hashes(table, names), dtype=np.uint64):016x}"
        for part, table in parts.items()
    }
    uri = f"{as_uri(storage)}/bench-splits/{corpus.name}{name}"
    for part, table in parts.items():
        files, path = filesystem(f"{uri}/{part}")
        files.create_dir(path, recursive=True)
        pq.write_table(table, f"{path}/rows.parquet", filesystem=files)
    label = corpus.label or task.label
    made = Splits(
        uri=uri,
        task=task.path,
        corpus=corpus,
        config=SplitConfig(),
        kind="time",
        signature=Signature(fields=tuple(fields), windows=corpus.windows, time=corpus.time),
        label=label,
        num_rows={part: parts[part].num_rows for part in PARTS},
        num_positives={p: num_saying(parts[p][label], columns.labels) for p in PARTS},
        fingerprints=fingerprint,
        num_left_out={},
        quarantine={},
        findings=(),
        data_fingerprint="-".join(fingerprint.values()),
        code_fingerprint=code_fingerprint(),
        protected=corpus.protected,
        entities=corpus.entities,
        licences=corpus.licences,
        synthetic=corpus.synthetic,
        labels=columns.labels,
        classes=classes,
    )
    write_manifest(uri, made.to_json())
    return made


def served_model(
    splits: Splits, config: PipelineConfig, seed: int
) -> tuple[ExportedModel, SpecializedModel]:
    """What is served of a seed of the recipe under its limits, and its teacher."""
    training = dataclasses.replace(config.training, seed=seed)
    teacher = SpecializedModelTrainer(training).train(splits)
    weights = {k: v for k, v in teacher.artifact.metrics.items() if k.endswith("_weight")}
    say(f"seed {seed}: teacher {weights}")
    student_config = dataclasses.replace(
        config.distillation, training=dataclasses.replace(config.distillation.training, seed=seed)
    )
    student = DistillationPipeline(student_config).distill(teacher, splits)
    selection = select(teacher, {"": student}, splits, config.limits)
    for point in selection.front:
        say(f"seed {seed}: {point.name} {dict(point.parts)} loss {point.loss:.4f} {point.chosen}")
    return selection.model, teacher


def rows_of(splits: Splits) -> Rows:
    """Encoded training and validation rows."""
    train, train_labels = encoded_arrays(splits, "train", splits.signature, limit=10**9)
    held, held_labels = encoded_arrays(splits, "validation", splits.signature, limit=10**9)
    return Rows(
        train,
        train_labels.astype(np.float64),
        held,
        held_labels.astype(np.float64),
        len(splits.signature.numbers),
    )


def booster_scores(
    rows: Rows, test: np.ndarray, seeds: Sequence[int], num_trials: int, say: Any
) -> dict[str, dict[str, Any]]:
    """Each booster tuned once on validation rows, then fitted with each seed: test scores."""
    found: dict[str, dict[str, Any]] = {}
    for kind in FOREST_KINDS:
        best = tune(kind, rows, _precision, num_trials=num_trials, seed=0)
        chosen = {k: v for k, v in best.parameters.items() if k != "num_trees"}
        scores = [FITS[kind](chosen, rows, seed).predict(test) for seed in seeds]
        value = average_precision_score(rows.validation_labels, best.predict(rows.validation))
        found[kind] = {"scores": scores, "validation": value, "parameters": dict(best.parameters)}
        say(f"{kind}: validation AP {value:.4f}, {best.parameters}")
    found["catboost"] = _catboost(rows, test, seeds, num_trials, say)
    return found


def _precision(labels: Any, scores: Any, weights: Any = None) -> float:
    """Average precision as `tune` asks for it."""
    return float(average_precision_score(labels, scores, sample_weight=weights))


def _catboost(
    rows: Rows, test: np.ndarray, seeds: Sequence[int], num_trials: int, say: Any
) -> dict[str, Any]:
    import catboost  # the extra `bench`, which not every bench needs

    categories = list(range(rows.first_category, rows.train.shape[1]))

    def pool(features: np.ndarray, labels: np.ndarray | None = None) -> catboost.Pool:
        table = np.empty(features.shape, dtype=object)
        table[:] = features
        for column in categories:
            table[:, column] = features[:, column].astype(int)
        return catboost.Pool(table, labels, cat_features=categories)

    train, held = pool(rows.train, rows.train_labels), pool(rows.validation, rows.validation_labels)

    def fit(parameters: Mapping[str, Any], seed: int) -> catboost.CatBoostClassifier:
        model = catboost.CatBoostClassifier(
            iterations=600,
            random_seed=seed,
            thread_count=2,
            verbose=False,
            early_stopping_rounds=50,
            allow_writing_files=False,
            **parameters,
        )
        return model.fit(train, eval_set=held)

    best: list[Any] = [-1.0, None]

    def objective(trial: optuna.Trial) -> float:
        parameters = {
            "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
            "depth": trial.suggest_int("depth", 3, 8),
            "l2_leaf_reg": trial.suggest_float("l2_leaf_reg", 0.5, 30.0, log=True),
            "random_strength": trial.suggest_float("random_strength", 0.1, 5.0, log=True),
        }
        value = average_precision_score(
            rows.validation_labels, fit(parameters, 0).predict_proba(held)[:, 1]
        )
        if value > best[0]:
            best[:] = [value, parameters]
        return value

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=num_trials)
    scored = pool(test)
    say(f"catboost: validation AP {best[0]:.4f}, {best[1]}")
    return {
        "scores": [fit(best[1], seed).predict_proba(scored)[:, 1] for seed in seeds],
        "validation": best[0],
        "parameters": best[1],
    }


def summary(labels: np.ndarray, scores: Sequence[np.ndarray]) -> dict[str, float]:
    """Mean and spread over seeds of average precision and AUC."""
    precision = [average_precision_score(labels, s) for s in scores]
    auc = [roc_auc_score(labels, s) for s in scores]
    return {
        "average_precision": float(np.mean(precision)),
        "average_precision_sd": float(np.std(precision)),
        "roc_auc": float(np.mean(auc)),
        "roc_auc_sd": float(np.std(auc)),
    }


def difference_interval(
    labels: np.ndarray,
    ours: Sequence[np.ndarray],
    theirs: Sequence[np.ndarray],
    groups: np.ndarray,
    num_resamples: int = 500,
) -> tuple[float, float]:
    """95 % interval of the seeds' mean difference in average precision, whole groups resampled."""
    draw = np.random.default_rng(0)
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    values = []
    for _ in range(num_resamples):
        rows = np.concatenate([members[i] for i in draw.integers(0, len(members), len(members))])
        known = labels[rows]
        values.append(
            np.mean([average_precision_score(known, s[rows]) for s in ours])
            - np.mean([average_precision_score(known, s[rows]) for s in theirs])
        )
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def students_scores(
    splits: Splits, task: Task, storage: str, test: np.ndarray, labels: np.ndarray, num_seeds: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Test scores of the served student and of its teacher, one of each for every seed."""
    config = recipe(task, storage)
    students, teachers = [], []
    for seed in range(num_seeds):
        exported, teacher = served_model(splits, config, seed)
        student = TabularServing().open(exported.artifact, exported.read).runtime
        students.append(np.asarray(student.score(test), np.float64))
        teachers.append(teacher.score(splits.table("test")))
        say(f"seed {seed}: {summary(labels, students[-1:])}")
    return students, teachers


def beside_boosters(
    splits: Splits,
    test: np.ndarray,
    labels: np.ndarray,
    scores: tuple[list[np.ndarray], list[np.ndarray]],
    groups: np.ndarray,
    num_trials: int,
) -> dict[str, Any]:
    """The figures of students and teachers beside those of tuned boosters, and their difference."""
    students, teachers = scores
    boosters = booster_scores(rows_of(splits), test, range(len(students)), num_trials, say)
    figures = {name: summary(labels, b["scores"]) for name, b in boosters.items()}
    best = max(figures, key=lambda name: figures[name]["average_precision"])
    student, wanted = summary(labels, students), figures[best]["average_precision"]
    return {
        "test_rows": len(labels),
        "test_positives": int(labels.sum()),
        "student": student,
        "teacher": summary(labels, teachers),
        "boosters": figures,
        "parameters": {name: b["parameters"] for name, b in boosters.items()},
        "best_booster_by_test": best,
        "difference": student["average_precision"] - wanted,
        "ratio": student["average_precision"] / wanted,
        "difference_interval_95": difference_interval(
            labels, students, boosters[best]["scores"], groups
        ),
    }


def bench_storage(name: str) -> str:
    """A folder for a bench's work."""
    folder = Path("bench_results") / name
    folder.mkdir(parents=True, exist_ok=True)
    return as_uri(folder)


def finish(name: str, result: Mapping[str, Any]) -> None:
    """Print the result and keep it as JSON."""
    content = {
        **result,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {sys.version.split()[0]}",
    }
    text = json.dumps(content, indent=1, default=float)
    (Path("bench_results") / f"{name}.json").write_text(text)
    print(text)  # noqa: T201


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def local_session(storage: str) -> Any:
    """An embedded Ray for a bench."""
    return ray_session(load_settings(storage=storage))


def recipe(
    task: Task, storage: str, make: Callable[[Task], PipelineConfig] = default
) -> PipelineConfig:
    """A recipe, its outputs below a bench's folder."""
    config = make(task)
    training = dataclasses.replace(config.training, output_dir=f"{storage}/models")
    student = dataclasses.replace(config.distillation.training, output_dir=f"{storage}/models")
    return dataclasses.replace(
        config,
        training=training,
        distillation=dataclasses.replace(config.distillation, training=student),
    )
