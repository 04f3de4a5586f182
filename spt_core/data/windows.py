"""Figures over an entity's past, for every row: rows with keys and times -> window columns.

The method is that of the Fraud Detection Handbook (Le Borgne, Siblini, Lebichot and Bontempi,
2022, chapter 3): a customer's number and mean amount of transactions, the present one included,
and a terminal's share of frauds once labels are known. Spans are open on the left and closed on the
right, (t - span, t], as there; with a label delay they end at t - delay. Rows of one moment see
each other, so that the figures do not depend on the order of the rows.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spt_core.data.hashing import column_hashes
from spt_core.signature import Window

if TYPE_CHECKING:
    from spt_core.data.read import Dataset

BUCKET = "__bucket"
_DAY_US = 86_400_000_000
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def add_windows(
    table: pa.Table, windows: Sequence[Window], time: str, label: str | None
) -> pa.Table:
    """The table, rows in their order, with one float64 column per window.

    A figure is null when its span holds no row (label_rate), no value (mean, sum), or when the
    entity or the time of the row is missing. Every past row of an entity must be in the table.
    """
    for entity in dict.fromkeys(window.entity for window in windows):
        mine = [window for window in windows if window.entity == entity]
        table = _add_entity(table, entity, mine, time, label)
    return table


def add_windows_to_dataset(
    dataset: Dataset,
    windows: Sequence[Window],
    time: str,
    label: str | None,
    *,
    num_partitions: int,
) -> Dataset:
    """The rows with their window columns, every column kept; the order is lost.

    One shuffle per entity: rows meet in buckets by a hash of the entity, and a bucket must fit in a
    worker's memory, as must the rows of the busiest entity. With one partition everything is done
    in one table.
    """
    if num_partitions == 1:
        work = functools.partial(add_windows, windows=windows, time=time, label=label)
        return dataset.repartition(1).map_batches(
            work, batch_size=None, batch_format="pyarrow", zero_copy_batch=True
        )
    for entity in dict.fromkeys(window.entity for window in windows):
        mine = [window for window in windows if window.entity == entity]
        work = functools.partial(_one_bucket, windows=mine, time=time, label=label)
        bucketed = dataset.map_batches(
            functools.partial(_with_bucket, entity=entity, num_buckets=num_partitions),
            batch_size=None,
            batch_format="pyarrow",
        )
        grouped = bucketed.groupby(BUCKET, num_partitions=num_partitions)
        dataset = grouped.map_groups(work, batch_format="pyarrow")
    return dataset


def _with_bucket(table: pa.Table, entity: str, num_buckets: int) -> pa.Table:
    buckets = column_hashes(table[entity]) % np.uint64(num_buckets)
    missing = np.asarray(table[entity].is_null())
    spread = np.where(missing, np.arange(table.num_rows) % num_buckets, buckets.astype(np.int64))
    return table.append_column(BUCKET, pa.array(spread, pa.int64()))


def _one_bucket(
    table: pa.Table, windows: Sequence[Window], time: str, label: str | None
) -> pa.Table:
    return add_windows(table.drop_columns([BUCKET]), windows, time, label)


def _add_entity(
    table: pa.Table, entity: str, windows: Sequence[Window], time: str, label: str | None
) -> pa.Table:
    keys = np.asarray(pc.fill_null(table[entity].combine_chunks().dictionary_encode().indices, -1))
    moments = table[time].combine_chunks()
    times = np.asarray(pc.fill_null(moments.cast(pa.timestamp("us")).cast(pa.int64()), 0))
    usable = np.flatnonzero((keys >= 0) & np.asarray(moments.is_valid()))
    rows = usable[np.lexsort((times[usable], keys[usable]))]
    timeline = _Timeline(keys[rows], times[rows])
    for window in windows:
        values = None
        if window.function == "label_rate":
            values = _numbers(table, label or "")[rows]
        elif window.value is not None:
            values = _numbers(table, window.value)[rows]
        figures = np.full(table.num_rows, np.nan)
        figures[rows] = timeline.figures(window, values)
        column = pa.array(figures, mask=np.isnan(figures))
        table = table.append_column(window.name, column)
    return table


def _numbers(table: pa.Table, name: str) -> Floats:
    return np.asarray(pc.fill_null(table[name].cast(pa.float64()), np.nan), np.float64)


class _Timeline:
    """Rows sorted by entity and time, and where each row's spans begin and end."""

    def __init__(self, keys: Ints, times: Ints) -> None:
        self._times = times
        self._moments, order = np.unique(times, return_inverse=True)
        # Entities follow each other on one axis of integers: one search finds a time of an entity.
        self._entity = keys.astype(np.int64) * (len(self._moments) + 1)
        self._axis = self._entity + order + 1

    def _before(self, shift_us: int) -> Ints:
        """For each row, the index behind the last row of its entity at or before t - shift."""
        place = np.searchsorted(self._moments, self._times - shift_us, side="right")
        return np.searchsorted(self._axis, self._entity + place, side="right")

    def figures(self, window: Window, values: Floats | None) -> Floats:
        """The window's figure for each row, NaN where there is none."""
        delay = window.delay_days * _DAY_US
        first = self._before(delay + window.span_days * _DAY_US)
        behind = self._before(delay)
        if values is None:
            return (behind - first).astype(np.float64)
        present = ~np.isnan(values)
        counts = np.concatenate([[0], np.cumsum(present)])
        count = (counts[behind] - counts[first]).astype(np.float64)
        total = _span_sums(np.where(present, values, 0.0), first, behind)
        empty = count == 0
        if window.function == "sum":
            return np.where(empty, np.nan, total)
        return np.where(empty, np.nan, total / np.where(empty, 1.0, count))


def _span_sums(values: Floats, first: Ints, behind: Ints) -> Floats:
    """Sums over [first, behind): prefix sums in extended precision lose nothing that matters."""
    prefix = np.concatenate([[0.0], np.cumsum(values, dtype=np.longdouble)])
    return (prefix[behind] - prefix[first]).astype(np.float64)
