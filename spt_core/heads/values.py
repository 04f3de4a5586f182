"""A number, with an interval that covers the truth in a stated share of cases.

scores are the value [N, 1], or the value and the lower and upper quantile [N, 3]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from spt_core.heads import metrics
from spt_core.heads.base import Floats, Prediction, Scores, Summary, Truth
from spt_core.heads.conformal import conformal_quantile
from spt_core.heads.outcomes import OutcomeMetric, Outcomes, outcomes
from spt_core.judgement import Value
from spt_core.policy import IntervalPolicy, Policy
from spt_core.task import Task

COVERAGE = 0.9
CURVE_POINTS = 200
_VALUE = (1.0, 0.0, 0.0)  # the direction of reasons: they are of the value, not of its interval


class ValueHead:
    """The AnswerHead of numbers.

    In Outcomes `labels` and `probabilities` [N, 1] are true values and answers, `given` [N, 2] the
    interval under the policy.
    """

    metrics: Mapping[str, OutcomeMetric] = {
        "rmse": OutcomeMetric(metrics.root_mean_squared_error, True),
        "mae": OutcomeMetric(metrics.mean_absolute_error, True),
        "r2": OutcomeMetric(metrics.r2),
        "interval_coverage": OutcomeMetric(metrics.interval_coverage),
        "interval_width": OutcomeMetric(metrics.interval_width, True),
    }
    noun = "with a value"
    is_of_record = True

    def metrics_under(self, policy: Policy) -> Mapping[str, OutcomeMetric]:
        """The same under any policy."""
        del policy
        return self.metrics

    def curves(self, outcomes: Outcomes) -> dict[str, list[float]]:
        """Answers over true values, of items spread over the true values."""
        order = np.argsort(outcomes.labels[:, 0], kind="stable")
        kept = order[np.unique(np.linspace(0, len(order) - 1, CURVE_POINTS).astype(int))]
        return {
            "true": outcomes.labels[kept, 0].tolist(),
            "value": outcomes.probabilities[kept, 0].tolist(),
            "low": outcomes.given[kept, 0].tolist(),
            "high": outcomes.given[kept, 1].tolist(),
        }

    def by_class(self, outcomes: Outcomes) -> list[dict[str, Any]]:
        """None."""
        del outcomes
        return []

    def said(self, outcomes: Outcomes, *, of_labels: bool = False) -> list[tuple[str, ...]]:
        """The value; the true one is told as the answer is where its interval holds it."""
        values = outcomes.probabilities[:, 0].tolist()
        if not of_labels:
            return [(f"{value:g}",) for value in values]
        inside = (outcomes.given[:, :1] <= outcomes.labels) & (
            outcomes.labels <= outcomes.given[:, 1:]
        )
        true = outcomes.labels[:, 0].tolist()
        return [
            (f"{value if held else other:g}",)
            for value, other, held in zip(values, true, inside[:, 0], strict=True)
        ]

    def outputs(self, scores: Floats) -> Floats:
        """The values."""
        return scores[:, :1]

    def outcomes(
        self,
        task: Task,
        classes: Sequence[str],
        truth: Truth,
        scores: Sequence[Scores],
        policy: Policy,
    ) -> Outcomes:
        """One item a row."""
        values = np.concatenate([row.values for row in scores])
        return self.decided(task, classes, truth, values, policy)

    def truths(self, task: Task, classes: Sequence[str], truth: Truth) -> Floats:
        """The values [N, 1]."""
        del task, classes
        return np.asarray(truth.table[truth.label], np.float64)[:, None]

    def decided(
        self, task: Task, classes: Sequence[str], truth: Truth, outputs: Floats, policy: Policy
    ) -> Outcomes:
        """Of values [N, 1], or with their quantiles [N, 3]."""
        true = self.truths(task, classes, truth)
        bounds = np.column_stack(_interval(policy).bounds(*_raw(outputs)))
        return outcomes(("value",), true, outputs[:, :1], bounds, groups=truth.groups)

    def fitted(
        self, task: Task, classes: Sequence[str], targets: Floats, scores: Floats
    ) -> Outcomes:
        """With the interval that the model gives by itself."""
        del task, classes
        bounds = np.column_stack(_raw(scores))
        return outcomes(("value",), targets, scores[:, :1], bounds)

    def default_policy(self, task: Task, classes: Sequence[str]) -> IntervalPolicy:
        """The interval that the model gives by itself."""
        del task, classes
        return IntervalPolicy(coverage=COVERAGE, margin=0.0)

    def policy(self, task: Task, outcomes: Outcomes) -> IntervalPolicy:
        """The margin of `outcomes` under the default policy that covers a share of them."""
        del task
        return IntervalPolicy(coverage=COVERAGE, margin=_margin(outcomes, COVERAGE))

    def refitted(self, edited: Policy, before: Policy, outcomes: Callable[[], Outcomes]) -> Policy:
        """A new margin where only the coverage was edited."""
        new, old = _interval(edited), _interval(before)
        if new.coverage == old.coverage or new.margin != old.margin:
            return new
        return IntervalPolicy(coverage=new.coverage, margin=_margin(outcomes(), new.coverage))

    def judgement(
        self, task: Task, classes: Sequence[str], prediction: Prediction, policy: Policy
    ) -> Value:
        """The value, its interval, what moves it, and settings where it has a goal."""
        del task, classes
        scores, decided = prediction.scores.values, _interval(policy)
        low, high = decided.bounds(*_raw(scores))
        direction = np.array(_VALUE[: scores.shape[1]])
        return Value(
            prediction.record,
            float(scores[0, 0]),
            float(low[0]),
            float(high[0]),
            prediction.reasons(0, direction),
            decided,
            prediction.outside(),
            None if prediction.settings is None else prediction.settings(decided),
            prediction.silent(),
            prediction.greatest,
            prediction.novel(),
        )

    def headline(self, task: Task, classes: Sequence[str], scores: Scores) -> float:
        """The value."""
        del task, classes
        return float(scores.values[0, 0])

    def summary(self, judgement: Value) -> Summary:
        """The value, rounded to a thousandth of its interval, which is as much as can be held."""
        step = (judgement.high - judgement.low) / 1000 or abs(judgement.value) / 1e4 or 1.0
        digits = -math.floor(math.log10(step)) if math.isfinite(step) else 6
        return Summary((f"{round(judgement.value, digits):g}",), judgement.value)


def _raw(scores: Floats) -> tuple[Floats, Floats]:
    """The interval [N], [N] that the scores give by themselves, in order."""
    if scores.shape[1] == 1:
        return scores[:, 0], scores[:, 0]
    return scores[:, 1:].min(1), scores[:, 1:].max(1)


def _margin(outcomes: Outcomes, coverage: float) -> float:
    """What the intervals of `outcomes` must grow by on either side to cover the share of the truth.

    Conformalized quantile regression (Romano, Patterson and Candes, NeurIPS 2019); split conformal
    prediction where the model gives a value alone. It holds for rows that are exchangeable with
    these: while the process stays as it was.
    """
    true = outcomes.labels[:, 0]
    beyond = np.maximum(outcomes.given[:, 0] - true, true - outcomes.given[:, 1])
    return conformal_quantile(beyond, outcomes.groups, coverage, "an interval")


def _interval(policy: Policy) -> IntervalPolicy:
    assert isinstance(policy, IntervalPolicy), "values are decided by an interval"
    return policy
