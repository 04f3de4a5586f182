"""What each kind of answer offers, whatever the family of the model: numpy alone.

scores of a record's items [N, K] -> outputs -> policy -> Judgement
labelled rows + scores -> Outcomes -> metrics, policy
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.heads.outcomes import OutcomeMetric, Outcomes
from spt_core.judgement import Judgement, Reason, Settings, Silence, Span, UnseenTerm
from spt_core.policy import IntervalPolicy, Policy
from spt_core.task import Task

Floats = NDArray[np.float64]
Reasons = Callable[[int, Floats], tuple[Reason, ...]]
SettingsSearch = Callable[[IntervalPolicy], Settings]


class Scores(NamedTuple):
    """What a model says of one record's N items, by its head (calibrated): `values` [N, K].

    binary: the probability of yes; single_label and multi_label: a logit for each class; ordinal:
    of lying above each of the cuts between K + 1 classes; regression: the value; pair: logits of
    each pair's classes; span: of each token's tags; anomalies: the distance from what is usual;
    forecasts: quantiles of each step to come. `spans` are the mentions of a pair task, or the
    tokens of a text (special ones without characters); `pairs` says which two mentions an item is.
    """

    values: Floats
    spans: tuple[Span, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()


class Prediction(NamedTuple):
    """The scores of one record as it was read, flat, and why.

    `reasons(item, direction)` are what an item rests on, strongest first: the effects on its scores
    along `direction` [K], which is d(what the judgement is about) / d scores. `outside()` names the
    fields that lie beyond all training rows, `novel()` those whose category none of them had, and
    `unseen()` terms that the model's vocabulary lacks; `silent()` channels that have stopped
    reading; `settings` searches the fields that somebody can set, where the model's number has a
    goal. `moments` [T] are when the steps of a window were, as the client writes times, if it does.
    `greatest` is the greatest label of the training rows, where it is a number and the model knows
    it. `vocabulary` are the terms that it knows, by field.
    """

    record: Mapping[str, Any]
    scores: Scores
    reasons: Reasons
    outside: Callable[[], tuple[str, ...]] = tuple
    settings: SettingsSearch | None = None
    unseen: Callable[[], tuple[UnseenTerm, ...]] = tuple
    silent: Callable[[], tuple[Silence, ...]] = tuple
    moments: tuple[Any, ...] = ()
    greatest: float | None = None
    vocabulary: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    novel: Callable[[], tuple[str, ...]] = tuple


class Summary(NamedTuple):
    """A judgement as a golden probe compares it: what is said, and how surely (or which number)."""

    labels: tuple[str, ...]
    probability: float


class Truth(NamedTuple):
    """Labelled rows: a table, its label column, and the group [B] that each row is of."""

    table: pa.Table
    label: str
    groups: NDArray[np.int64]


class AnswerHead(Protocol):
    """A kind of answer. Pure and stateless; everything of it that no family has to know."""

    @property
    def metrics(self) -> Mapping[str, OutcomeMetric]:
        """Its figures; the first is the usual one."""
        ...

    @property
    def noun(self) -> str:
        """What a row with such a label is, in a report's title."""
        ...

    @property
    def is_of_record(self) -> bool:
        """Whether items are rows, not parts of them."""
        ...

    def metrics_under(self, policy: Policy) -> Mapping[str, OutcomeMetric]:
        """The metrics, and what else a policy lets measure."""
        ...

    def curves(self, outcomes: Outcomes) -> dict[str, list[float]]:
        """Points that a report draws, few enough to store."""
        ...

    def by_class(self, outcomes: Outcomes) -> list[dict[str, Any]]:
        """Support, precision, recall and F1 of each class; empty where there are none."""
        ...

    def said(self, outcomes: Outcomes, *, of_labels: bool = False) -> list[tuple[str, ...]]:
        """What each item is told, in the words of `summary`; or what is true of it."""
        ...

    def outputs(self, scores: Floats) -> Floats:
        """Probabilities [N, K] (of ordinal classes [N, K + 1]), or the values."""
        ...

    def outcomes(
        self,
        task: Task,
        classes: Sequence[str],
        truth: Truth,
        scores: Sequence[Scores],
        policy: Policy,
    ) -> Outcomes:
        """What is true of the rows' items beside what their scores and the policy say."""
        ...

    def fitted(
        self, task: Task, classes: Sequence[str], targets: Floats, scores: Floats
    ) -> Outcomes:
        """Outcomes of targets and scores [N, K] as training has them, without a fitted policy."""
        ...

    def default_policy(self, task: Task, classes: Sequence[str]) -> Policy:
        """What holds before rows that trained nothing say more."""
        ...

    def policy(self, task: Task, outcomes: Outcomes) -> Policy:
        """The policy that such rows ask for."""
        ...

    def refitted(self, edited: Policy, before: Policy, outcomes: Callable[[], Outcomes]) -> Policy:
        """A policy that somebody edited, with what follows from the edit worked out again."""
        ...

    def judgement(
        self, task: Task, classes: Sequence[str], prediction: Prediction, policy: Policy
    ) -> Judgement:
        """What is said of a record, and why."""
        ...

    def headline(self, task: Task, classes: Sequence[str], scores: Scores) -> float:
        """One figure of a record, for a column of scores; NaN where it has none."""
        ...

    def summary(self, judgement: Any) -> Summary:
        """A judgement of this head as a golden probe compares it."""
        ...


class ItemHead(AnswerHead, Protocol):
    """An answer about items that a label tells apart from the start: all but spans, to be found."""

    def truths(self, task: Task, classes: Sequence[str], truth: Truth) -> Floats:
        """What is true of all rows' items [N, K], in order; or the values [N, 1]."""
        ...

    def decided(
        self, task: Task, classes: Sequence[str], truth: Truth, outputs: Floats, policy: Policy
    ) -> Outcomes:
        """Outcomes of all rows' items from probabilities or values [N, K]."""
        ...
