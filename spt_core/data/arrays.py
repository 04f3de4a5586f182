"""Corpora of arrays -> long tables of readings, which are read as any other.

A row is a window or a unit, with a list of readings for each channel (or one list of objects).
What is no list is said of all of a row's readings; but a label that is none is that of the last.
A row whose lists cannot be told apart into readings is bad, and keeps the number that it has in its
file; an element of the wrong kind makes a bad reading, as it does in a long table.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spt_core.artifacts import (
    as_uri,
    code_fingerprint,
    digest,
    filesystem,
    has_manifest,
    remove,
    write_manifest,
)
from spt_core.data import formats
from spt_core.data.conform import BAD_SCHEMA, bad_rows, unparsed_rows
from spt_core.data.corpus import ROW, Format, Roles
from spt_core.data.formats import Raw
from spt_core.data.raw import column_from
from spt_core.errors import InputError
from spt_core.task import Task

APART = 1_000_000.0  # steps between two rows of one unit, where nothing says when readings were
UNIT, STEP = "unit", "step"  # where the task has no names for them
REFUSED = "_refused.parquet"  # what begins with a line is no file of a corpus
Ints = NDArray[np.int64]
Reasons = NDArray[np.object_]
Columns = dict[str, "pa.Array | pa.ChunkedArray"]


class Arrays(NamedTuple):
    """Which column of a corpus of arrays is what; None where there is none."""

    label: str
    time: str | None
    group: str | None


class Unrolled(NamedTuple):
    """A folder of readings, one a row, the roles of their columns, and the file of the bad rows."""

    folder: str
    roles: Roles
    refused: str


def holds_arrays(uris: Sequence[str], kind: Format) -> bool:
    """Whether a column of the first file holds lists."""
    if kind not in ("parquet", "jsonl"):
        return False
    return any(_is_list(column.type) for column in _first(uris[0], kind, "").columns)


def unrolled(
    task: Task, uris: Sequence[str], kind: Format, identity: str, *, roles: Roles, storage: str
) -> Unrolled:
    """The readings of a corpus of arrays, written below `storage`.

    Finished ones of the same corpus are used again. InputError where all rows are bad, or where
    readings cannot be put in an order.
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
    content = ["arrays", REFUSED, identity, list(uris), task.path, list(of), code_fingerprint()]
    name = digest(content)
    folder = f"{as_uri(storage)}/corpora/{name}"
    long = Unrolled(folder, own, f"{folder}/{REFUSED}")
    if has_manifest(folder):
        return long
    temporary = f"{as_uri(storage)}/corpora/.{uuid.uuid4().hex}"
    files, path = filesystem(temporary)
    files.create_dir(path, recursive=True)
    try:
        _write(_long_tables(subject.name, uris, kind, of, (time, group)), files, path)
        target = filesystem(folder)[1]
        files.create_dir(target, recursive=True)
        for info in files.get_file_info(pafs.FileSelector(path)):
            files.move(info.path, f"{target}/{info.base_name}")
        write_manifest(folder, {"identity": identity})
    finally:
        remove(temporary)
    return long


def _write(tables: Iterable[tuple[pa.Table, pa.Table]], files: pafs.FileSystem, path: str) -> None:
    """Files of readings, which need not be of the same types, and one of the bad rows."""
    reasons: Counter[str] = Counter()
    num_files = 0
    with pq.ParquetWriter(f"{path}/{REFUSED}", BAD_SCHEMA, filesystem=files) as writer:
        for readings, bad in tables:
            if bad.num_rows:
                writer.write_table(bad)
                reasons.update(bad["reason"].to_pylist())
            if readings.num_rows:
                place = f"{path}/rows-{num_files:06d}.parquet"
                pq.write_table(
                    readings, place, row_group_size=formats.FRAGMENT_ROWS, filesystem=files
                )
                num_files += 1
    if num_files:
        return
    if not reasons:
        raise InputError("a corpus must have rows, however: it is empty")
    raise InputError(
        "a row of a corpus of arrays must hold readings, however: none of "
        f"{sum(reasons.values()):,} does, most because {reasons.most_common(1)[0][0]}"
    )


