"""What a model says of one record, and why: head + policy -> Judgement -> the task's words.

Every judgement carries the `record` as it was read, flat, and the `policy` that decided. `outside`,
of decisions, classes, numbers and anomalies, names the fields (of readings the channels) whose
value lies beyond all training rows: the answer there is a guess. `novel`, of decisions, classes and
numbers, names those whose category no training row had. `silent`, of windows of readings, names the
channels that have stopped reading: the answer knows nothing of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, cast

import numpy as np

from spt_core.policy import (
    AlarmPolicy,
    DecisionPolicy,
    IntervalPolicy,
    LabelPolicy,
    Policy,
    QuantilePolicy,
)
from spt_core.signature import Goal

NOTABLE_SHARE = 0.5  # of the strongest place's effect, for another to belong to a region


class FieldEffect(NamedTuple):
    """One field's signed effect on the log-odds (of a number: on the value), with what it held."""

    field: str
    value: Any
    effect: float


class UnseenTerm(NamedTuple):
    """A term of a record that the model's vocabulary lacks, and the one that is written most alike.

    It had no part in the answer.
    """

    field: str
    term: str
    nearest: str | None


class Phrase(NamedTuple):
    """Characters [start, end) of a text and their signed effect on the log-odds of a label."""

    start: int
    end: int
    text: str
    effect: float


class Region(NamedTuple):
    """A box of an image in its pixels, right and bottom exclusive, and its effect on a label."""

    left: int
    top: int
    right: int
    bottom: int
    effect: float


class AttentionMap(NamedTuple):
    """What each place of an image adds to the log-odds of a label, signed.

    `effects` are rows of a grid over the whole image, which is `width_px` by `height_px` large;
    their sum is the label's score but for what the model says of any image.
    """

    effects: tuple[tuple[float, ...], ...]
    width_px: int
    height_px: int

    def regions(self, limit: int = 3) -> list[Region]:
        """Boxes of the places that speak for the label, strongest first.

        A box holds neighboring places of at least half of the strongest one's effect.
        """
        values = {
            (row, column): effect
            for row, line in enumerate(self.effects)
            for column, effect in enumerate(line)
        }
        floor = max(values.values(), default=0.0) * NOTABLE_SHARE
        left_over = {place for place, effect in values.items() if effect > 0 and effect >= floor}
        regions: list[Region] = []
        while left_over:
            group = _neighbors(left_over)
            left_over -= group
            regions.append(self._box(group, sum(values[place] for place in group)))
        return sorted(regions, key=lambda region: -region.effect)[:limit]

    def grid(self, digits: int = 4) -> list[list[float]]:
        """The effects as an answer shows them."""
        return [[round(effect, digits) + 0.0 for effect in line] for line in self.effects]

    def _box(self, group: set[tuple[int, int]], effect: float) -> Region:
        rows, columns = zip(*group, strict=True)
        height, width = self.height_px / len(self.effects), self.width_px / len(self.effects[0])
        return Region(
            round(min(columns) * width),
            round(min(rows) * height),
            round((max(columns) + 1) * width),
            round((max(rows) + 1) * height),
            effect,
        )


