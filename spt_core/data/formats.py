"""Files -> raw columns in bounded batches with row numbers; what cannot be parsed is handed over.

Nothing here knows roles or kinds. A Parquet file is cut at row groups; a text file is one stream.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from spt_core.artifacts import filesystem
from spt_core.data.conform import MISSING_TEXTS
from spt_core.data.corpus import ROW, Corpus, Format
from spt_core.data.raw import as_json, column_from, flat
from spt_core.errors import InputError
from spt_core.records import flatten

BATCH_ROWS = 131_072
FRAGMENT_ROWS = 250_000
TEXT_BLOCK_BYTES = 16 << 20
LINES_PER_BATCH = 50_000
FIRST_LINES = 1000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Fragment:
    """A part of one file that one worker reads; its first row has the number `first_row`."""

    uri: str
    first_row: int = 0
    row_groups: tuple[int, ...] | None = None


class Refused(NamedTuple):
    """A row that could not be parsed: its number, the reason and its text."""

    row: int
    reason: str
    record: str


class Raw(NamedTuple):
    """Rows as they are written, numbered by `__row`; `refused` are those that could not be parsed.

    `untyped` says that all columns are text because the format has no types.
    """

    table: pa.Table
    refused: Sequence[Refused] = ()
    untyped: bool = False


def header(uri: str, kind: Format) -> list[str]:
    """The column names of a file; a JSONL file's are those of its first rows."""
    with readable(uri):
        if kind == "parquet":
            schema = _parquet(uri).schema_arrow
            _refuse_duplicates(schema.names, uri)
            names = flat(schema.empty_table()).column_names
        elif kind == "csv":
            names = _csv_header(uri)[0]
        else:
            first = next(_jsonl_batches(Fragment(uri=uri), FIRST_LINES), Raw(pa.table({})))
            names = [name for name in first.table.column_names if name != ROW]
    _refuse_duplicates(names, uri)
    return names


def num_rows(uri: str, kind: Format) -> int:
    """How many rows a file has: from the footer of Parquet, by reading a text file once."""
    with readable(uri):
        if kind == "parquet":
            return _parquet(uri).metadata.num_rows
        if kind == "jsonl":
            with _text_stream(uri) as stream:
                return sum(1 for line in stream if line.strip())
        chunks = _csv_batches(Fragment(uri=uri), first_column=True)
        return sum(raw.table.num_rows + len(raw.refused) for raw in chunks)


def parquet_fragments(uri: str, first_row: int) -> tuple[list[Fragment], int]:
    """Runs of row groups of about FRAGMENT_ROWS, and the number of the row after the file."""
    fragments: list[Fragment] = []
    with readable(uri):
        metadata = _parquet(uri).metadata
    groups: list[int] = []
    start = row = first_row
    for group in range(metadata.num_row_groups):
        groups.append(group)
        row += metadata.row_group(group).num_rows
        if row - start >= FRAGMENT_ROWS or group == metadata.num_row_groups - 1:
            fragments.append(Fragment(uri=uri, first_row=start, row_groups=tuple(groups)))
            groups, start = [], row
    return fragments, row


def batches(
    fragment: Fragment, kind: Format, *, columns: Sequence[str] | None = None
) -> Iterator[Raw]:
    """The fragment's rows; `columns` limits what is decoded where the format allows it."""
    if kind == "parquet":
        chunks = _parquet_batches(fragment, columns)
    elif kind == "csv":
        chunks = _csv_batches(fragment)
    else:
        chunks = _jsonl_batches(fragment, LINES_PER_BATCH)
    while True:
        with readable(fragment.uri):
            raw = next(chunks, None)
        if raw is None:
            return
        yield raw


