"""Gradient-boosted forests: members of the teacher, and the baselines beside every model.

Encoded rows -> Optuna on validation rows -> Forest, kept as the library's own text or JSON.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import lightgbm
import numpy as np
import optuna
import xgboost
from numpy.typing import NDArray

from spt_core.families.tabular.outputs import DECISION, ForestObjective, Target
from spt_core.heads import HEADS, metric_of
from spt_core.heads.base import Floats
from spt_core.task import Task

Features = NDArray[np.float32]
Labels = NDArray[np.float64]
# Of targets, what a forest says, and the rows' weights, if they have some.
Metric = Callable[[Floats, Floats, Floats | None], float]
MAX_ROUNDS = 1000
PATIENCE = 50


class Rows(NamedTuple):
    """Encoded rows, a label [N] each; columns from `first_category` on are category indices."""

    train: Features
    train_labels: Labels
    validation: Features
    validation_labels: Labels
    first_category: int
    objective: ForestObjective = DECISION.output.objective(DECISION)
    validation_targets: Floats | None = None  # what quality is measured against, if not labels
    train_weights: Floats | None = None
    validation_weights: Floats | None = None


class Forest(Protocol):
    """A trained forest."""

    parameters: Mapping[str, Any]

    @property
    def num_rounds(self) -> int:
        """How many trees are added up of each class."""
        ...

    def predict(self, features: Features) -> Floats:
        """Probabilities or values [B] of features [B, F]; of several classes [B, K]."""
        ...

    def margins(self, features: Features) -> Floats:
        """What the trees add up to [B, K]: log-odds, classes' scores or values."""
        ...

    def contributions(self, features: Features) -> Floats:
        """The columns' Shapley values of the margins [B, K, F] (TreeSHAP)."""
        ...

    def first(self, share: float) -> Forest:
        """Its first rounds, a share of them, one at least."""
        ...

    def to_bytes(self) -> bytes:
        """What the library's own loader reads; no pickle."""
        ...


class LightgbmForest:
    """LightGBM, leaf-wise, categories natively."""

    def __init__(self, content: bytes, parameters: Mapping[str, Any]) -> None:
        self.booster = lightgbm.Booster(model_str=content.decode())
        self.parameters = parameters
        self.num_rounds = int(self.booster.current_iteration())

    def predict(self, features: Features) -> Floats:
        """Probabilities or values [B] or [B, K]."""
        return np.asarray(self.booster.predict(features), np.float64)

    def margins(self, features: Features) -> Floats:
        """Sums of the trees' leaves [B, K]."""
        margins = np.asarray(self.booster.predict(features, raw_score=True), np.float64)
        return margins.reshape(len(features), -1)

    def contributions(self, features: Features) -> Floats:
        """The columns' Shapley values [B, K, F], without the average margin."""
        values = np.asarray(self.booster.predict(features, pred_contrib=True), np.float64)
        return values.reshape(len(features), -1, features.shape[1] + 1)[:, :, :-1]

    def first(self, share: float) -> LightgbmForest:
        """Its first rounds."""
        num_rounds = max(round(self.num_rounds * share), 1)
        content = self.booster.model_to_string(num_iteration=num_rounds).encode()
        return LightgbmForest(content, self.parameters)

    def to_bytes(self) -> bytes:
        """LightGBM's text format."""
        return self.booster.model_to_string().encode()


