"""Corpora of arrays -> long tables of readings, which are read as any other.

A row is a window or a unit, with a list of readings for each channel (or one list of objects).
What is no list is said of all of a row's readings; but a label that is none is that of the last.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spt_core.artifacts import as_uri, digest, filesystem, has_manifest, remove, write_manifest
from spt_core.data import formats
from spt_core.data.corpus import ROW, Format, Roles
from spt_core.errors import InputError
from spt_core.task import Task

APART = 1_000_000.0  # steps between two rows of one unit, where nothing says when readings were
UNIT, STEP = "unit", "step"  # where the task has no names for them
Ints = NDArray[np.int64]


class Arrays(NamedTuple):
    """Which column of a corpus of arrays is what; None where there is none."""

    label: str
    time: str | None
    group: str | None


def holds_arrays(uris: Sequence[str], kind: Format) -> bool:
    """Whether a column of the first file holds lists."""
    if kind not in ("parquet", "jsonl"):
        return False
    return any(_is_list(column.type) for column in _first(uris[0], kind, "").columns)


def unrolled(
    task: Task, uris: Sequence[str], kind: Format, identity: str, *, roles: Roles, storage: str
) -> tuple[str, Roles]:
    """The folder below `storage` of the readings, one a row, and the roles of their columns.

    A finished one of the same corpus is used again. InputError where lists of a row differ in
    length, or where they cannot be put in an order.
    """
    subject = task.subject
    assert subject is not None, "a corpus of arrays is one of readings"
    names = {*formats.columns(uris, kind), *_first(uris[0], kind, subject.name).column_names}
    of = Arrays(
        label=roles.label or task.label,
        time=roles.time or (task.time if task.time in names else None),
        group=roles.group or (task.group if task.group in names else None),
    )
    time, group = of.time or task.time or STEP, of.group or task.group or UNIT
    own = dataclasses.replace(roles, time=time, group=group)
    name = digest(["arrays", identity, list(uris), task.path, list(of)])
    folder = f"{as_uri(storage)}/corpora/{name}"
    if has_manifest(folder):
        return folder, own
    temporary = f"{as_uri(storage)}/corpora/.{uuid.uuid4().hex}"
    files, path = filesystem(temporary)
    files.create_dir(path, recursive=True)
    try:
        writer: pq.ParquetWriter | None = None
        for table in _long_tables(subject.name, uris, kind, of, (time, group)):
            if writer is None:
                writer = pq.ParquetWriter(f"{path}/rows.parquet", table.schema, filesystem=files)
            writer.write_table(_like(table, writer.schema), row_group_size=formats.FRAGMENT_ROWS)
        if writer is None:
            raise InputError("a corpus must have rows, however: it is empty")
        writer.close()
        target = filesystem(folder)[1]
        files.create_dir(target, recursive=True)
        files.move(f"{path}/rows.parquet", f"{target}/rows.parquet")
        write_manifest(folder, {"identity": identity})
    finally:
        remove(temporary)
    return folder, own


def _first(uri: str, kind: Format, subject: str) -> pa.Table:
    """The first rows of a file."""
    raw = next(formats.batches(formats.Fragment(uri=uri), kind), None)
    return pa.table({}) if raw is None else _of_objects(raw.table, subject)


def _long_tables(
    subject: str, uris: Sequence[str], kind: Format, of: Arrays, clock: tuple[str, str]
) -> Iterator[pa.Table]:
    first_row = 0
    for uri in uris:
        num_rows = 0
        for raw in formats.batches(formats.Fragment(uri=uri), kind):
            if raw.refused:
                bad = raw.refused[0]
                raise InputError(
                    f"every row of a corpus of arrays must be readable, however: row {bad.row} of "
                    f"{uri}: {bad.reason}"
                )
            table = _of_objects(raw.table.drop_columns([ROW]), subject)
            rows = np.arange(table.num_rows) + first_row + num_rows
            yield long_table(table, rows, of, clock, uri)
            num_rows += table.num_rows
        first_row += num_rows


def long_table(
    table: pa.Table, rows: Ints, of: Arrays, clock: tuple[str, str], uri: str
) -> pa.Table:
    """A row for each reading of a table of arrays; `rows` [N] are the numbers of its rows."""
    lists = [n for n, c in zip(table.column_names, table.columns, strict=True) if _is_list(c.type)]
    if of.time is not None and of.time not in lists:
        raise InputError(
            f"when readings were must be a list as they are, however: {of.time!r} of {uri} holds "
            "one value a row; leave it out (data.drop) where readings are in order"
        )
    lengths = _lengths(table, lists, rows, uri)
    source = np.repeat(np.arange(table.num_rows), lengths)
    ends = np.cumsum(lengths)
    place = np.arange(len(source)) - np.repeat(ends - lengths, lengths)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    for name in table.column_names:
        if name in lists:
            columns[name] = _values(table[name], lengths)
        elif name == of.label:
            last = np.full(len(source), -1)
            last[ends[lengths > 0] - 1] = source[ends[lengths > 0] - 1]
            columns[name] = table[name].take(pa.array(last, mask=last < 0))
        else:
            columns[name] = table[name].take(pa.array(source))
    time, group = clock
    if of.time is None:
        apart = APART * rows[source] if of.group is not None else 0.0
        columns[time] = pa.array(apart + place.astype(np.float64))
    if of.group is None:
        columns[group] = pa.array([f"row {row}" for row in rows[source].tolist()])
    return pa.table(columns)


def _lengths(table: pa.Table, lists: Sequence[str], rows: Ints, uri: str) -> Ints:
    """How many readings each row has [N]; a channel without a list has none of them."""
    lengths = np.zeros(table.num_rows, np.int64)
    for name in lists:
        own = np.asarray(pc.fill_null(pc.list_value_length(table[name]), 0), np.int64)
        other = np.flatnonzero((own != lengths) & (own > 0) & (lengths > 0))
        if len(other):
            place = int(other[0])
            raise InputError(
                f"the lists of a row must be of one length, however: {name!r} of row {rows[place]} "
                f"of {uri} has {own[place]}, another {lengths[place]}"
            )
        lengths = np.maximum(lengths, own)
    return lengths


def _values(column: pa.ChunkedArray, lengths: Ints) -> pa.Array | pa.ChunkedArray:
    """The elements of lists, null for those of a row that has no list."""
    own = np.asarray(pc.fill_null(pc.list_value_length(column), 0), np.int64)
    values = pc.list_flatten(column)
    if np.array_equal(own, lengths):
        return values
    starts = np.cumsum(own) - own
    place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    chosen = np.repeat(starts, lengths) + place
    missing = np.repeat((own == 0) & (lengths > 0), lengths)
    return values.take(pa.array(np.where(missing, 0, chosen), mask=missing))


def _of_objects(table: pa.Table, subject: str) -> pa.Table:
    """The table with lists of objects as a list for each of their names, as a request has them."""
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        short = name.removeprefix(f"{subject}.")
        if not (_is_list(column.type) and pa.types.is_struct(column.type.value_type)):
            columns[short] = column
            continue
        whole = column.combine_chunks()
        for field in whole.type.value_type:
            values = pc.struct_field(pc.list_flatten(whole), field.name)
            offsets = np.cumsum(np.append(0, pc.fill_null(pc.list_value_length(whole), 0)))
            mask = whole.is_null()
            columns[field.name] = pa.LargeListArray.from_arrays(
                pa.array(offsets.astype(np.int64)), values, mask=mask
            )
    return pa.table(columns)


def _like(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns and types of the first one; a column that it lacks is null."""
    new = [name for name in table.column_names if name not in schema.names]
    if new:
        raise InputError(
            f"a corpus of arrays must have its columns from the first rows on, however: {new[0]!r} "
            "comes later"
        )
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _is_list(kind: pa.DataType) -> bool:
    is_of = pa.types
    return is_of.is_list(kind) or is_of.is_large_list(kind) or is_of.is_fixed_size_list(kind)
