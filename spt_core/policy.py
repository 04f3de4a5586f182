"""Decisions apart from weights: costs and thresholds turn a probability into an action.

A DecisionPolicy has a version of its own, so that a bank can change a cost or a review capacity
without retraining.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spt_core.errors import InputError

MIN_POSITIVES = 50  # of a class, before it gets a threshold of its own: fewer fit noise
LOWEST_THRESHOLD = 0.05
MIN_GAIN = 0.005  # in F1, below which a threshold on single labels is noise


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What each outcome costs, in one currency, per case."""

    missed_positive: float
    false_alarm: float
    review: float
    currency: str = "USD"

    def __post_init__(self) -> None:
        """Refuse costs that are not positive numbers."""
        for name in ("missed_positive", "false_alarm", "review"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise InputError(f"costs must be positive numbers, however: {name}={value!r}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DecisionPolicy:
    """Thresholds on the calibrated probability, with the costs that they come from.

    `approve` below `review_threshold`, `review` from there, `decline` from `decline_threshold` on.
    With calibrated probabilities, expected cost is least where a review (which is assumed to find
    the truth) is cheaper than the risk of letting a case pass, p * missed_positive > review, and a
    decline is cheaper than a review, (1 - p) * false_alarm < review (Elkan, "The Foundations of
    Cost-Sensitive Learning", IJCAI 2001). `daily_review_capacity` then raises the review threshold
    until the expected number of reviews a day fits. `reason_codes` maps a field to the code that a
    customer is told, `conditions` maps a code to what a reviewer should ask for.
    """

    costs: Costs
    review_threshold: float
    decline_threshold: float
    daily_review_capacity: int | None = None
    daily_volume: int | None = None
    reason_codes: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    conditions: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    version: str = ""

    def __post_init__(self) -> None:
        """Refuse thresholds out of order and stamp the version."""
        if not 0.0 <= self.review_threshold <= self.decline_threshold <= 1.0:
            raise InputError(
                "thresholds must satisfy 0 <= review <= decline <= 1, however: "
                f"review={self.review_threshold}, decline={self.decline_threshold}"
            )
        if not self.version:
            object.__setattr__(self, "version", self._digest())

    def _digest(self) -> str:
        content = {k: v for k, v in dataclasses.asdict(self).items() if k != "version"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def recommend(self, probability: float) -> str:
        """The action for one calibrated probability: approve, review or decline."""
        if probability >= self.decline_threshold:
            return "decline"
        return "review" if probability >= self.review_threshold else "approve"

    def expected_cost(
        self, labels: NDArray[np.float64], probabilities: NDArray[np.float64]
    ) -> float:
        """Mean cost per case under this policy; labels and probabilities have shape [B]."""
        declined = probabilities >= self.decline_threshold
        reviewed = ~declined & (probabilities >= self.review_threshold)
        cost = np.where(reviewed, self.costs.review, 0.0)
        cost = cost + np.where(declined & (labels == 0), self.costs.false_alarm, 0.0)
        passed = ~declined & ~reviewed
        cost = cost + np.where(passed & (labels == 1), self.costs.missed_positive, 0.0)
        return float(np.mean(cost))

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `policy_from_json` reads back."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LabelPolicy:
    """From which calibrated probability on each label is given; versioned apart from weights.

    With `most_probable` exactly the most probable label is given whatever its probability
    (single_label, pair and ordinal heads), unless it has a threshold that it does not reach: then
    the most probable of those that do, or `fallback` when there is none. Without it, every label
    that reaches its threshold is given (multi_label).
    """

    thresholds: Mapping[str, float]
    most_probable: bool
    fallback: str | None = None
    version: str = ""

    def __post_init__(self) -> None:
        """Refuse thresholds that are no probabilities and stamp the version."""
        bad = {k: v for k, v in self.thresholds.items() if not 0.0 <= v <= 1.0}
        if bad:
            raise InputError(f"label thresholds must be in [0, 1], however: {bad}")
        if not self.version:
            content = {k: v for k, v in dataclasses.asdict(self).items() if k != "version"}
            text = json.dumps(content, sort_keys=True)
            object.__setattr__(self, "version", hashlib.sha256(text.encode()).hexdigest()[:12])

    def given(self, probabilities: Mapping[str, float]) -> frozenset[str]:
        """The labels that these calibrated probabilities earn."""
        reached = [n for n, p in probabilities.items() if p >= self.thresholds.get(n, 0.0)]
        if not self.most_probable:
            return frozenset(reached)
        if reached:
            return frozenset([max(reached, key=probabilities.__getitem__)])
        return frozenset() if self.fallback is None else frozenset([self.fallback])

    def decide(
        self, classes: Sequence[str], probabilities: NDArray[np.floating[Any]]
    ) -> NDArray[np.bool_]:
        """Which labels [N, K] the probabilities [N, K] of many items earn, as `given` of each."""
        reached = probabilities >= np.array([self.thresholds.get(name, 0.0) for name in classes])
        if not self.most_probable:
            return reached
        best = np.where(reached, probabilities, -1.0).argmax(1)
        none = ~reached.any(1)
        if self.fallback is not None:
            best[none], none = list(classes).index(self.fallback), np.zeros_like(none)
        given = np.zeros(probabilities.shape, np.bool_)
        given[np.arange(len(best)), best] = ~none
        return given

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `policy_from_json` reads back."""
        return dataclasses.asdict(self)


Policy = DecisionPolicy | LabelPolicy


def policy_from_json(content: dict[str, Any]) -> Policy:
    """The policy that `to_json` wrote; edited thresholds or costs give it a new version."""
    if "thresholds" in content:
        return _label_policy_from_json(content)
    known = {f.name for f in dataclasses.fields(DecisionPolicy)}
    unknown = sorted(set(content) - known)
    if unknown:
        raise InputError(f"a policy has the keys {sorted(known)}, however: it also has {unknown}")
    values: dict[str, Any] = {k: v for k, v in content.items() if k != "version"}
    try:
        values["costs"] = Costs(**values["costs"])
        return DecisionPolicy(**values)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"a policy must have costs and both thresholds, however: {error}"
        ) from error


def _label_policy_from_json(content: Mapping[str, Any]) -> LabelPolicy:
    known = {f.name for f in dataclasses.fields(LabelPolicy)}
    unknown = sorted(set(content) - known)
    if unknown:
        raise InputError(f"a policy has the keys {sorted(known)}, however: it also has {unknown}")
    try:
        return LabelPolicy(**{k: v for k, v in content.items() if k != "version"})
    except TypeError as error:
        raise InputError(
            f"a label policy must have thresholds and most_probable, however: {error}"
        ) from error


def fit_policy(
    costs: Costs,
    probabilities: NDArray[np.float64],
    *,
    daily_review_capacity: int | None = None,
    daily_volume: int | None = None,
    reason_codes: Mapping[str, str] | None = None,
    conditions: Mapping[str, str] | None = None,
) -> DecisionPolicy:
    """The least-cost policy for calibrated probabilities [B] of held-out, representative cases."""
    review = min(costs.review / costs.missed_positive, 1.0)
    decline = max(1.0 - costs.review / costs.false_alarm, 0.0)
    if decline <= review:  # a review never pays: one threshold, where both errors cost the same
        review = decline = costs.false_alarm / (costs.false_alarm + costs.missed_positive)
    if daily_review_capacity is not None and daily_volume:
        share = daily_review_capacity / daily_volume
        queue = np.sort(probabilities[(probabilities >= review) & (probabilities < decline)])[::-1]
        allowed = int(share * len(probabilities))
        if len(queue) > allowed:  # keep the most probable ones that fit
            review = float(queue[allowed - 1]) if allowed else decline
    return DecisionPolicy(
        costs=costs,
        review_threshold=float(review),
        decline_threshold=float(decline),
        daily_review_capacity=daily_review_capacity,
        daily_volume=daily_volume,
        reason_codes=dict(reason_codes or {}),
        conditions=dict(conditions or {}),
    )


def fit_label_policy(
    head: str,
    classes: Sequence[str],
    labels: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    negative_class: str | None = None,
) -> LabelPolicy:
    """The policy of best F1 on calibration items; labels 0/1 and probabilities have shape [N, K].

    multi_label: each class' threshold is the one of best F1 for it. A class with fewer than
    MIN_POSITIVES items would fit noise: it takes the threshold of best F1 over all classes'
    decisions pooled, as the probabilities expect it, which have to be calibrated (Lipton, Elkan and
    Naryanaswamy, "Optimal Thresholding of Classifiers to Maximize F1 Measure", ECML 2014). None is
    below LOWEST_THRESHOLD.

    Other heads give the most probable class. Where there is a negative class, it competes, and one
    threshold moves the balance: on it (it must be surer to be given) or on all the others (they
    must), whichever gives the best F1 over the other classes; none if that gains under MIN_GAIN.
    """
    if head == "multi_label":
        pooled = probabilities.ravel()
        shared = _best_threshold(pooled, pooled) if labels.any() else 0.5
        rare = labels.sum(0) < MIN_POSITIVES
        thresholds = {
            name: shared if rare[k] else _best_threshold(labels[:, k], probabilities[:, k])
            for k, name in enumerate(classes)
        }
        return LabelPolicy(thresholds=thresholds, most_probable=False)
    plain = LabelPolicy(thresholds={}, most_probable=True)
    if head not in ("single_label", "pair") or negative_class is None or not len(labels):
        return plain
    others = [name for name in classes if name != negative_class]
    candidates = [
        LabelPolicy(
            thresholds={name: float(t) for name in names},
            most_probable=True,
            fallback=negative_class,
        )
        for names in ([negative_class], others)
        for t in np.arange(0.3, 1.0, 0.05).round(2)
    ]
    counted = np.array([name != negative_class for name in classes])
    best = max(candidates, key=lambda p: _decision_f1(p, classes, labels, probabilities, counted))
    gain = _decision_f1(best, classes, labels, probabilities, counted) - _decision_f1(
        plain, classes, labels, probabilities, counted
    )
    return best if gain >= MIN_GAIN else plain


def _best_threshold(labels: NDArray[np.float64], probabilities: NDArray[np.float64]) -> float:
    """The threshold of best F1 over decisions [N], halfway to the next lower probability.

    Labels are 0 or 1, or how probable a 1 is: then it is F1 of the expected numbers.
    """
    if not labels.sum():
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    ranked, found = probabilities[order], labels[order].cumsum()
    f1 = 2 * found / (np.arange(1, len(order) + 1) + labels.sum())
    f1[:-1][ranked[:-1] == ranked[1:]] = 0.0  # equal probabilities cannot be told apart
    at = int(f1.argmax())
    lower = ranked[at + 1] if at + 1 < len(ranked) else 0.0
    return float(max((ranked[at] + lower) / 2, LOWEST_THRESHOLD))


def _decision_f1(
    policy: LabelPolicy,
    classes: Sequence[str],
    labels: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    counted: NDArray[np.bool_],
) -> float:
    given = policy.decide(classes, probabilities)[:, counted]
    true = labels[:, counted]
    total = true.sum() + given.sum()
    return float(2 * (true * given).sum() / total) if total else 0.0
