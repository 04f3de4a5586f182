"""What a good engineer would try first on windows: figures of them in LightGBM and linear models.

Same training windows; strength and number of trees by the validation windows, the policy by the
calibration windows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.linalg import LinAlgWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spt_core.families.baseline import Baseline, Baselines, BaselineWork
from spt_core.families.series.boosters import fit_booster
from spt_core.families.series.detectors import DETECTORS, simple_detector
from spt_core.families.series.facts import sequence_field
from spt_core.families.series.forecasters import BOOSTED, FORECASTS, simple_forecast
from spt_core.families.series.policies import fitted_policy
from spt_core.families.series.rows import filled_windows, part_table
from spt_core.families.series.statistics import window_statistics
from spt_core.heads import ITEM_HEADS, metric_of
from spt_core.heads.base import Truth
from spt_core.heads.labels import softmax
from spt_core.heads.outcomes import Outcomes, groups_of
from spt_core.signature import Field
from spt_core.task import Task

STRENGTHS = (1.0, 100.0, 0.01, 10_000.0)  # of the ridge penalty
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"num_leaves": 7, "min_data_in_leaf": 20},
    {"num_leaves": 63, "learning_rate": 0.03},
)
TIMED_WINDOWS = 500
Floats = NDArray[np.float64]
Windows = NDArray[np.float32]
Predict = Callable[[Windows], Floats]  # values [N, 1], or probabilities [N, K]


def tune_series_baselines(work: BaselineWork) -> Baselines:
    """Every baseline of the task's head, at its best by the task's metric on validation rows."""
    if work.task.head == "anomalies":
        return Baselines([simple_detector(work, name) for name in DETECTORS], {})
    if work.task.head == "forecasts":
        return Baselines([simple_forecast(work, name) for name in (*FORECASTS, BOOSTED)], {})
    return Baselines([_boosted(work), _linear(work)], {})


def _boosted(work: BaselineWork) -> Baseline:
    field = sequence_field(work.signature)
    train, held_out = (_labelled(work, field, part) for part in ("train", "validation"))
    is_class = work.task.head == "single_label"

    def fit(settings: Mapping[str, Any]) -> Predict:
        booster = fit_booster(
            work.task.head, train, held_out, num_trees=500, seed=work.seed, **settings
        )
        if is_class:
            return lambda windows: softmax(booster.outputs(windows))
        return booster.outputs

    return _best(work, field, "LightGBM on window statistics", SETTINGS, fit)


def _linear(work: BaselineWork) -> Baseline:
    field = sequence_field(work.signature)
    windows, targets = _labelled(work, field, "train")
    rows, is_class = window_statistics(windows), work.task.head == "single_label"

    def fit(settings: Mapping[str, Any]) -> Predict:
        strength = settings["strength"]
        last: Any = Ridge(alpha=strength)
        if is_class:
            last = LogisticRegression(C=1.0 / strength, max_iter=500)
        model = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), last)
        with warnings.catch_warnings():  # columns that say the same twice: the penalty decides
            warnings.simplefilter("ignore", LinAlgWarning)
            model.fit(rows, targets.argmax(1) if is_class else targets[:, 0])

        def predict(of: Windows) -> Floats:
            figures = window_statistics(of)
            if not is_class:
                return model.predict(figures)[:, None]
            probabilities = np.zeros((len(of), targets.shape[1]))
            probabilities[:, last.classes_] = model.predict_proba(figures)
            return probabilities

        return predict

    choices = [{"strength": strength} for strength in STRENGTHS]
    name = "logistic regression" if is_class else "ridge regression"
    return _best(work, field, f"{name} on window statistics", choices, fit)


def _best(
    work: BaselineWork,
    field: Field,
    name: str,
    choices: Any,
    fit: Callable[[Mapping[str, Any]], Predict],
) -> Baseline:
    """The choice that is best by the task's metric on validation rows."""
    task, head, metric = work.task, ITEM_HEADS[work.task.head], metric_of(work.task)
    table = part_table(work.splits, "validation", work.max_rows)
    truth = Truth(table, work.splits.label, groups_of(table, work.splits.corpus.group))
    usual = head.default_policy(task, work.classes)
    best: tuple[float, Predict, Mapping[str, Any]] | None = None
    tried = list(choices)[: max(work.num_trials, 1)]
    for number, settings in enumerate(tried, 1):
        predict = fit(settings)
        answers = predict(filled_windows(table, field))
        of = head.decided(task, work.classes, truth, answers, usual)
        value = metric.sign * metric(of)
        if best is None or value > best[0]:
            best = (value, predict, settings)
        work.tell(name, number, len(tried))
    assert best is not None, "there is at least one trial"
    _, predict, settings = best
    policy = fitted_policy(work, predict)

    def outcomes(table: pa.Table, label: str, group: str | None) -> Outcomes:
        truth = Truth(table, label, groups_of(table, group or task.group))
        return head.decided(
            task, work.classes, truth, predict(filled_windows(table, field)), policy
        )

    def inputs(table: pa.Table) -> list[Any]:
        return list(filled_windows(table.slice(0, TIMED_WINDOWS), field)[:, None])

    return Baseline(name, outcomes, inputs, predict, settings)


def _labelled(work: BaselineWork, field: Field, part: Any) -> tuple[Windows, NDArray[np.float32]]:
    table = part_table(work.splits, part, work.max_rows)
    task: Task = work.task
    truth = Truth(table, work.splits.label, groups_of(table, None))
    targets = ITEM_HEADS[task.head].truths(task, work.classes, truth)
    return filled_windows(table, field), targets.astype(np.float32)
