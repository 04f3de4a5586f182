"""Windows of readings in Parquet: each reading is written once, and windows are put together again.

A window [T, C] shares all but one of its steps with the window before it. A packed table has, in
the windows' column, the places [T] of each window's steps among all readings of the table, and in
READINGS those readings [*, C] that a row is the first to use. What is read is what was written, bit
for bit, whatever made the windows; gaps are null.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spt_core.artifacts import filesystem
from spt_core.data.corpus import READINGS
from spt_core.data.hashing import mix
from spt_core.data.series import as_column

UNPACKED_BYTES = 64 << 20  # of windows that a stream holds at a time
PLAIN_ROWS = 1024  # the same, of files whose windows are whole


def packed(table: pa.Table) -> pa.Table:
    """The table with its windows packed, where a column has any and none of them is null."""
    name = _windows_name(table)
    if name is None or not table.num_rows or table[name].null_count:
        return table
    readings, length = _readings_of(table[name])
    codes, is_first = _distinct(readings)
    if codes is None:
        return table
    places = pa.array(codes)
    offsets = np.arange(table.num_rows + 1, dtype=np.int32) * np.int32(length)
    firsts = np.concatenate([[0], np.cumsum(is_first.reshape(-1, length).sum(1))])
    own = pa.ListArray.from_arrays(pa.array(firsts.astype(np.int32)), _cells(readings[is_first]))
    column = pa.ListArray.from_arrays(pa.array(offsets), places)
    table = table.set_column(table.column_names.index(name), name, column)
    return table.append_column(READINGS, own)


def unpacked(table: pa.Table, rows: NDArray[np.int64] | None = None) -> pa.Table:
    """What `packed` was given; of it these rows only, when said. Other tables are as they are.

    The table must be all of what `packed` returned.
    """
    if READINGS not in table.column_names:
        return table if rows is None else table.take(pa.array(rows))
    readings, _ = _readings_of(table[READINGS])
    table = table.drop_columns([READINGS])
    if rows is not None:
        table = table.take(pa.array(rows))
    name = _places_name(table)
    places = np.asarray(table[name].combine_chunks().flatten())
    windows = readings[places].reshape(table.num_rows, -1, readings.shape[1])
    return table.set_column(table.column_names.index(name), name, as_column(windows))


def unpacked_file(uri: str) -> Iterator[pa.Table]:
    """The rows of a file, packed or not, some at a time."""
    files, path = filesystem(uri)
    file = pq.ParquetFile(path, filesystem=files)
    if READINGS not in file.schema_arrow.names:
        for batch in file.iter_batches(batch_size=PLAIN_ROWS):
            yield pa.Table.from_batches([batch])
        return
    table = file.read()
    name = _places_name(table)
    step = len(table[name][0]) * len(table[READINGS][0][0]) * 4
    at_once = max(UNPACKED_BYTES // step, 1)
    for start in range(0, table.num_rows, at_once):
        yield unpacked(table, np.arange(start, min(start + at_once, table.num_rows)))


def _windows_name(table: pa.Table) -> str | None:
    lists = [f for f in table.schema if pa.types.is_list(f.type)]
    return next((f.name for f in lists if pa.types.is_list(f.type.value_type)), None)


def _places_name(table: pa.Table) -> str:
    lists = [f for f in table.schema if pa.types.is_list(f.type)]
    return next(f.name for f in lists if pa.types.is_int32(f.type.value_type))


def _cells(readings: NDArray[np.float32]) -> pa.ListArray:
    """Readings [N, C] as lists, gaps as null."""
    num, width = readings.shape
    values = np.ascontiguousarray(readings).ravel()
    offsets = np.arange(num + 1, dtype=np.int32) * np.int32(width)
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(values, pa.float32(), mask=np.isnan(values))
    )


def _readings_of(column: pa.ChunkedArray) -> tuple[NDArray[np.float32], int]:
    """The readings [N, C] in all lists of a column, gaps as NaN, and how many the first has."""
    lists = column.combine_chunks()
    inner = lists.flatten()
    values = np.asarray(pc.fill_null(inner.flatten(), np.nan), np.float32)
    return values.reshape(len(inner), -1), len(lists[0])


def _distinct(
    readings: NDArray[np.float32],
) -> tuple[NDArray[np.int32] | None, NDArray[np.bool_]]:
    """The number of each reading's first equal [N], and which are one; None where hashes collide.

    Readings are compared by their bits, so that 0.0 and -0.0 stay what they are.
    """
    from pandas import factorize  # takes a while, and who reads needs none

    bits = np.ascontiguousarray(readings).view(np.uint32)
    sums = np.zeros(len(bits), np.uint64)
    for place, column in enumerate(bits.T):
        sums += column * (mix(np.array([place], np.uint64))[0] | np.uint64(1))
    codes = factorize(mix(sums))[0].astype(np.int32)
    is_first = np.diff(np.maximum.accumulate(codes), prepend=-1) > 0
    is_same = np.array_equal(bits[is_first][codes], bits)
    return (codes if is_same else None), is_first
