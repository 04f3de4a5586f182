"""What comes in the next steps, as quantiles of each.

scores are quantiles [H, Q] of H steps, at LEVELS
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from spt_core.errors import InputError
from spt_core.heads.base import Floats, Prediction, Scores, Summary, Truth
from spt_core.heads.outcomes import OutcomeMetric, Outcomes, outcomes
from spt_core.judgement import Forecast
from spt_core.policy import Policy, QuantilePolicy
from spt_core.task import Task

LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.8, 0.9, 0.95, 0.99)
MEASURED = (0.5, 0.8, 0.9, 0.95, 0.99)  # those that stocks are kept by
COVERED = (0.05, 0.95)
MEDIAN = LEVELS.index(0.5)
CURVE_POINTS = 200
MIN_ROWS = 30  # for a level to be corrected by
# Of each level in a step's mean: the area under its quantiles, flat beyond the outer ones.
_EDGES = np.array([0.0, *((a + b) / 2 for a, b in itertools.pairwise(LEVELS)), 1.0])
MEAN_WEIGHTS = np.diff(_EDGES)


class ForecastHead:
    """The AnswerHead of forecasts.

    In Outcomes items are windows: `labels` and `probabilities` [N, H] are the true steps and their
    medians, `given` [N, H * Q] the quantiles under the policy, step by step.
    """

    metrics: Mapping[str, OutcomeMetric]
    noun = "with a forecast"
    is_of_record = True

    def __init__(self) -> None:
        self.metrics = {
            "scaled_quantile_loss": OutcomeMetric(scaled_quantile_loss, True),
            "quantile_loss": OutcomeMetric(quantile_loss, True),
            "coverage_90pct": OutcomeMetric(coverage),
            "service_shortfall": OutcomeMetric(service_shortfall, True),
            "rmse": OutcomeMetric(rmse, True),
        }

    def metrics_under(self, policy: Policy) -> Mapping[str, OutcomeMetric]:
        """The same under any policy."""
        del policy
        return self.metrics

    def curves(self, outcomes: Outcomes) -> dict[str, list[float]]:
        """Medians of the horizon's total over the true ones, with the outer quantiles' sums."""
        true = outcomes.labels.sum(1)
        order = np.argsort(true, kind="stable")
        kept = order[np.unique(np.linspace(0, len(order) - 1, CURVE_POINTS).astype(int))]
        levels = by_step(outcomes)
        return {
            "true": true[kept].tolist(),
            "value": outcomes.probabilities.sum(1)[kept].tolist(),
            "low": levels[kept, :, LEVELS.index(COVERED[0])].sum(1).tolist(),
            "high": levels[kept, :, LEVELS.index(COVERED[1])].sum(1).tolist(),
        }

    def by_class(self, outcomes: Outcomes) -> list[dict[str, Any]]:
        """None."""
        del outcomes
        return []

    def said(self, outcomes: Outcomes, *, of_labels: bool = False) -> list[tuple[str, ...]]:
        """The total of the horizon; a true one is told as the answer is where 90 % hold it."""
        totals = outcomes.probabilities.sum(1)
        if of_labels:
            true, levels = outcomes.labels.sum(1), by_step(outcomes)
            low, high = (levels[:, :, LEVELS.index(level)].sum(1) for level in COVERED)
            totals = np.where((low <= true) & (true <= high), totals, true)
        return [(f"{total:g}",) for total in totals.tolist()]

    def outputs(self, scores: Floats) -> Floats:
        """The quantiles themselves."""
        return scores

    def outcomes(
        self,
        task: Task,
        classes: Sequence[str],
        truth: Truth,
        scores: Sequence[Scores],
        policy: Policy,
    ) -> Outcomes:
        """One item a row."""
        return self.decided(task, classes, truth, np.stack([r.values for r in scores]), policy)

    def truths(self, task: Task, classes: Sequence[str], truth: Truth) -> Floats:
        """What came [N, H]."""
        del task, classes
        labels: list[str] = truth.table[truth.label].to_pylist()
        return np.array([json.loads(label) for label in labels], np.float64)

    def decided(
        self, task: Task, classes: Sequence[str], truth: Truth, outputs: Floats, policy: Policy
    ) -> Outcomes:
        """Of quantiles [N, H, Q]."""
        del classes
        return self._of(
            self.truths(task, (), truth), _quantiles(policy).moved(outputs), truth.groups
        )

    def fitted(
        self, task: Task, classes: Sequence[str], targets: Floats, scores: Floats
    ) -> Outcomes:
        """Of the quantiles [N, H * Q] that the model gives by itself."""
        del task, classes
        levels = scores.reshape(len(scores), -1, len(LEVELS))
        return self._of(targets, levels, np.arange(len(targets)))

    def _of(self, true: Floats, levels: Floats, groups: Any) -> Outcomes:
        names = [f"step {number + 1}" for number in range(true.shape[1])]
        given = levels.reshape(len(levels), -1)
        return outcomes(names, true, levels[:, :, MEDIAN], given, groups=groups)

    def default_policy(self, task: Task, classes: Sequence[str]) -> QuantilePolicy:
        """The quantiles that the model gives by itself."""
        del task, classes
        return QuantilePolicy(levels=LEVELS, shifts=(0.0,) * len(LEVELS))

    def policy(self, task: Task, outcomes: Outcomes) -> QuantilePolicy:
        """Each level moved outwards by what rows that trained nothing ask for it to hold.

        Split conformal prediction of one-sided intervals, level by level, over all steps together
        (Romano, Patterson and Candes, NeurIPS 2019): from the median up a level must hold its share
        of what came, below it no more may come under it. A level that does already stays.
        """
        del task
        if len(outcomes.labels) < MIN_ROWS:
            raise InputError(
                f"quantiles are held against {MIN_ROWS} windows that trained nothing, however: "
                f"there are {len(outcomes.labels)}"
            )
        shifts: list[float] = []
        for place, level in enumerate(LEVELS):
            miss = (outcomes.labels - by_step(outcomes)[:, :, place]).ravel()
            if level >= 0.5:
                is_held = float(np.mean(miss <= 0.0)) >= level
            else:
                is_held = float(np.mean(miss < 0.0)) <= level
            shifts.append(0.0 if is_held else float(np.quantile(miss, level)))
        return QuantilePolicy(levels=LEVELS, shifts=tuple(shifts))

    def refitted(self, edited: Policy, before: Policy, outcomes: Callable[[], Outcomes]) -> Policy:
        """As it was written."""
        del before, outcomes
        return edited

    def judgement(
        self, task: Task, classes: Sequence[str], prediction: Prediction, policy: Policy
    ) -> Forecast:
        """The quantiles of each step, and what moves the sum of their means."""
        del task, classes
        decided = _quantiles(policy)
        levels = decided.moved(prediction.scores.values[None])[0]
        steps = tuple(dict(zip(LEVELS, row, strict=True)) for row in levels.tolist())
        return Forecast(
            prediction.record,
            steps,
            prediction.reasons(0, MEAN_WEIGHTS),
            decided,
            prediction.outside(),
            prediction.silent(),
        )

    def headline(self, task: Task, classes: Sequence[str], scores: Scores) -> float:
        """The sum of the steps' medians."""
        del task, classes
        return float(scores.values[:, MEDIAN].sum())

    def summary(self, judgement: Forecast) -> Summary:
        """The sum of the steps' medians."""
        total = sum(step[0.5] for step in judgement.steps)
        return Summary((f"{total:.3g}",), total)