class XgboostForest:
    """XGBoost, histogram-based, categories natively."""

    def __init__(self, content: bytes, parameters: Mapping[str, Any]) -> None:
        self.booster = xgboost.Booster()
        self.booster.load_model(bytearray(content))
        self.parameters = parameters
        self.num_rounds = int(self.booster.num_boosted_rounds())
        self._kinds = self.booster.feature_types

    def predict(self, features: Features) -> Floats:
        """Probabilities or values [B] or [B, K]."""
        return self.booster.predict(self._rows(features)).astype(np.float64)

    def margins(self, features: Features) -> Floats:
        """The base score and the sums of the trees' leaves [B, K]."""
        margins = self.booster.predict(self._rows(features), output_margin=True)
        return margins.astype(np.float64).reshape(len(features), -1)

    def contributions(self, features: Features) -> Floats:
        """The columns' Shapley values [B, K, F], without the average margin."""
        values = self.booster.predict(self._rows(features), pred_contribs=True).astype(np.float64)
        return values.reshape(len(features), -1, features.shape[1] + 1)[:, :, :-1]

    def first(self, share: float) -> XgboostForest:
        """Its first rounds."""
        num_rounds = max(round(self.num_rounds * share), 1)
        return XgboostForest(bytes(self.booster[:num_rounds].save_raw("json")), self.parameters)

    def _rows(self, features: Features) -> xgboost.DMatrix:
        return xgboost.DMatrix(features, feature_types=self._kinds, enable_categorical=True)

    def to_bytes(self) -> bytes:
        """XGBoost's JSON format."""
        return bytes(self.booster.save_raw("json"))


def quality_of(task: Task, target: Target) -> Metric:
    """A task's metric to tune forests by, of targets and predictions; higher is better."""
    head, output, metric = HEADS[task.head], target.output, metric_of(task)

    def quality(targets: Floats, predictions: Floats, weights: Floats | None = None) -> float:
        scores = output.said_scores(output.of_forest(predictions), target)
        of = head.fitted(task, target.classes, output.head_targets(targets, target), scores)
        return metric.sign * metric(of._replace(weights=weights))

    return quality


def tune(
    kind: str,
    rows: Rows,
    metric: Metric,
    *,
    num_trials: int,
    seed: int,
    on_trial: Callable[[str, int], None] | None = None,
) -> Forest:
    """The forest of the best of `num_trials` settings by the metric on validation rows.

    The first trial is the library's usual setting; every trial stops early on validation log loss.
    """
    fit, usual = _FITS[kind], _USUAL[kind]
    truth = rows.validation_labels if rows.validation_targets is None else rows.validation_targets
    best: list[tuple[float, Forest]] = []

    def objective(trial: optuna.Trial) -> float:
        forest = fit(_suggested(kind, trial), rows, seed)
        value = metric(truth, forest.predict(rows.validation), rows.validation_weights)
        if not best or value > best[0][0]:
            best[:] = [(value, forest)]
        if on_trial is not None:
            on_trial(kind, trial.number + 1)
        return value

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial(dict(usual))
    study.optimize(objective, n_trials=num_trials)
    return best[0][1]


def fit_lightgbm(
    parameters: Mapping[str, Any], rows: Rows, seed: int, num_rounds: int | None = None
) -> LightgbmForest:
    """A forest stopped early on validation rows, or of exactly `num_rounds` trees."""
    fixed = {**rows.objective.lightgbm, "bagging_freq": 1, "verbosity": -1, "seed": seed}
    categories = list(range(rows.first_category, rows.train.shape[1]))
    train = lightgbm.Dataset(
        rows.train, rows.train_labels, weight=rows.train_weights, categorical_feature=categories
    )
    if num_rounds is not None:
        booster = lightgbm.train({**fixed, **parameters}, train, num_rounds)
        num_trees = num_rounds
    else:
        booster = lightgbm.train(
            {**fixed, **parameters},
            train,
            MAX_ROUNDS,
            valid_sets=[
                train.create_valid(
                    rows.validation, rows.validation_labels, weight=rows.validation_weights
                )
            ],
            callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
        )
        num_trees = booster.best_iteration
    content = booster.model_to_string(num_iteration=num_trees).encode()
    return LightgbmForest(content, {**parameters, "num_trees": num_trees})