def _first(uri: str, kind: Format, subject: str) -> pa.Table:
    """The first rows of a file that could be parsed."""
    raws = formats.batches(formats.Fragment(uri=uri), kind)
    raw = next((raw for raw in raws if raw.table.num_rows), Raw(pa.table({})))
    return _with_lists(raw, subject)[0]


def _long_tables(
    subject: str, uris: Sequence[str], kind: Format, of: Arrays, clock: tuple[str, str]
) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Readings and bad rows of each batch."""
    first_row = 0
    for uri in uris:
        num_rows = 0
        for raw in formats.batches(formats.Fragment(uri=uri, first_row=first_row), kind):
            num_rows += raw.table.num_rows + len(raw.refused)
            table, reasons = _with_lists(raw, subject)
            _require_clock(table, of, uri)
            _note_lengths(table, reasons)
            good = table.filter(pa.array(~reasons.astype(bool)))
            bad = [bad_rows(raw.table, reasons), unparsed_rows(raw.refused)]
            yield long_table(good, of, clock), pa.concat_tables(bad).sort_by(ROW)
        first_row += num_rows


def long_table(table: pa.Table, of: Arrays, clock: tuple[str, str]) -> pa.Table:
    """A row for each reading of a table of arrays, whose column `__row` numbers its rows."""
    rows = np.asarray(table[ROW])
    table = table.drop_columns([ROW])
    lists = _lists_of(table)
    lengths = _lengths(table, lists)
    source = np.repeat(np.arange(table.num_rows), lengths)
    ends = np.cumsum(lengths)
    place = np.arange(len(source)) - np.repeat(ends - lengths, lengths)
    columns: Columns = {}
    for name in table.column_names:
        if name in lists:
            columns[name] = _values(table[name], lengths)
        elif name == of.label:
            last = np.full(len(source), -1)
            last[ends - 1] = source[ends - 1]
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


def _require_clock(table: pa.Table, of: Arrays, uri: str) -> None:
    """Refuse one time for all of a row's readings."""
    if of.time is None or of.time not in table.column_names:
        return
    kind = table[of.time].type
    if not _is_list(kind) and not pa.types.is_null(kind):
        raise InputError(
            f"when readings were must be a list as they are, however: {of.time!r} of {uri} holds "
            "one value a row; leave it out (data.drop) where readings are in order"
        )


def _note_lengths(table: pa.Table, reasons: Reasons) -> None:
    """Notes the rows [N] without a reading, and those whose lists are not of one length."""
    lengths, longest = np.zeros(table.num_rows, np.int64), ""
    for name in _lists_of(table):
        own = _lengths(table, [name])
        others = (own != lengths) & (own > 0) & (lengths > 0) & ~reasons.astype(bool)
        reasons[others] = (
            f"the lists of a row must be of one length, however: {name!r} is not as long as "
            f"{longest!r}"
        )
        longest = longest or name
        lengths = np.maximum(lengths, own)
    none = (lengths == 0) & ~reasons.astype(bool)
    reasons[none] = "a row must hold readings, however: it has no list, or an empty one"


def _lists_of(table: pa.Table) -> list[str]:
    return [field.name for field in table.schema if _is_list(field.type)]


def _lengths(table: pa.Table, lists: Sequence[str]) -> Ints:
    """How many readings each row has [N]; a channel without a list has none of them."""
    own = [np.asarray(pc.fill_null(pc.list_value_length(table[name]), 0)) for name in lists]
    return np.max([np.zeros(table.num_rows, np.int64), *own], axis=0).astype(np.int64)


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


def _with_lists(raw: Raw, subject: str) -> tuple[pa.Table, Reasons]:
    """The rows with a list for each channel, as no objects are, and what is wrong with each [N]."""
    table = raw.table
    reasons = np.full(table.num_rows, None, dtype=object)
    forms: dict[str, list[tuple[str, pa.Array]]] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        short = name.removeprefix(f"{subject}.")
        if name in raw.listed:
            column, is_none = _parsed(column)
            reasons[is_none] = _no_list(short)
        whole = column.combine_chunks()
        if _is_list(column.type) and pa.types.is_struct(column.type.value_type):
            for channel, lists in _of_objects(whole).items():
                forms.setdefault(channel, []).append((name, lists))
        else:
            forms.setdefault(short, []).append((name, whole))
    return pa.table({name: _merged(name, some, reasons) for name, some in forms.items()}), reasons


