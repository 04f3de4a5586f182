"""What a good engineer would try first: LightGBM, XGBoost and logistic regression, tuned.

Same training rows, same encoded columns; tuned with Optuna on the validation rows alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from spt_core.families.baseline import Baseline, Baselines, BaselineWork
from spt_core.families.tabular.boosters import (
    Features,
    Metric,
    Probabilities,
    Rows,
    quality_of,
    tune,
)
from spt_core.families.tabular.reading import Encoder
from spt_core.families.tabular.rows import booster_rows
from spt_core.heads import ITEM_HEADS
from spt_core.heads.base import Truth
from spt_core.heads.outcomes import Outcomes, groups_of

Score = Callable[[Features], Probabilities]
FORESTS: Mapping[str, str] = {"LightGBM": "lightgbm", "XGBoost": "xgboost"}
TIMED_ROWS = 500


def tune_baselines(work: BaselineWork) -> Baselines:
    """Every baseline at its best of `num_trials` trials by the task's metric on validation rows."""
    quality = quality_of(work.task)
    rows = booster_rows(work.splits, work.signature, limit=work.max_rows)
    done, total = itertools.count(1), work.num_trials * (len(FORESTS) + 1)

    def on_trial(name: str, trial: int) -> None:
        del trial
        work.tell(name, next(done), total)

    fitted: list[Baseline] = []
    for name, kind in FORESTS.items():
        forest = tune(
            kind, rows, quality, num_trials=work.num_trials, seed=work.seed, on_trial=on_trial
        )
        fitted.append(_baseline(name, forest.probability, forest.parameters, work))
    score, parameters = _logistic_regression(rows, quality, work, on_trial)
    fitted.append(_baseline("logistic regression", score, parameters, work))
    return Baselines(fitted, {})


def _baseline(
    name: str, score: Score, parameters: Mapping[str, Any], work: BaselineWork
) -> Baseline:
    """A scoring function of features [B, F] as a benchmark takes it."""
    encoder, head = Encoder(work.signature), ITEM_HEADS[work.task.head]

    def outcomes(table: pa.Table, label: str, group: str | None) -> Outcomes:
        truth = Truth(table, label, groups_of(table, group or work.task.group))
        found = score(encoder.table(table))[:, None]
        return head.decided(work.task, work.classes, truth, found, work.policy)

    def inputs(table: pa.Table) -> list[Any]:
        features = encoder.table(table.slice(0, TIMED_ROWS))
        return [features[i : i + 1] for i in range(len(features))]

    return Baseline(name, outcomes, inputs, score, parameters)


def _logistic_regression(
    rows: Rows, quality: Metric, work: BaselineWork, on_trial: Callable[[str, int], None]
) -> tuple[Score, Mapping[str, Any]]:
    """Scaled numbers with missing-value indicators, one-hot categories, an L2 penalty."""
    # A column without any value carries nothing, and would warn on every fit.
    empty = np.isnan(rows.train).all(0)
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    columns = ColumnTransformer(
        [
            ("numbers", numbers, slice(0, rows.first_category)),
            (
                "categories",
                OneHotEncoder(handle_unknown="ignore", min_frequency=20),
                slice(rows.first_category, None),
            ),
        ]
    )

    def filled(features: Features) -> NDArray[np.float32]:
        return np.where(empty, np.float32(0), features)

    design = columns.fit_transform(filled(rows.train))
    held_out = columns.transform(filled(rows.validation))
    best: list[tuple[float, LogisticRegression, float]] = []

    def objective(trial: optuna.Trial) -> float:
        strength = trial.suggest_float("C", 1e-4, 100.0, log=True)
        model = LogisticRegression(C=strength, max_iter=500).fit(design, rows.train_labels)
        value = quality(rows.validation_labels, model.predict_proba(held_out)[:, 1])
        if not best or value > best[0][0]:
            best[:] = [(value, model, strength)]
        on_trial("logistic regression", trial.number + 1)
        return value

    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=work.seed)
    )
    study.enqueue_trial({"C": 1.0})
    study.optimize(objective, n_trials=work.num_trials)
    _, model, strength = best[0]

    def score(features: Features) -> Probabilities:
        return model.predict_proba(columns.transform(filled(features)))[:, 1]

    return score, {"C": strength}
