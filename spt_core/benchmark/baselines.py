"""What a good engineer would try first, tuned: LightGBM, XGBoost and logistic regression.

Same training rows, same encoded columns; tuned with Optuna on the validation rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import lightgbm
import numpy as np
import optuna
import pandas as pd
import xgboost
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from spt_core.metrics import Metric

Features = NDArray[np.float32]
Labels = NDArray[np.float64]
Score = Callable[[Features], NDArray[np.float64]]
MAX_ROUNDS = 1000
PATIENCE = 50


class Baseline(NamedTuple):
    """A tuned model: its name, how it scores features [B, F], and what tuning chose."""

    name: str
    score: Score
    parameters: Mapping[str, Any]
    validation_metric: float


class Rows(NamedTuple):
    """Encoded rows; the columns from `first_category` on are category indices."""

    train: Features
    train_labels: Labels
    validation: Features
    validation_labels: Labels
    first_category: int


OnTrial = Callable[[str, int], None]
Fit = Callable[[optuna.Trial, Rows], tuple[Score, Mapping[str, Any]]]


def tune_baselines(
    rows: Rows, metric: Metric, *, num_trials: int, seed: int, on_trial: OnTrial | None = None
) -> list[Baseline]:
    """Every baseline at its best of `num_trials` trials by the metric on validation rows."""
    return [
        tune(name, fit, rows, metric, num_trials=num_trials, seed=seed, on_trial=on_trial)
        for name, fit in BASELINES.items()
    ]


def tune(
    name: str,
    fit: Fit,
    rows: Rows,
    metric: Metric,
    *,
    num_trials: int,
    seed: int,
    on_trial: OnTrial | None = None,
) -> Baseline:
    """The best of `num_trials` fits; the first trial is the library's usual setting."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    best: list[Baseline] = []

    def objective(trial: optuna.Trial) -> float:
        score, parameters = fit(trial, rows)
        value = metric(rows.validation_labels, score(rows.validation))
        if not best or value > best[0].validation_metric:
            best[:] = [Baseline(name, score, parameters, value)]
        if on_trial is not None:
            on_trial(name, trial.number + 1)
        return value

    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed)
    )
    study.optimize(objective, n_trials=num_trials)
    return best[0]


def fit_lightgbm(trial: optuna.Trial, rows: Rows) -> tuple[Score, Mapping[str, Any]]:
    """Gradient-boosted leaves with native categories and early stopping."""
    chosen = {
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.2, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 4, 128, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 5, 300, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.4, 1.0),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.5, 1.0),
        "lambda_l2": trial.suggest_float("lambda_l2", 1e-3, 30.0, log=True),
    }
    fixed = {"objective": "binary", "bagging_freq": 1, "verbosity": -1, "seed": 0}
    categories = list(range(rows.first_category, rows.train.shape[1]))
    train = lightgbm.Dataset(rows.train, rows.train_labels, categorical_feature=categories)
    booster = lightgbm.train(
        {**fixed, **chosen},
        train,
        MAX_ROUNDS,
        valid_sets=[train.create_valid(rows.validation, rows.validation_labels)],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
    )

    def score(features: Features) -> NDArray[np.float64]:
        return np.asarray(booster.predict(features), np.float64)

    return score, {**chosen, "num_trees": booster.best_iteration}


def fit_xgboost(trial: optuna.Trial, rows: Rows) -> tuple[Score, Mapping[str, Any]]:
    """Gradient-boosted trees with native categories and early stopping."""
    chosen = {
        "eta": trial.suggest_float("eta", 0.01, 0.3, log=True),
        "max_depth": trial.suggest_int("max_depth", 2, 9),
        "min_child_weight": trial.suggest_float("min_child_weight", 0.5, 50.0, log=True),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.4, 1.0),
        "lambda": trial.suggest_float("lambda", 1e-2, 30.0, log=True),
    }
    fixed = {"objective": "binary:logistic", "tree_method": "hist", "eval_metric": "logloss", "seed": 0}
    kinds = ["c" if i >= rows.first_category else "q" for i in range(rows.train.shape[1])]

    def matrix(features: Features, labels: Labels | None = None) -> xgboost.DMatrix:
        return xgboost.DMatrix(features, labels, feature_types=kinds, enable_categorical=True)

    booster = xgboost.train(
        {**fixed, **chosen},
        matrix(rows.train, rows.train_labels),
        MAX_ROUNDS,
        evals=[(matrix(rows.validation, rows.validation_labels), "validation")],
        early_stopping_rounds=PATIENCE,
        verbose_eval=False,
    )
    best = (0, booster.best_iteration + 1)

    def score(features: Features) -> NDArray[np.float64]:
        return booster.predict(matrix(features), iteration_range=best).astype(np.float64)

    return score, {**chosen, "num_trees": booster.best_iteration + 1}


def fit_logistic_regression(
    trial: optuna.Trial, rows: Rows
) -> tuple[Score, Mapping[str, Any]]:
    """Scaled numbers with missing-value indicators, one-hot categories, an L2 penalty."""
    chosen = {"C": trial.suggest_float("C", 1e-4, 100.0, log=True)}
    num_columns = rows.train.shape[1]
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    columns = ColumnTransformer(
        [
            ("numbers", numbers, list(range(rows.first_category))),
            (
                "categories",
                OneHotEncoder(handle_unknown="ignore", min_frequency=20),
                list(range(rows.first_category, num_columns)),
            ),
        ]
    )
    model = make_pipeline(columns, LogisticRegression(C=chosen["C"], max_iter=500))
    # A column without any value would warn on every fit; it carries nothing.
    train = np.where(np.isnan(rows.train).all(0), np.float32(0), rows.train)
    empty = np.isnan(rows.train).all(0)
    model.fit(pd.DataFrame(train), rows.train_labels)

    def score(features: Features) -> NDArray[np.float64]:
        filled = np.where(empty, np.float32(0), features)
        return model.predict_proba(pd.DataFrame(filled))[:, 1].astype(np.float64)

    return score, chosen


BASELINES: dict[str, Fit] = {
    "LightGBM": fit_lightgbm,
    "XGBoost": fit_xgboost,
    "logistic regression": fit_logistic_regression,
}
