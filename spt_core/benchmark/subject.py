"""What is benchmarked: an opened model with its held-out rows, and shares with their intervals."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answering import Answerer
from spt_core.benchmark.config import BenchmarkConfig
from spt_core.benchmark.tasks import BenchmarkResult
from spt_core.data.splits import Splits, sampled_places
from spt_core.heads import metric_of
from spt_core.heads.outcomes import OutcomeMetric, Outcomes, drawn, members_of
from spt_core.model import SpecializedModel

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A model, the rows [N] that it has never seen, and what it says of them.

    `is_sample` says that the rows are those of the task's own generator.
    """

    model: SpecializedModel
    answerer: Answerer
    splits: Splits
    table: pa.Table
    of: Outcomes
    config: BenchmarkConfig
    is_sample: bool

    @property
    def metric(self) -> OutcomeMetric:
        """The task's metric."""
        return metric_of(self.answerer.task)

    def outcomes(self, table: pa.Table) -> Outcomes:
        """The same of other values of the rows."""
        corpus = self.splits.corpus
        return self.answerer.outcomes(
            table, self.splits.label, group=corpus.group, weight=corpus.weight
        )

    def some(self, num_rows: int) -> pa.Table:
        """At most so many of the rows, evenly from all over them."""
        return self.table.take(pa.array(sampled_places(self.table.num_rows, num_rows)))


Measure = Callable[[Subject], list[BenchmarkResult]]


def resamples(of: Outcomes, config: BenchmarkConfig) -> Iterator[NDArray[np.int64]]:
    """Items drawn with replacement, whole groups together."""
    draw, members = np.random.default_rng(config.seed), members_of(of.groups)
    for _ in range(config.num_resamples):
        yield drawn(draw, members, len(of.groups))


def percentiles_of(values: list[float]) -> tuple[float | None, float | None]:
    """The 95 % percentile interval of resampled figures; None where none is a number."""
    kept = [value for value in values if math.isfinite(value)]
    if not kept:
        return None, None
    low, high = np.quantile(kept, [0.025, 0.975])
    return float(low), float(high)


def mean_interval(values: Floats, config: BenchmarkConfig) -> tuple[float | None, float | None]:
    """The 95 % percentile interval of the mean of values [N] when they are resampled."""
    draw = np.random.default_rng(config.seed)
    picks = draw.integers(0, len(values), (config.num_resamples, len(values)))
    return percentiles_of(values[picks].mean(1).tolist())


def beaten_shares(own: Floats, drawn: Floats) -> Floats:
    """The share [N] of a row's random draws [D, N] that its own figure [N] is above, ties a half.

    Where the own one is a random draw too, its rank among them is uniform, and the share's mean a
    half, however figures are distributed. (Held against the mean of the draws it is not.)
    """
    return (own > drawn).mean(0) + 0.5 * (own == drawn).mean(0)


def kept_share(metric: OutcomeMetric, before: float, after: float) -> float:
    """The share of a figure that is left, at most 1; NaN where there is nothing to keep."""
    whole, left = (after, before) if metric.lower_is_better else (before, after)
    if not (whole > 0 and left >= 0):
        return 0.0 if whole > 0 else math.nan
    return min(left / whole, 1.0)


def with_column(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The table with other values in a column."""
    return table.set_column(table.column_names.index(name), name, column)