def _neighbors(places: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those of the places that hang together with the first one, side by side."""
    waiting, group = [min(places)], set[tuple[int, int]]()
    while waiting:
        row, column = waiting.pop()
        if (row, column) in places and (row, column) not in group:
            group.add((row, column))
            waiting += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
    return group


class Stretch(NamedTuple):
    """A channel's signed effect, and the readings [start, end) of a window that have most of it.

    Readings are counted from a window's first; `value` is the channel's last one, None where it has
    none. The effect is on the log-odds, of a number on the value, of an anomaly its part of it, of
    a forecast on the sum of its steps. `is_ahead` says that these are the steps to come, and what
    is known of them in advance.
    """

    channel: str
    start: int
    end: int
    value: float | None
    effect: float
    is_ahead: bool = False


class Silence(NamedTuple):
    """A channel without any of the last `steps` readings of a window that has `length` of them."""

    channel: str
    steps: int
    length: int

    @property
    def is_whole(self) -> bool:
        """Whether the window has no reading of the channel at all."""
        return self.steps >= self.length


Reason = FieldEffect | Phrase | AttentionMap | Stretch


class Span(NamedTuple):
    """Characters `start` to `end` (exclusive) of a text, as they stand there, and what they are.

    `source` says who names it where a task has patterns beside its model: the one, the other, both;
    a repeat is what one of them names elsewhere in the text.
    """

    start: int
    end: int
    text: str
    label: str = ""
    source: Literal["", "pattern", "model", "pattern and model", "repeat"] = ""


class Settings(NamedTuple):
    """What the model would set, of the fields that somebody can set, and what it expects then.

    `fields` maps each field that changes to its new value; empty where nothing better was found, or
    where no field can be set: `note` says which. They are associations of past rows, not causes.
    `goal` says which way the value is better.
    """

    fields: Mapping[str, Any]
    value: float
    low: float
    high: float
    goal: Goal
    note: str


def _stretches(reasons: tuple[Reason, ...]) -> list[Stretch]:
    """The reasons if they are stretches of readings."""
    return [reason for reason in reasons if isinstance(reason, Stretch)]


def _fields(reasons: tuple[Reason, ...]) -> list[FieldEffect]:
    """The reasons if they are fields; those of one model are all of one kind."""
    if reasons and isinstance(reasons[0], FieldEffect):
        return cast(list[FieldEffect], list(reasons))
    return []


class Decision(NamedTuple):
    """A yes or no, and what to do about it.

    `reasons` are strongest first. `confidence` is the calibrated probability of the likelier class,
    max(p, 1 - p): among answers with confidence 0.9, nine of ten are right.
    """

    record: Mapping[str, Any]
    probability: float
    action: str
    confidence: float
    reasons: tuple[Reason, ...]
    policy: DecisionPolicy
    outside: tuple[str, ...] = ()
    novel: tuple[str, ...] = ()

    @property
    def fields(self) -> list[FieldEffect]:
        """The reasons that are fields."""
        return _fields(self.reasons)

    @property
    def attention(self) -> AttentionMap | None:
        """Where in an image the yes is seen."""
        return next((r for r in self.reasons if isinstance(r, AttentionMap)), None)


class LabelScore(NamedTuple):
    """What a model says of one label: calibrated probability, whether the policy gives it, why.

    `reasons` are strongest first.
    """

    label: str
    probability: float
    is_given: bool
    reasons: tuple[Reason, ...] = ()

    @property
    def fields(self) -> list[FieldEffect]:
        """The reasons that are fields."""
        return _fields(self.reasons)

    @property
    def attention(self) -> AttentionMap | None:
        """Where in an image the label is seen, if it was explained."""
        return next((r for r in self.reasons if isinstance(r, AttentionMap)), None)

    def phrases(self, limit: int = 5) -> list[dict[str, Any]]:
        """The phrases that speak for the label, strongest first, as an answer shows them."""
        return [
            {"text": r.text, "start": r.start, "end": r.end, "effect": round(r.effect, 4)}
            for r in self.reasons
            if isinstance(r, Phrase) and r.effect > 0
        ][:limit]


class Labels(NamedTuple):
    """Classes of a record: the `scores` of all of them, most probable first.

    `unseen` are terms that had no part in it; `vocabulary` are those that the model knows, by
    field, where it has such fields.
    """

    record: Mapping[str, Any]
    scores: tuple[LabelScore, ...]
    policy: LabelPolicy
    outside: tuple[str, ...] = ()
    unseen: tuple[UnseenTerm, ...] = ()
    silent: tuple[Silence, ...] = ()
    vocabulary: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    novel: tuple[str, ...] = ()

    @property
    def best(self) -> LabelScore:
        """The most probable class that the policy gives, else the most probable one."""
        return next((score for score in self.scores if score.is_given), self.scores[0])

    @property
    def likely(self) -> tuple[LabelScore, ...]:
        """The set that holds the true class as often as the policy's coverage says; never empty."""
        (members,) = self.policy.sets(np.array([[score.probability for score in self.scores]]))
        return tuple(s for s, is_in in zip(self.scores, members.tolist(), strict=True) if is_in)


class PairScores(NamedTuple):
    """Two spans of the text and the scores of every label of the pair, most probable first."""

    first: Span
    second: Span
    scores: tuple[LabelScore, ...]


class Pairs(NamedTuple):
    """How spans of a text, given or found, belong together; pairs too far apart have no scores."""

    record: Mapping[str, Any]
    spans: tuple[Span, ...]
    pairs: tuple[PairScores, ...]
    policy: LabelPolicy


class Spans(NamedTuple):
    """What was found in a text."""

    record: Mapping[str, Any]
    spans: tuple[Span, ...]
    policy: Policy


class Value(NamedTuple):
    """A number and its interval, in the label's unit; `reasons` are strongest first.

    `settings` are there where the number has a goal. `greatest` is the greatest label of the
    training rows, beyond which the number says nothing; None where the model does not know it.
    """

    record: Mapping[str, Any]
    value: float
    low: float
    high: float
    reasons: tuple[Reason, ...]
    policy: IntervalPolicy
    outside: tuple[str, ...] = ()
    settings: Settings | None = None
    silent: tuple[Silence, ...] = ()
    greatest: float | None = None
    novel: tuple[str, ...] = ()

    @property
    def fields(self) -> list[FieldEffect]:
        """The reasons that are fields."""
        return _fields(self.reasons)

    @property
    def stretches(self) -> list[Stretch]:
        """The reasons that are stretches of readings."""
        return _stretches(self.reasons)


class Anomaly(NamedTuple):
    """How far a window of readings is from what is usual, and whether that is an alarm.

    `score` is 0 or more; an alarm is one from the policy's threshold on. The effects of `reasons`
    are their channels' parts of the score. `moments` say when each step of the window was, as the
    client writes times; empty where it does not say.
    """

    record: Mapping[str, Any]
    score: float
    is_anomaly: bool
    reasons: tuple[Reason, ...]
    policy: AlarmPolicy
    outside: tuple[str, ...] = ()
    silent: tuple[Silence, ...] = ()
    moments: tuple[Any, ...] = ()

    @property
    def stretches(self) -> list[Stretch]:
        """The reasons that are stretches of readings."""
        return _stretches(self.reasons)


class Forecast(NamedTuple):
    """What comes in the next steps: for each, in order, a value by the level of its quantile."""

    record: Mapping[str, Any]
    steps: tuple[Mapping[float, float], ...]
    reasons: tuple[Reason, ...]
    policy: QuantilePolicy
    outside: tuple[str, ...] = ()
    silent: tuple[Silence, ...] = ()

    @property
    def stretches(self) -> list[Stretch]:
        """The reasons that are stretches of readings."""
        return _stretches(self.reasons)


Judgement = Decision | Labels | Pairs | Spans | Value | Anomaly | Forecast


def seen_in(judgement: Judgement) -> tuple[str, AttentionMap]:
    """What of an image is shown, and where: the yes ("") of a decision, else the best class."""
    if isinstance(judgement, Labels):
        label, attention = judgement.best.label, judgement.best.attention
    else:
        assert isinstance(judgement, Decision), "images are told classes, or yes and no"
        label, attention = "", judgement.attention
    assert attention is not None, "what is said of an image is explained always"
    return label, attention