def fit_xgboost(
    parameters: Mapping[str, Any], rows: Rows, seed: int, num_rounds: int | None = None
) -> XgboostForest:
    """A forest stopped early on validation rows, or of exactly `num_rounds` trees."""
    fixed = {**rows.objective.xgboost, "tree_method": "hist", "seed": seed}
    kinds = ["c" if i >= rows.first_category else "q" for i in range(rows.train.shape[1])]

    def matrix(features: Features, labels: Labels, weights: Floats | None) -> xgboost.DMatrix:
        return xgboost.DMatrix(
            features, labels, weight=weights, feature_types=kinds, enable_categorical=True
        )

    held_out = matrix(rows.validation, rows.validation_labels, rows.validation_weights)

    booster = xgboost.train(
        {**fixed, **parameters},
        matrix(rows.train, rows.train_labels, rows.train_weights),
        num_rounds or MAX_ROUNDS,
        evals=[] if num_rounds else [(held_out, "validation")],
        early_stopping_rounds=None if num_rounds else PATIENCE,
        verbose_eval=False,
    )
    if num_rounds is None:
        booster = booster[: booster.best_iteration + 1]
    num_trees = booster.num_boosted_rounds()
    return XgboostForest(bytes(booster.save_raw("json")), {**parameters, "num_trees": num_trees})


def fit_quantile(
    quantile: float,
    parameters: Mapping[str, Any],
    rows: Rows,
    seed: int,
    num_rounds: int | None = None,
) -> LightgbmForest:
    """A forest of a quantile of the label, with the settings of one of its mean."""
    objective = {"objective": "quantile", "alpha": quantile}
    settings = {name: value for name, value in parameters.items() if name != "num_trees"}
    own = rows._replace(objective=ForestObjective(objective, {}))
    return fit_lightgbm(settings, own, seed, num_rounds)


def open_forest(kind: str, content: bytes) -> Forest:
    """The forest that `to_bytes` wrote."""
    return _CLASSES[kind](content, {})


@dataclasses.dataclass(frozen=True, slots=True)
class _Range:
    low: float
    high: float
    log: bool = False
    whole: bool = False


_SPACES: Mapping[str, Mapping[str, _Range]] = {
    "lightgbm": {
        "learning_rate": _Range(0.01, 0.2, log=True),
        "num_leaves": _Range(4, 128, log=True, whole=True),
        "min_data_in_leaf": _Range(5, 300, log=True, whole=True),
        "feature_fraction": _Range(0.4, 1.0),
        "bagging_fraction": _Range(0.5, 1.0),
        "lambda_l2": _Range(1e-3, 30.0, log=True),
    },
    "xgboost": {
        "eta": _Range(0.01, 0.3, log=True),
        "max_depth": _Range(2, 9, whole=True),
        "min_child_weight": _Range(0.5, 50.0, log=True),
        "subsample": _Range(0.5, 1.0),
        "colsample_bytree": _Range(0.4, 1.0),
        "lambda": _Range(1e-2, 30.0, log=True),
    },
}
_USUAL: Mapping[str, Mapping[str, Any]] = {
    "lightgbm": {
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_data_in_leaf": 50,
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
        "lambda_l2": 1.0,
    },
    "xgboost": {
        "eta": 0.05,
        "max_depth": 4,
        "min_child_weight": 1.0,
        "subsample": 0.8,
        "colsample_bytree": 0.8,
        "lambda": 1.0,
    },
}
_FITS: Mapping[str, Callable[[Mapping[str, Any], Rows, int], Forest]] = {
    "lightgbm": fit_lightgbm,
    "xgboost": fit_xgboost,
}
_CLASSES: Mapping[str, Callable[[bytes, Mapping[str, Any]], Forest]] = {
    "lightgbm": LightgbmForest,
    "xgboost": XgboostForest,
}
FOREST_KINDS = tuple(_FITS)


def _suggested(kind: str, trial: optuna.Trial) -> dict[str, Any]:
    return {
        name: trial.suggest_int(name, int(r.low), int(r.high), log=r.log)
        if r.whole
        else trial.suggest_float(name, r.low, r.high, log=r.log)
        for name, r in _SPACES[kind].items()
    }
