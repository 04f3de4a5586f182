"""Windows of readings in Parquet: each reading is written once, and windows are put together again.

A window [T, C] shares all but one of its steps with the window before it. A packed table has, in
the windows' column, runs of readings: the first one's place among all readings of the table, how
many follow it, and so on until T are there. In READINGS it has those readings [*, C] that a row is
the first to use. What is read is what was written, bit for bit, whatever made the windows; gaps are
null.
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
Ints = NDArray[np.int32]
Readings = NDArray[np.float32]


def packed(table: pa.Table) -> pa.Table:
    """The table with its windows packed, where a column has any and none of them is null."""
    name = _windows_name(table)
    if name is None or not table.num_rows or table[name].null_count:
        return table
    windows = table[name].combine_chunks()
    length = len(windows[0])
    readings = _readings_of(windows.flatten())
    codes, is_first = _distinct(readings)
    if codes is None:
        return table
    runs, num_runs = _runs(codes.reshape(-1, length))
    firsts = as_column(readings[None, is_first]).flatten()
    own = _lists(firsts, is_first.reshape(-1, length).sum(1))
    column = _lists(pa.array(runs), 2 * num_runs)
    table = table.set_column(table.column_names.index(name), name, column)
    return table.append_column(READINGS, own)


def unpacked(table: pa.Table, rows: NDArray[np.int64] | None = None) -> pa.Table:
    """What `packed` was given; of it these rows only, when said. Other tables are as they are.

    The table must be all of what `packed` returned.
    """
    if READINGS not in table.column_names:
        return table if rows is None else table.take(pa.array(rows))
    readings, length, rest = _parts(table)
    return _put_together(rest if rows is None else rest.take(pa.array(rows)), readings, length)


def unpacked_file(uri: str) -> Iterator[pa.Table]:
    """The rows of a file, packed or not, some at a time."""
    files, path = filesystem(uri)
    file = pq.ParquetFile(path, filesystem=files)
    if READINGS not in file.schema_arrow.names:
        for batch in file.iter_batches(batch_size=PLAIN_ROWS):
            yield pa.Table.from_batches([batch])
        return
    readings, length, rest = _parts(file.read())
    at_once = max(UNPACKED_BYTES // (4 * length * readings.shape[1]), 1)
    for start in range(0, rest.num_rows, at_once):
        yield _put_together(rest.slice(start, at_once), readings, length)


def _parts(table: pa.Table) -> tuple[Readings, int, pa.Table]:
    """All readings [*, C] of a packed table, the steps T of its windows, and its other columns."""
    readings = _readings_of(table[READINGS].combine_chunks().flatten())
    rest = table.drop_columns([READINGS])
    return readings, sum(rest[_runs_name(rest)][0].as_py()[1::2]), rest


def _put_together(rest: pa.Table, readings: Readings, length: int) -> pa.Table:
    """Windows of T steps in the place of their runs."""
    name = _runs_name(rest)
    places = _places(np.asarray(rest[name].combine_chunks().flatten()))
    windows = readings[places].reshape(rest.num_rows, length, readings.shape[1])
    return rest.set_column(rest.column_names.index(name), name, as_column(windows))


def _runs(codes: Ints) -> tuple[Ints, NDArray[np.int64]]:
    """The first place and the length of each run in rows of places [N, T], and each row's runs."""
    begins = np.ones(codes.shape, bool)
    begins[:, 1:] = np.diff(codes, axis=1) != 1
    at = np.flatnonzero(begins)
    sizes = np.diff(at, append=codes.size)
    return np.column_stack([codes.ravel()[at], sizes]).ravel().astype(np.int32), begins.sum(1)


def _places(runs: Ints) -> NDArray[np.int64]:
    """The places that runs go through."""
    starts, sizes = runs.reshape(-1, 2).T.astype(np.int64)
    behind = np.cumsum(sizes)
    return np.arange(sizes.sum()) + np.repeat(starts - (behind - sizes), sizes)


def _windows_name(table: pa.Table) -> str | None:
    lists = [f for f in table.schema if pa.types.is_list(f.type)]
    return next((f.name for f in lists if pa.types.is_list(f.type.value_type)), None)


def _runs_name(table: pa.Table) -> str:
    lists = [f for f in table.schema if pa.types.is_list(f.type)]
    return next(f.name for f in lists if pa.types.is_int32(f.type.value_type))


def _lists(values: pa.Array, sizes: NDArray[np.int64]) -> pa.ListArray:
    """Values dealt to lists of these sizes [N]."""
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _readings_of(lists: pa.ListArray) -> Readings:
    """Lists of cells as readings [N, C], gaps as NaN."""
    values = np.asarray(pc.fill_null(lists.flatten(), np.nan), np.float32)
    return values.reshape(len(lists), -1)


def _distinct(readings: Readings) -> tuple[Ints | None, NDArray[np.bool_]]:
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
