"""What a good engineer would try first, tuned: LightGBM, XGBoost and logistic regression.

Same training rows, same encoded columns; tuned with Optuna on the validation rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from spt_core.models.boosters import Features, Metric, Probabilities, Rows, tune

OnTrial = Callable[[str, int], None]
BASELINES: Mapping[str, str] = {
    "LightGBM": "lightgbm",
    "XGBoost": "xgboost",
    "logistic regression": "logistic regression",
}


class Baseline(NamedTuple):
    """A tuned model: its name, how it scores features [B, F], and what tuning chose."""

    name: str
    score: Callable[[Features], Probabilities]
    parameters: Mapping[str, Any]


def tune_baselines(
    rows: Rows, metric: Metric, *, num_trials: int, seed: int, on_trial: OnTrial | None = None
) -> list[Baseline]:
    """Every baseline at its best of `num_trials` trials by the metric on validation rows."""
    found: list[Baseline] = []
    for name, kind in BASELINES.items():
        if kind == "logistic regression":
            found.append(
                _tune_regression(rows, metric, num_trials=num_trials, seed=seed, on_trial=on_trial)
            )
        else:
            forest = tune(kind, rows, metric, num_trials=num_trials, seed=seed, on_trial=on_trial)
            found.append(Baseline(name, forest.probability, forest.parameters))
    return found


def _tune_regression(
    rows: Rows, metric: Metric, *, num_trials: int, seed: int, on_trial: OnTrial | None
) -> Baseline:
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
        value = metric(rows.validation_labels, model.predict_proba(held_out)[:, 1])
        if not best or value > best[0][0]:
            best[:] = [(value, model, strength)]
        if on_trial is not None:
            on_trial("logistic regression", trial.number + 1)
        return value

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial({"C": 1.0})
    study.optimize(objective, n_trials=num_trials)
    _, model, strength = best[0]

    def score(features: Features) -> Probabilities:
        return model.predict_proba(columns.transform(filled(features)))[:, 1]

    return Baseline("logistic regression", score, {"C": strength})