def _merged(
    channel: str, forms: Sequence[tuple[str, pa.Array]], reasons: Reasons
) -> pa.Array | pa.ChunkedArray:
    """What columns of the file hold of a channel, each in other rows; which is bad is noted.

    Rows may be of several forms: a list of objects, an object of lists, lists beside each other.
    """
    if len(forms) == 1:
        return forms[0][1]
    held = [_is_held(column) for _, column in forms]
    for first, second in itertools.combinations(range(len(forms)), 2):
        both = held[first] & held[second] & ~reasons.astype(bool)
        reasons[both] = (
            f"a row must hold one {channel!r}, however: {forms[first][0]!r} and "
            f"{forms[second][0]!r} both have one; rename one of them"
        )
    cells: list[Any] = [None] * len(reasons)
    for (_, column), is_held in zip(forms, held, strict=True):
        for row in np.flatnonzero(is_held):
            cells[row] = column[row].as_py()
    if not any(_is_list(column.type) for _, column in forms):
        return column_from(cells)
    is_none = np.array([cell is not None and not isinstance(cell, list) for cell in cells], bool)
    reasons[is_none & ~reasons.astype(bool)] = _no_list(channel)
    lists = [cell if isinstance(cell, list) else None for cell in cells]
    return _as_lists(lists, column_from([element for cell in lists for element in cell or ()]))


def _is_held(column: pa.Array) -> NDArray[np.bool_]:
    """Which cells [N] hold a value; a list of nothing but nulls is what an object does not name."""
    if not _is_list(column.type):
        return np.asarray(column.is_valid())
    held = np.zeros(len(column), bool)
    rows = np.asarray(pc.list_parent_indices(column))
    held[rows[np.asarray(pc.list_flatten(column).is_valid())]] = True
    return held


def _no_list(channel: str) -> str:
    return f"{channel!r} must hold a list of readings, as in other rows"


def _parsed(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, NDArray[np.bool_]]:
    """The lists that a column of texts holds as JSON, and which rows [N] hold none but a value.

    Among lists of objects, one that holds anything else is none.
    """
    cells = [None if text is None else _list_or_none(text) for text in column.to_pylist()]
    of_objects = any(isinstance(element, dict) for cell in cells for element in cell or ())
    if of_objects:
        cells = [None if cell is None or not _is_of_objects(cell) else cell for cell in cells]
    is_none = np.array([cell is None for cell in cells], bool) & np.asarray(column.is_valid())
    elements = [element for cell in cells for element in cell or ()]
    names = dict.fromkeys(name for element in elements for name in element) if of_objects else ()
    values = column_from(elements)
    if names:
        parts = [column_from([element.get(name) for element in elements]) for name in names]
        values = pa.StructArray.from_arrays(parts, list(names))
    return pa.chunked_array([_as_lists(cells, values)]), is_none


def _as_lists(cells: Sequence[list[Any] | None], elements: pa.Array) -> pa.Array:
    """Elements as the lists that the cells are."""
    offsets = np.cumsum([0, *(len(cell or ()) for cell in cells)])
    mask = pa.array([cell is None for cell in cells], pa.bool_())
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), elements, mask=mask)


def _list_or_none(text: str) -> list[Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, list) else None


def _is_of_objects(elements: Sequence[object]) -> bool:
    return all(isinstance(element, dict) for element in elements)


def _of_objects(column: pa.Array) -> Columns:
    """Lists of objects as a list for each of their names, as a request has them."""
    offsets = np.cumsum(np.append(0, pc.fill_null(pc.list_value_length(column), 0)))
    elements = pc.list_flatten(column)
    return {
        field.name: pa.LargeListArray.from_arrays(
            pa.array(offsets.astype(np.int64)),
            pc.struct_field(elements, field.name),
            mask=column.is_null(),
        )
        for field in column.type.value_type
    }


def _is_list(kind: pa.DataType) -> bool:
    is_of = pa.types
    return is_of.is_list(kind) or is_of.is_large_list(kind) or is_of.is_fixed_size_list(kind)