def sample(corpus: Corpus, num_rows: int) -> Raw:
    """Up to `num_rows` raw rows from up to eight places spread over the files."""
    places = _places(corpus, 8)
    share = -(-num_rows // len(places))
    tables: list[pa.Table] = []
    untyped = False
    for fragment in places:
        left = share
        for raw in batches(fragment, corpus.format):
            tables.append(raw.table.slice(0, left))
            untyped, left = raw.untyped, left - raw.table.num_rows
            if left <= 0:
                break
    return Raw(_concat(tables), untyped=untyped)


@contextlib.contextmanager
def readable(uri: str) -> Generator[None]:
    """Turns a failure to read the file into a sentence that names it."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"a corpus must exist, however: there is no file {uri}") from error
    except (pa.ArrowException, OSError, EOFError, zlib.error, csv.Error, UnicodeError) as error:
        fact = str(error).strip().split("\n")[0][:200]
        raise InputError(f"a corpus must be readable, however: {uri}: {fact}") from error


def _places(corpus: Corpus, limit: int) -> list[Fragment]:
    uris = corpus.uris[:: -(-len(corpus.uris) // limit)]
    if corpus.format != "parquet":
        return [Fragment(uri=uri) for uri in uris]
    places: list[Fragment] = []
    for uri in uris:
        with readable(uri):
            total = _parquet(uri).metadata.num_row_groups
        num_groups = max(limit // len(uris), 1)
        groups = (
            sorted({round(i * (total - 1) / num_groups) for i in range(num_groups)})
            if total
            else []
        )
        places += [Fragment(uri=uri, row_groups=(group,)) for group in groups]
    if not places:
        raise InputError(f"a corpus must have rows, however: {corpus.uris[0]} has none")
    return places


def _concat(tables: Sequence[pa.Table]) -> pa.Table:
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        names = list(dict.fromkeys(name for table in tables for name in table.column_names))
        rows = [row for table in tables for row in table.to_pylist()]
        return pa.table({name: column_from([row.get(name) for row in rows]) for name in names})


def _refuse_duplicates(names: Sequence[str], uri: str) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"column names must be unique, however: {uri} has {twice!r} twice")


def _parquet(uri: str) -> pq.ParquetFile:
    files, path = filesystem(uri)
    return pq.ParquetFile(path, filesystem=files)


def _parquet_batches(fragment: Fragment, columns: Sequence[str] | None) -> Iterator[Raw]:
    file, row = _parquet(fragment.uri), fragment.first_row
    record_batches = file.iter_batches(
        batch_size=BATCH_ROWS,
        row_groups=None if fragment.row_groups is None else list(fragment.row_groups),
        columns=None if columns is None else list(columns),
    )
    for batch in record_batches:
        table = flat(pa.Table.from_batches([batch]))
        yield Raw(_numbered(table, np.arange(row, row + table.num_rows)))
        row += table.num_rows


def _numbered(table: pa.Table, numbers: np.ndarray) -> pa.Table:
    if ROW in table.column_names:
        table = table.drop_columns([ROW])
    return table.append_column(ROW, pa.array(numbers, pa.int64()))


@contextlib.contextmanager
def _text_stream(uri: str) -> Generator[io.BufferedReader | gzip.GzipFile]:
    files, path = filesystem(uri)
    with files.open_input_file(path) as source:
        if uri.lower().split("?")[0].endswith(".gz"):
            with gzip.open(source) as stream:  # pyright: ignore[reportArgumentType]: file-like
                yield stream
        else:
            yield io.BufferedReader(source, 1 << 20)  # pyright: ignore[reportArgumentType]: the same


def _csv_header(uri: str) -> tuple[list[str], str]:
    with _text_stream(uri) as stream:
        line = next((line for line in stream if line.strip()), b"").decode("utf-8-sig")
    if not line:
        raise InputError(f"a corpus must have rows, however: {uri} is empty")
    delimiter = max(",;\t", key=line.count)
    return next(csv.reader([line], delimiter=delimiter)), delimiter


def _csv_batches(fragment: Fragment, *, first_column: bool = False) -> Iterator[Raw]:
    names, delimiter = _csv_header(fragment.uri)
    _refuse_duplicates(names, fragment.uri)
    refused: list[Refused] = []

    def refuse(row: pyarrow.csv.InvalidRow) -> str:
        # The header is record 1, blank lines are not counted.
        reason = f"a line must have {row.expected_columns} columns"
        refused.append(Refused(fragment.first_row + row.number - 2, reason, row.text or ""))
        return "skip"

    with _text_stream(fragment.uri) as stream:
        reader = pyarrow.csv.open_csv(
            stream,
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=TEXT_BLOCK_BYTES),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=refuse
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.binary()),
                include_columns=names[:1] if first_column else names,
                strings_can_be_null=True,
                null_values=list(MISSING_TEXTS),
            ),
        )
        done = handed = 0
        for batch in reader:
            before = np.array([r.row for r in refused], np.int64) - np.arange(len(refused))
            good = fragment.first_row + np.arange(done, done + batch.num_rows)
            numbers = good + np.searchsorted(before, good, side="right")
            done += batch.num_rows
            table = _numbered(pa.Table.from_batches([batch]), numbers)
            text, unreadable = _decoded(table)
            yield Raw(text, [*refused[handed:], *unreadable], untyped=True)
            handed = len(refused)
        if handed < len(refused):
            yield Raw(_numbered(pa.table({}), np.arange(0)), refused[handed:], untyped=True)


def _decoded(table: pa.Table) -> tuple[pa.Table, list[Refused]]:
    """Binary columns as text; rows that are not UTF-8 are refused."""
    names = [name for name in table.column_names if name != ROW]
    target = pa.schema([*((name, pa.large_string()) for name in names), (ROW, pa.int64())])
    try:
        return table.select([*names, ROW]).cast(target), []
    except pa.ArrowInvalid:
        is_bad = np.zeros(table.num_rows, bool)
        for name in names:
            is_bad |= np.array([not _is_utf8(value) for value in table[name].to_pylist()])
        bad = table.filter(pa.array(is_bad))
        records = [
            as_json({k: v.decode(errors="replace") if v is not None else v for k, v in row.items()})
            for row in bad.select(names).to_pylist()
        ]
        reason = "a line must be UTF-8 text"
        rows = bad[ROW].to_pylist()
        refused = [Refused(row, reason, text) for row, text in zip(rows, records, strict=True)]
        return table.filter(pa.array(~is_bad)).select([*names, ROW]).cast(target), refused


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _jsonl_batches(fragment: Fragment, lines_per_batch: int) -> Iterator[Raw]:
    row = fragment.first_row
    texts: tuple[str, ...] = ()
    with _text_stream(fragment.uri) as stream:
        lines = (line for line in stream if line.strip())
        # The first lines are read with care; they tell the fast parser which columns are text.
        while chunk := list(
            itertools.islice(lines, lines_per_batch if row > fragment.first_row else FIRST_LINES)
        ):
            if row == fragment.first_row and chunk[0].lstrip().startswith(b"["):
                raise InputError(
                    f"a JSONL file must hold one object per line, however: {fragment.uri} is a list"
                )
            fast = _parsed_fast(chunk, texts) if row > fragment.first_row else None
            table, refused = (fast, []) if fast is not None else _parsed(chunk, row)
            if fast is not None:
                table = _numbered(fast, np.arange(row, row + len(chunk)))
            texts = texts or tuple(f.name for f in table.schema if f.type == pa.large_string())
            yield Raw(table, refused)
            row += len(chunk)


def _parsed_fast(lines: Sequence[bytes], texts: Sequence[str]) -> pa.Table | None:
    """The lines by Arrow's parser, or None when one is broken or types are mixed."""
    nested = any("." in name for name in texts)
    schema = None if nested else pa.schema([(name, pa.large_string()) for name in texts])
    options = pyarrow.json.ParseOptions(explicit_schema=schema)
    try:
        table = pyarrow.json.read_json(io.BytesIO(b"\n".join(lines)), parse_options=options)
    except pa.ArrowException:
        return None
    typed = any(pa.types.is_temporal(f.type) or pa.types.is_nested(f.type) for f in table.schema)
    return table if table.num_rows == len(lines) and not typed else None


def _parsed(lines: Sequence[bytes], first_row: int) -> tuple[pa.Table, list[Refused]]:
    """The lines one by one: slower, but broken ones are refused and mixed types become text."""
    rows: list[int] = []
    records: list[Mapping[str, object]] = []
    refused: list[Refused] = []
    for row, line in enumerate(lines, first_row):
        try:
            value = json.loads(line)
            if not isinstance(value, dict):
                raise TypeError("not an object")
            if rb"\u" in line:  # half of a surrogate pair can be escaped, but is no text
                json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, TypeError, RecursionError) as error:
            text = line.decode(errors="replace").strip()
            is_coded = isinstance(error, UnicodeError)
            reason = "a line must be Unicode text" if is_coded else "a line must be one JSON object"
            refused.append(Refused(row, reason, text))
            continue
        rows.append(row)
        records.append(flatten(value))
    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: column_from([record.get(name) for record in records]) for name in names}
    widened = {
        name: column.cast(pa.large_string()) if pa.types.is_string(column.type) else column
        for name, column in columns.items()
    }
    return _numbered(pa.table(widened), np.array(rows, np.int64)), refused
