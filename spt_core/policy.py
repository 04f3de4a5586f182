"""Decisions apart from weights: a probability -> an action or labels, a value -> an interval, a
distance from what is usual -> an alarm.

A policy has a version of its own, so that a bank can change a cost or a review capacity without
retraining.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spt_core.errors import InputError


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
    Cost-Sensitive Learning", IJCAI 2001). `daily_review_capacity` moves both thresholds towards the
    one at which either mistake costs the same, until the expected number of reviews a day fits:
    reviewed are the cases that a review saves most on, the rest gets the cheaper decision.
    `reason_codes` maps a field, or one of its values (`field=value`), to the code that a customer
    is told, `conditions` maps a code to what a reviewer should ask for.
    """

    kind: ClassVar[str] = "decision"
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
        _stamp(self)

    @property
    def basis(self) -> tuple[Costs, int | None, int | None]:
        """What the thresholds come from."""
        return self.costs, self.daily_review_capacity, self.daily_volume

    @property
    def thresholds(self) -> tuple[float, float]:
        """From where a case is reviewed, and from where it is declined."""
        return self.review_threshold, self.decline_threshold

    def figures(self) -> dict[str, float]:
        """Its numbers by name."""
        return {
            "review_threshold": self.review_threshold,
            "decline_threshold": self.decline_threshold,
        }

    def recommend(self, probability: float) -> str:
        """The action for one calibrated probability: approve, review or decline."""
        if probability >= self.decline_threshold:
            return "decline"
        return "review" if probability >= self.review_threshold else "approve"

    def reason_code(self, field: str, value: object) -> str | None:
        """The code of a field with a value; None where it has none."""
        return self.reason_codes.get(f"{field}={value}", self.reason_codes.get(field))

    def expected_cost(
        self,
        labels: NDArray[np.float64],
        probabilities: NDArray[np.float64],
        weights: NDArray[np.float64] | None = None,
    ) -> float:
        """Mean cost per case under this policy; labels, probabilities and weights are [B]."""
        declined = probabilities >= self.decline_threshold
        reviewed = ~declined & (probabilities >= self.review_threshold)
        cost = np.where(reviewed, self.costs.review, 0.0)
        cost = cost + np.where(declined & (labels == 0), self.costs.false_alarm, 0.0)
        passed = ~declined & ~reviewed
        cost = cost + np.where(passed & (labels == 1), self.costs.missed_positive, 0.0)
        return float(np.average(cost, weights=weights))

    def described(self) -> dict[str, Any]:
        """What a person is told of it."""
        return {
            "policy": f"{self.version}: review from {self.review_threshold:.4f}, decline from "
            f"{self.decline_threshold:.4f}",
            "costs": dataclasses.asdict(self.costs),
            "confidence": "calibrated probability of the likelier class, max(p, 1 - p)",
        }

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `policy_from_json` reads back."""
        return {"kind": self.kind, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LabelPolicy:
    """From which calibrated probability on each label is given; versioned apart from weights.

    With `most_probable` exactly the most probable label is given whatever its probability
    (single_label, pair and ordinal heads), unless it has a threshold that it does not reach: then
    the most probable of those that do, or `fallback` when there is none. Without it, every label
    that reaches its threshold is given (multi_label).

    With a `coverage` there is a set of labels beside the given one, which holds the true label of
    so many of the rows to come while they are like those that its `set_threshold` comes from.
    """

    kind: ClassVar[str] = "labels"
    thresholds: Mapping[str, float]
    most_probable: bool
    fallback: str | None = None
    coverage: float | None = None
    set_threshold: float | None = None
    version: str = ""

    def __post_init__(self) -> None:
        """Refuse thresholds that are no probabilities and stamp the version."""
        bad = {k: v for k, v in self.thresholds.items() if not 0.0 <= v <= 1.0}
        if bad:
            raise InputError(f"label thresholds must be in [0, 1], however: {bad}")
        if self.coverage is not None and not 0.0 < self.coverage < 1.0:
            raise InputError(f"a set's coverage must be in (0, 1), however: {self.coverage}")
        if self.set_threshold is not None and not 0.0 <= self.set_threshold <= 1.0:
            raise InputError(f"a set's threshold must be in [0, 1], however: {self.set_threshold}")
        _stamp(self)

    def figures(self) -> dict[str, float]:
        """Its numbers by name."""
        figures = {f"{name}_threshold": value for name, value in self.thresholds.items()}
        of_sets = {"set_coverage": self.coverage, "set_threshold": self.set_threshold}
        return figures | {name: value for name, value in of_sets.items() if value is not None}

    def sets(self, probabilities: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """The labels [N, K] of each item's set by probabilities [N, K]; no set is empty.

        Those that reach the threshold; where none does, the case is unlike those that it comes
        from, and the most probable ones until together they are as probable as the coverage. Of
        a policy without a coverage, the most probable one.
        """
        order = np.argsort(-probabilities, axis=1, kind="stable")
        ranked = np.take_along_axis(probabilities, order, axis=1)
        is_first = np.arange(ranked.shape[1]) == 0
        chosen = np.broadcast_to(is_first, ranked.shape)
        if self.coverage is not None and self.set_threshold is not None:
            reaches = ranked >= self.set_threshold
            until = (ranked.cumsum(1) - ranked) < self.coverage
            chosen = np.where(reaches.any(1, keepdims=True), reaches, until) | is_first
        members = np.zeros(probabilities.shape, np.bool_)
        np.put_along_axis(members, order, chosen, axis=1)
        return members

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

    def described(self) -> dict[str, Any]:
        """What a person is told of it."""
        rule = "the most probable label" if self.most_probable else "every label from its threshold"
        thresholds = ", ".join(f"{name} {value:.4g}" for name, value in self.thresholds.items())
        described = {"policy": f"{self.version}: {rule}{f' ({thresholds})' if thresholds else ''}"}
        if self.coverage is not None and self.set_threshold is not None:
            described["sets"] = (
                f"of coverage {self.coverage:.0%}: labels from a probability of "
                f"{self.set_threshold:.4g} on; measured on rows that trained nothing, it holds "
                "while cases are as they were then"
            )
        return described

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `policy_from_json` reads back."""
        return {"kind": self.kind, **_content(self)}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class IntervalPolicy:
    """The interval around a value: the model's own, wider by `margin` on either side.

    The margin makes it cover `coverage` of rows that trained nothing; it does so for rows to come
    only while the process stays as it was. It is negative where the model's own was too wide.
    """

    kind: ClassVar[str] = "interval"
    coverage: float
    margin: float
    version: str = ""

    def __post_init__(self) -> None:
        """Refuse a share that is none, and stamp the version."""
        if not 0.0 < self.coverage < 1.0 or not np.isfinite(self.margin):
            raise InputError(
                "an interval must have a coverage in (0, 1) and a finite margin, however: "
                f"{self.coverage=}, {self.margin=}"
            )
        _stamp(self)

    def figures(self) -> dict[str, float]:
        """Its numbers by name."""
        return {"coverage": self.coverage, "margin": self.margin}

    def bounds(
        self, low: NDArray[np.float64], high: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The interval of each item [N], [N] from the model's own; never crossed."""
        middle = (low + high) / 2
        return np.minimum(low - self.margin, middle), np.maximum(high + self.margin, middle)

    def described(self) -> dict[str, Any]:
        """What a person is told of it."""
        return {
            "policy": f"{self.version}: an interval of coverage {self.coverage:.0%}, the model's "
            f"own and {self.margin:.4g} on either side",
            "coverage": "measured on rows that trained nothing; it holds while the process stays "
            "as it was then",
        }

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `policy_from_json` reads back."""
        return {"kind": self.kind, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AlarmPolicy:
    """From which score on a window of readings is an alarm, and the budget that it comes from.

    On readings that trained nothing and hold no anomaly the threshold raises at most
    `alarms_per_day` for each unit; readings in a row that reach it are one alarm.
    """

    kind: ClassVar[str] = "alarms"
    threshold: float
    alarms_per_day: float
    version: str = ""

    def __post_init__(self) -> None:
        """Refuse a budget that is none, and stamp the version."""
        if not (np.isfinite(self.threshold) and self.threshold >= 0 and self.alarms_per_day > 0):
            raise InputError(
                "alarms must have a threshold of at least 0 and a budget above 0, however: "
                f"{self.threshold=}, {self.alarms_per_day=}"
            )
        _stamp(self)

    def figures(self) -> dict[str, float]:
        """Its numbers by name."""
        return {"threshold": self.threshold, "alarms_per_day": self.alarms_per_day}

    def described(self) -> dict[str, Any]:
        """What a person is told of it."""
        return {
            "policy": f"{self.version}: an alarm from a score of {self.threshold:.4g} on, at most "
            f"{self.alarms_per_day:g} a day and unit while nothing is wrong",
        }

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `policy_from_json` reads back."""
        return {"kind": self.kind, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class QuantilePolicy:
    """By how much each quantile of a forecast is moved outwards, so that its level holds.

    `levels` are those of the head, in rising order. The shifts come from rows that trained nothing,
    and hold while demand stays as it was.
    """

    kind: ClassVar[str] = "quantiles"
    levels: Sequence[float]
    shifts: Sequence[float]
    version: str = ""

    def __post_init__(self) -> None:
        """Refuse levels that do not rise, and stamp the version."""
        object.__setattr__(self, "levels", tuple(self.levels))  # JSON has lists
        object.__setattr__(self, "shifts", tuple(self.shifts))
        is_rising = all(a < b for a, b in itertools.pairwise((0.0, *self.levels, 1.0)))
        if not is_rising or len(self.levels) != len(self.shifts):
            raise InputError(
                "quantiles must have levels that rise within (0, 1) and a shift each, however: "
                f"{self.levels=}, {self.shifts=}"
            )
        _stamp(self)

    def moved(self, quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
        """The quantiles [..., Q] moved; never below 0 where none was, never crossed."""
        floor = np.minimum(quantiles.min(-1, keepdims=True), 0.0)
        return np.maximum.accumulate(np.maximum(quantiles + np.array(self.shifts), floor), -1)

    def figures(self) -> dict[str, float]:
        """Its numbers by name."""
        named = zip(self.levels, self.shifts, strict=True)
        return {f"shift_{level:g}": shift for level, shift in named}

    def described(self) -> dict[str, Any]:
        """What a person is told of it."""
        named = zip(self.levels, self.shifts, strict=True)
        moved = ", ".join(f"{level:g} by {shift:.3g}" for level, shift in named if shift)
        return {"policy": f"{self.version}: the model's quantiles, moved: {moved or 'none'}"}

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `policy_from_json` reads back."""
        return {"kind": self.kind, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SpanPolicy:
    """Every span is given; how many of each label are missed was counted, and travels along.

    Of the `support` true spans of a label in rows that trained nothing, `recalled` had both ends
    and the label right, by the model and the patterns of version `patterns` together (empty: no
    patterns). A span with other ends counts as missed. The texts had so many `characters`, which
    tells how often a label is there at all; None of policies that are older than this count.
    """

    kind: ClassVar[str] = "spans"
    support: Mapping[str, int] = dataclasses.field(default_factory=dict[str, int])
    recalled: Mapping[str, int] = dataclasses.field(default_factory=dict[str, int])
    patterns: str = ""
    characters: int | None = None
    version: str = ""

    def __post_init__(self) -> None:
        """Refuse counts that are none, and stamp the version."""
        for name in sorted({*self.support, *self.recalled}):
            recalled, number = self.recalled.get(name, 0), self.support.get(name, 0)
            if not 0 <= recalled <= number:
                raise InputError(
                    "at most all spans of a label are recalled, however: "
                    f"{name!r} has {recalled} of {number}"
                )
        _stamp(self)

    def figures(self) -> dict[str, float]:
        """Its numbers by name."""
        return {
            f"{name}_recall": self.recalled.get(name, 0) / number
            for name, number in self.support.items()
            if number
        }

    def described(self) -> dict[str, Any]:
        """What a person is told of it."""
        counts = ", ".join(
            f"{name} {self.recalled.get(name, 0)} of {number}"
            for name, number in self.support.items()
        )
        content = {
            "policy": f"{self.version}: every span is given",
            "spans recalled in rows that trained nothing": counts or "not measured",
        }
        return content | ({"version of the patterns": self.patterns} if self.patterns else {})

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `policy_from_json` reads back."""
        return {"kind": self.kind, **dataclasses.asdict(self)}


Policy = DecisionPolicy | LabelPolicy | IntervalPolicy | AlarmPolicy | QuantilePolicy | SpanPolicy
KINDS: Mapping[
    str,
    type[DecisionPolicy]
    | type[LabelPolicy]
    | type[IntervalPolicy]
    | type[AlarmPolicy]
    | type[QuantilePolicy]
    | type[SpanPolicy],
] = {
    policy.kind: policy
    for policy in (
        DecisionPolicy,
        LabelPolicy,
        IntervalPolicy,
        AlarmPolicy,
        QuantilePolicy,
        SpanPolicy,
    )
}


def policy_from_json(content: Mapping[str, Any]) -> Policy:
    """The policy that `to_json` wrote; edited thresholds or costs give it a new version.

    Those of before they said their kind are told by their thresholds.
    """
    kind = content.get("kind", "labels" if "thresholds" in content else "decision")
    if kind not in KINDS:
        raise InputError(f"a policy is of a kind {', '.join(KINDS)}, however: {kind!r}")
    policy_type = KINDS[kind]
    names = sorted(field.name for field in dataclasses.fields(policy_type))
    values = {name: value for name, value in content.items() if name not in ("kind", "version")}
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise InputError(f"a {kind} policy has the keys {names}, however: it also has {unknown}")
    try:
        if "costs" in values:
            values["costs"] = Costs(**values["costs"])
        return policy_type(**values)
    except (KeyError, TypeError) as error:
        raise InputError(f"a {kind} policy must have its keys, however: {error}") from error


def _content(policy: Any) -> dict[str, Any]:
    """A policy's fields; some are younger than policies without them, and their names."""
    content = dataclasses.asdict(policy)
    younger = ("coverage", "set_threshold", "characters")
    return {k: v for k, v in content.items() if v is not None or k not in younger}


def _stamp(policy: Any) -> None:  # any of the dataclasses above, which are frozen
    """Name a policy by its content, unless it has a name."""
    if not policy.version:
        content = {k: v for k, v in _content(policy).items() if k != "version"}
        text = json.dumps(content, sort_keys=True)
        object.__setattr__(policy, "version", hashlib.sha256(text.encode()).hexdigest()[:12])