def quantile_loss(of: Outcomes) -> float:
    """The mean pinball loss at the MEASURED levels, in the label's unit."""
    return float(np.mean(_losses(of)))


def scaled_quantile_loss(of: Outcomes) -> float:
    """The same over the mean of what came: 1 is a loss as large as demand itself.

    Of all windows together: parts without any demand in the horizon have no scale of their own.
    """
    return quantile_loss(of) / max(float(np.mean(np.abs(of.labels))), 1e-12)


def coverage(of: Outcomes) -> float:
    """The share of steps between their 5 % and 95 % quantiles."""
    levels = by_step(of)
    low, high = (levels[:, :, LEVELS.index(level)] for level in COVERED)
    return float(np.mean((low <= of.labels) & (of.labels <= high)))


def service_shortfall(of: Outcomes) -> float:
    """How far the 95 % quantile falls short of holding 95 % of the steps; 0 where it does."""
    held = float(np.mean(of.labels <= by_step(of)[:, :, LEVELS.index(0.95)]))
    return max(0.95 - held, 0.0)


def rmse(of: Outcomes) -> float:
    """Of the medians."""
    return float(np.sqrt(np.mean((of.labels - of.probabilities) ** 2)))


def _losses(of: Outcomes) -> Floats:
    places = [LEVELS.index(level) for level in MEASURED]
    miss = of.labels[:, :, None] - by_step(of)[:, :, places]
    levels = np.array(MEASURED)
    return np.maximum(levels * miss, (levels - 1.0) * miss)


def by_step(of: Outcomes) -> Floats:
    """The quantiles [N, H, Q] that are given."""
    return of.given.reshape(len(of.given), -1, len(LEVELS))


def _quantiles(policy: Policy) -> QuantilePolicy:
    assert isinstance(policy, QuantilePolicy), "forecasts are decided by their quantiles"
    return policy
