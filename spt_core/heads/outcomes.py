"""What is true of items and what a model says of them, and figures of that with their intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Array = NDArray[np.float64]
MAX_REDRAWS = 20  # of a resample on which a metric is not defined


class Outcomes(NamedTuple):
    """What is true of N items (texts, pairs of mentions, spans), and what a model says of them.

    `labels`, `probabilities` and `given` have shape [N, K] over `classes`: labels 0/1, `given` 0/1
    for what the policy gives. Regression has the values [N, 1] in `labels` and in `probabilities`.
    `groups` [N] are the documents that the items are of, `negative` is the class that says
    "nothing", `support` [K] counts the items of each class before any were left out by `take`.
    `weights` [N] are how many items each stands for; None is one. Figures of decisions obey them.
    `times` [N] are the seconds at which each item was, where order and distance in time matter;
    `clear` [N] is 1 where nothing of an anomaly that is over is in what an item looks at. Items
    that are parts of texts are of texts of so many `characters` in all.
    """

    classes: tuple[str, ...]
    labels: Array
    probabilities: Array
    given: Array
    groups: NDArray[np.int64]
    support: NDArray[np.int64]
    negative: int | None = None
    weights: Array | None = None
    times: Array | None = None
    clear: Array | None = None
    characters: int | None = None

    def take(self, items: NDArray[np.int64]) -> Outcomes:
        """Some of the items, or some several times."""
        return self._replace(
            labels=self.labels[items],
            probabilities=self.probabilities[items],
            given=self.given[items],
            groups=self.groups[items],
            weights=None if self.weights is None else self.weights[items],
            times=None if self.times is None else self.times[items],
            clear=None if self.clear is None else self.clear[items],
        )

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which classes [K] say something."""
        return np.arange(len(self.classes)) != self.negative


class OutcomeMetric(NamedTuple):
    """One figure of Outcomes, and which way is better; NaN where it is not defined."""

    figure: Callable[[Outcomes], float]
    lower_is_better: bool = False

    def __call__(self, of: Outcomes) -> float:
        """The figure."""
        return self.figure(of)

    @property
    def sign(self) -> float:
        """What a figure is multiplied by, so that higher is better."""
        return -1.0 if self.lower_is_better else 1.0


def outcomes(
    classes: Sequence[str],
    labels: Array,
    probabilities: Array,
    given: Array | NDArray[np.bool_],
    *,
    groups: NDArray[np.int64] | None = None,
    negative_class: str | None = None,
) -> Outcomes:
    """Outcomes of labels, probabilities and given [N, K]; without groups each item is its own."""
    return Outcomes(
        tuple(classes),
        np.asarray(labels, np.float64),
        np.asarray(probabilities, np.float64),
        np.asarray(given, np.float64),
        np.arange(len(labels)) if groups is None else groups,
        np.asarray(labels).sum(0).astype(np.int64),
        None if negative_class is None else tuple(classes).index(negative_class),
    )


def values_of(metrics: Mapping[str, OutcomeMetric], of: Outcomes) -> dict[str, float]:
    """Each metric that the outcomes define, such as one of frequent classes if any is frequent."""
    values = {name: metric(of) for name, metric in metrics.items()}
    return {name: value for name, value in values.items() if not np.isnan(value)}


def interval(
    metric: OutcomeMetric, of: Outcomes, *, num_resamples: int = 200, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval of a metric when whole groups are resampled.

    Resamples on which the metric is not defined (one class alone, where it ranks) are drawn again.
    """
    draw, members = np.random.default_rng(seed), members_of(of.groups)
    values: list[float] = []
    for _ in range(num_resamples * MAX_REDRAWS):
        values.append(metric(of.take(drawn(draw, members, len(of.groups)))))
        if np.isnan(values[-1]):
            values.pop()
        if len(values) == num_resamples:
            break
    low, high = np.quantile(values, [0.025, 0.975]) if values else (np.nan, np.nan)
    return float(low), float(high)


def members_of(groups: NDArray[np.int64]) -> list[NDArray[np.int64]] | None:
    """The items of each group; None where each item is a group of its own."""
    order = np.argsort(groups, kind="stable")
    cuts = np.flatnonzero(np.diff(groups[order])) + 1
    return None if len(cuts) + 1 == len(groups) else np.split(order, cuts)


def drawn(
    draw: np.random.Generator, members: list[NDArray[np.int64]] | None, num_items: int
) -> NDArray[np.int64]:
    """The items of as many groups as there are, drawn with replacement."""
    if members is None:
        return draw.integers(0, num_items, num_items)
    return np.concatenate([members[i] for i in draw.integers(0, len(members), len(members))])


def groups_of(table: pa.Table, group: str | None) -> NDArray[np.int64]:
    """The number [B] of each row's document, or of the row itself where no column names one."""
    if group is None or group not in table.column_names:
        return np.arange(table.num_rows)
    names = np.array([str(value) for value in table[group].to_pylist()])
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def weights_of(table: pa.Table, weight: str | None) -> Array | None:
    """How many rows each row stands for [B]; None where no column says."""
    return None if weight is None else np.asarray(table[weight], np.float64)
