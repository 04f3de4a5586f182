"""Yes or no, decided by what each mistake costs.

The score is the calibrated probability of yes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spt_core.errors import InputError
from spt_core.heads import metrics
from spt_core.heads.base import Floats, Prediction, Scores, Summary, Truth
from spt_core.heads.outcomes import OutcomeMetric, Outcomes, outcomes
from spt_core.judgement import Decision
from spt_core.policy import Costs, DecisionPolicy, Policy
from spt_core.task import Task

YES = "yes"
ACTIONS = {0.0: "approve", 0.5: "review", 1.0: "decline"}  # as `given` of Outcomes holds them
CURVE_POINTS = 200
_ALL = np.ones(1)


def _ranking(
    figure: Callable[[Floats, Floats, Floats | None], float],
) -> Callable[[Outcomes], float]:
    """A figure of labels and probabilities [B] as one of Outcomes; NaN unless both classes are."""

    def of_outcomes(of: Outcomes) -> float:
        labels = of.labels[:, 0]
        if not 0 < labels.sum() < len(labels):
            return float("nan")
        return figure(labels, of.probabilities[:, 0], of.weights)

    return of_outcomes


class Binary:
    """The AnswerHead of decisions."""

    metrics: Mapping[str, OutcomeMetric] = {
        "average_precision": OutcomeMetric(_ranking(metrics.average_precision)),
        "roc_auc": OutcomeMetric(_ranking(metrics.roc_auc)),
        "recall_at_fpr_1pct": OutcomeMetric(_ranking(metrics.recall_at_fpr)),
        "calibration_error": OutcomeMetric(_ranking(metrics.calibration_error), True),
        "log_loss": OutcomeMetric(_ranking(metrics.log_score), True),
        "accuracy": OutcomeMetric(_ranking(metrics.likelier_accuracy)),
    }
    noun = "positive"
    is_of_record = True

    def metrics_under(self, policy: Policy) -> Mapping[str, OutcomeMetric]:
        """The metrics, and the mean cost of a case."""
        costs = _of_costs(policy)
        return {**self.metrics, f"cost_per_case_{costs.costs.currency}": cost_metric(costs)}

    def curves(self, outcomes: Outcomes) -> dict[str, list[float]]:
        """Of precision over recall, and of calibration."""
        return _curves(outcomes.labels[:, 0], outcomes.probabilities[:, 0], outcomes.weights)

    def by_class(self, outcomes: Outcomes) -> list[dict[str, Any]]:
        """None."""
        del outcomes
        return []

    def said(self, outcomes: Outcomes, *, of_labels: bool = False) -> list[tuple[str, ...]]:
        """The action; the one that a true label asks for is to approve or to decline."""
        levels = outcomes.labels if of_labels else outcomes.given
        return [(ACTIONS[level],) for level in levels[:, 0].tolist()]

    def outputs(self, scores: Floats) -> Floats:
        """The probabilities themselves."""
        return scores

    def outcomes(
        self,
        task: Task,
        classes: Sequence[str],
        truth: Truth,
        scores: Sequence[Scores],
        policy: Policy,
    ) -> Outcomes:
        """One item a row, `given` 0 for approve, 0.5 for review, 1 for decline."""
        probabilities = np.concatenate([row.values for row in scores])
        return self.decided(task, classes, truth, probabilities, policy)

    def truths(self, task: Task, classes: Sequence[str], truth: Truth) -> Floats:
        """1 for yes [N, 1]."""
        del task, classes
        return np.asarray(truth.table[truth.label], np.float64)[:, None]

    def decided(
        self, task: Task, classes: Sequence[str], truth: Truth, outputs: Floats, policy: Policy
    ) -> Outcomes:
        """Of probabilities [N, 1]."""
        true = self.truths(task, classes, truth)
        return decided(true, outputs, policy, truth.groups)

    def fitted(
        self, task: Task, classes: Sequence[str], targets: Floats, scores: Floats
    ) -> Outcomes:
        """At the costs that the task states."""
        return decided(targets, scores, self.default_policy(task, classes))

    def default_policy(self, task: Task, classes: Sequence[str]) -> DecisionPolicy:
        """Stated costs alone."""
        del classes
        return _policy(task, np.empty(0))

    def policy(self, task: Task, outcomes: Outcomes) -> DecisionPolicy:
        """The least-cost policy, within the capacity for reviews."""
        return _policy(
            task,
            outcomes.probabilities[:, 0],
            outcomes.weights,
            daily_review_capacity=task.daily_review_capacity,
            daily_volume=task.daily_volume,
        )

    def refitted(self, edited: Policy, before: Policy, outcomes: Callable[[], Outcomes]) -> Policy:
        """New thresholds where only what they come from was edited."""
        new, old = _of_costs(edited), _of_costs(before)
        if new.basis == old.basis or new.thresholds != old.thresholds:
            return new
        of = outcomes()
        return fit_policy(
            new.costs,
            of.probabilities[:, 0],
            of.weights,
            daily_review_capacity=new.daily_review_capacity,
            daily_volume=new.daily_volume,
            reason_codes=new.reason_codes,
            conditions=new.conditions,
        )

    def judgement(
        self, task: Task, classes: Sequence[str], prediction: Prediction, policy: Policy
    ) -> Decision:
        """The action, with all reasons."""
        del task, classes
        assert type(policy) is DecisionPolicy  # whoever opened the model has checked it
        probability = float(prediction.scores.values[0, 0])
        return Decision(
            prediction.record,
            probability,
            policy.recommend(probability),
            max(probability, 1.0 - probability),
            prediction.reasons(0, _ALL),
            policy,
            prediction.outside(),
            prediction.novel(),
        )

    def headline(self, task: Task, classes: Sequence[str], scores: Scores) -> float:
        """The probability."""
        del task, classes
        return float(scores.values[0, 0])

    def summary(self, judgement: Decision) -> Summary:
        """The action and the probability."""
        return Summary((judgement.action,), judgement.probability)


def decided(
    labels: Floats,
    probabilities: Floats,
    policy: Policy,
    groups: NDArray[np.int64] | None = None,
) -> Outcomes:
    """Outcomes of labels and probabilities [N, 1] under a policy."""
    costs = _of_costs(policy)
    declined = probabilities >= costs.decline_threshold
    reviewed = ~declined & (probabilities >= costs.review_threshold)
    given = np.where(declined, 1.0, np.where(reviewed, 0.5, 0.0))
    return outcomes((YES,), labels, probabilities, given, groups=groups)


def cost_metric(policy: DecisionPolicy) -> OutcomeMetric:
    """The mean cost of a case under a policy."""
    return OutcomeMetric(
        lambda of: policy.expected_cost(of.labels[:, 0], of.probabilities[:, 0], of.weights), True
    )


def _curves(
    labels: Floats, probabilities: Floats, weights: Floats | None
) -> dict[str, list[float]]:
    """Points of the precision-recall curve and of the calibration curve, few enough to store."""
    from sklearn.metrics import precision_recall_curve  # which replicas do without

    precision, recall, _ = precision_recall_curve(labels, probabilities, sample_weight=weights)
    kept = np.unique(np.linspace(0, len(recall) - 1, CURVE_POINTS).astype(int))
    order = np.argsort(probabilities, kind="stable")
    bins = [part for part in np.array_split(order, 10) if len(part)]
    return {
        "recall": recall[kept].tolist(),
        "precision": precision[kept].tolist(),
        "predicted": [_mean(probabilities, weights, part) for part in bins],
        "observed": [_mean(labels, weights, part) for part in bins],
    }


def _mean(values: Floats, weights: Floats | None, part: NDArray[np.int64]) -> float:
    return float(np.average(values[part], weights=None if weights is None else weights[part]))


def fit_policy(
    costs: Costs,
    probabilities: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
    *,
    daily_review_capacity: int | None = None,
    daily_volume: int | None = None,
    reason_codes: Mapping[str, str] | None = None,
    conditions: Mapping[str, str] | None = None,
) -> DecisionPolicy:
    """The least-cost policy for calibrated probabilities [B] of held-out, representative cases.

    Weights [B] are how many cases each stands for.
    """
    price = costs.review
    if daily_review_capacity is not None and daily_volume:
        mass = np.ones(len(probabilities)) if weights is None else weights
        price = _review_price(costs, probabilities, mass, daily_review_capacity / daily_volume)
    review = min(price / costs.missed_positive, 1.0)
    decline = max(1.0 - price / costs.false_alarm, 0.0)
    if decline <= review:  # a review never pays: one threshold, where both errors cost the same
        review = decline = costs.false_alarm / (costs.false_alarm + costs.missed_positive)
    return DecisionPolicy(
        costs=costs,
        review_threshold=float(review),
        decline_threshold=float(decline),
        daily_review_capacity=daily_review_capacity,
        daily_volume=daily_volume,
        reason_codes=dict(reason_codes or {}),
        conditions=dict(conditions or {}),
    )


def _review_price(
    costs: Costs,
    probabilities: NDArray[np.float64],
    mass: NDArray[np.float64],
    share: float,
) -> float:
    """What a review must save, so that those worth it are at most this share of the mass [B].

    The price of the capacity is added to that of a review (its Lagrange multiplier): reviewed are
    the cases for which either mistake costs most, as many as fit, and of the rest each gets the
    cheaper decision.
    """
    saved = np.minimum(
        probabilities * costs.missed_positive, (1.0 - probabilities) * costs.false_alarm
    )
    order = np.argsort(-saved, kind="stable")
    order = order[saved[order] > costs.review]
    fits = np.cumsum(mass[order]) <= share * mass.sum() + 1e-9
    if fits.all():
        return costs.review
    first_left = saved[order[fits.sum()]]
    inside = saved[order][saved[order] > first_left]  # none of those that save as much as it
    return float((inside[-1] + first_left) / 2 if len(inside) else np.inf)


def _policy(
    task: Task,
    probabilities: Floats,
    weights: Floats | None = None,
    *,
    daily_review_capacity: int | None = None,
    daily_volume: int | None = None,
) -> DecisionPolicy:
    assert task.costs is not None, "a binary task states them"
    return fit_policy(
        task.costs,
        probabilities,
        weights,
        daily_review_capacity=daily_review_capacity,
        daily_volume=daily_volume,
        reason_codes=task.reason_codes,
        conditions=task.conditions,
    )


def _of_costs(policy: Policy) -> DecisionPolicy:
    if not isinstance(policy, DecisionPolicy):
        raise InputError("the policy of a decision has costs, however: this one has none")
    return policy
