"""Files -> raw columns in bounded batches with row numbers; what cannot be parsed is handed over.

Nothing here knows roles or kinds. A Parquet file is cut at row groups; a text file is one stream;
an image file is one row.
Folders named `key=value` on the way to a file (Hive's partitions) are columns of its rows.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import csv
import dataclasses
import functools
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from spt_core.artifacts import filesystem
from spt_core.data import csv_text
from spt_core.data.corpus import FOLDER, IMAGE, PLACE, ROW, SUBFOLDER, Format
from spt_core.data.image_files import FRAGMENT_FILES, file_batches
from spt_core.data.raw import as_json, column_from, flat, is_bytes
from spt_core.errors import InputError
from spt_core.notation import number_of
from spt_core.records import flatten

BATCH_ROWS = 131_072
BATCH_BYTES = 64 << 20  # of rows that hold bytes, such as images
FRAGMENT_ROWS = 250_000
TEXT_BLOCK_BYTES = 16 << 20
MAX_ASCII_BLOCKS = 32  # that are looked into for the first character beyond ASCII
LINES_PER_BATCH = 50_000
FIRST_LINES = 1000
HEADER_THREADS = 16
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Fragment:
    """A part of one file that one worker reads; its first row has the number `first_row`.

    Of image files `others` are read behind the first, each a row, and all lie below `root`.
    """

    uri: str
    first_row: int = 0
    row_groups: tuple[int, ...] | None = None
    others: tuple[str, ...] = ()
    root: str = ""


class Refused(NamedTuple):
    """A row that could not be parsed: its number, the reason and its text."""

    row: int
    reason: str
    record: str


class Raw(NamedTuple):
    """Rows as they are written, numbered by `__row`; `refused` are those that could not be parsed.

    `untyped` says that all columns are text because the format has no types, `num_mended` how many
    lines held a stray quote that was read as a character. `listed` are columns that became text
    because some cells are lists and others are not, or elements are of several types.
    """

    table: pa.Table
    refused: Sequence[Refused] = ()
    untyped: bool = False
    num_mended: int = 0
    listed: tuple[str, ...] = ()


def header(uri: str, kind: Format) -> list[str]:
    """The column names of a file; a JSONL file's are those of its first rows."""
    with readable(uri):
        if kind == "parquet":
            schema = _parquet(uri).schema_arrow
            _refuse_duplicates(schema.names, uri)
            names = flat(schema.empty_table()).column_names
        elif kind == "csv":
            names = list(dialect(uri).names)
        else:
            first = next(_jsonl_batches(Fragment(uri=uri), FIRST_LINES), Raw(pa.table({})))
            names = [name for name in first.table.column_names if name != ROW]
    _refuse_duplicates(names, uri)
    return [*names, *(key for key in hive_keys(uri) if key not in names)]


def columns(uris: Sequence[str], kind: Format) -> dict[str, int]:
    """The columns that any of the files has, in the order of the first, and how many have it."""
    if kind == "images":
        return dict.fromkeys((IMAGE, FOLDER, SUBFOLDER, PLACE), len(uris))
    counts: dict[str, int] = {}
    with concurrent.futures.ThreadPoolExecutor(HEADER_THREADS) as pool:
        for names in pool.map(lambda uri: header(uri, kind), uris):
            for name in names:
                counts[name] = counts.get(name, 0) + 1
    return counts


def hive_keys(uri: str) -> dict[str, str | None]:
    """What the folders `key=value` on the way to a file say of its rows."""
    folders = (unquote(part) for part in urlsplit(uri).path.split("/")[:-1])
    pairs = (part.partition("=") for part in folders if part.find("=") > 0)
    return {key: None if value == HIVE_NULL else value for key, _, value in pairs}


def dialect(uri: str) -> csv_text.Dialect:
    """How a CSV file is written: by its first bytes, and if these are ASCII by more of them."""
    files, path = filesystem(uri)
    info = files.get_file_info(path)
    return _dialect(uri, info.size, info.mtime_ns)


@functools.lru_cache(maxsize=256)  # every pass over a file asks
def _dialect(uri: str, size: int | None, mtime_ns: int | None) -> csv_text.Dialect:
    del size, mtime_ns
    with _text_stream(uri) as stream:
        head = stream.read(csv_text.HEAD_BYTES)
        parts = iter(lambda: stream.read(TEXT_BLOCK_BYTES), b"")
        return csv_text.dialect_of(head, uri, itertools.islice(parts, MAX_ASCII_BLOCKS))


def num_rows(uri: str, kind: Format) -> int:
    """How many rows a file has: from the footer of Parquet, by reading a text file once."""
    if kind == "images":
        return 1
    with readable(uri):
        if kind == "parquet":
            return _parquet(uri).metadata.num_rows
        if kind == "jsonl":
            with _text_stream(uri) as stream:
                return sum(1 for line in stream if line.strip())
        how = dialect(uri)
        with _text_stream(uri) as stream:
            blocks = csv_text.blocks(stream, how, TEXT_BLOCK_BYTES)
            return sum(_num_records(block, how) for block in blocks)


def _num_records(block: csv_text.Block, how: csv_text.Dialect) -> int:
    """The records of a block: its lines but for empty ones, unless cells may go over several."""
    if block.has_long_cells:
        return csv_rows(block, how, 0)[1]
    text = block.content
    if b"\n\n" in text or b"\n\r\n" in text or text[:1] in (b"\n", b"\r"):
        return sum(1 for line in text.splitlines() if line)
    return text.count(b"\n")


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


def image_fragments(uris: Sequence[str], root: str) -> list[Fragment]:
    """Runs of image files below the folder `root`."""
    starts = range(0, len(uris), FRAGMENT_FILES)
    runs = [tuple(uris[start : start + FRAGMENT_FILES]) for start in starts]
    return [
        Fragment(uri=run[0], first_row=start, others=run[1:], root=root)
        for start, run in zip(starts, runs, strict=True)
    ]


def batches(
    fragment: Fragment, kind: Format, *, columns: Sequence[str] | None = None
) -> Iterator[Raw]:
    """The fragment's rows; `columns` limits what is decoded where the format allows it."""
    if kind == "parquet":
        chunks = _parquet_batches(fragment, columns)
    elif kind == "csv":
        chunks = _csv_batches(fragment, columns)
    elif kind == "images":
        chunks = _image_batches(fragment)
    else:
        chunks = _jsonl_batches(fragment, LINES_PER_BATCH)
    keys = hive_keys(fragment.uri)
    while True:
        with readable(fragment.uri):
            raw = next(chunks, None)
        if raw is None:
            return
        yield raw._replace(table=_with_keys(raw.table, keys)) if keys else raw


def _with_keys(table: pa.Table, keys: Mapping[str, str | None]) -> pa.Table:
    for key, value in keys.items():
        if key not in table.column_names:
            column = pa.repeat(pa.scalar(value, pa.large_string()), table.num_rows)
            table = table.append_column(key, column)
    return table


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


def _refuse_duplicates(names: Sequence[str], uri: str) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is None:
        return
    values = [name for name in names if number_of(name) is not None]
    if 2 * len(values) > len(names):
        raise InputError(
            f"a file must begin with a line of column names, however: that of {uri} holds values, "
            f"such as {', '.join(values[:3])}"
        )
    raise InputError(f"column names must be unique, however: {uri} has {twice!r} twice")


def _parquet(uri: str) -> pq.ParquetFile:
    files, path = filesystem(uri)
    # The years of INT96 go beyond what nanoseconds can count.
    return pq.ParquetFile(path, filesystem=files, coerce_int96_timestamp_unit="us")


def _parquet_batches(fragment: Fragment, columns: Sequence[str] | None) -> Iterator[Raw]:
    file, row = _parquet(fragment.uri), fragment.first_row
    record_batches = file.iter_batches(
        batch_size=_batch_rows(file),
        row_groups=None if fragment.row_groups is None else list(fragment.row_groups),
        columns=None if columns is None else list(columns),
    )
    for batch in record_batches:
        table = flat(pa.Table.from_batches([batch]))
        yield Raw(_numbered(table, np.arange(row, row + table.num_rows)))
        row += table.num_rows


def _batch_rows(file: pq.ParquetFile) -> int:
    """BATCH_ROWS, or as many as BATCH_BYTES hold where cells are bytes."""
    metadata = file.metadata
    if not any(is_bytes(field.type) for field in file.schema_arrow) or not metadata.num_rows:
        return BATCH_ROWS
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    row_bytes = sum(group.total_byte_size for group in groups) // metadata.num_rows
    return min(max(BATCH_BYTES // max(row_bytes, 1), 1), BATCH_ROWS)


def _image_batches(fragment: Fragment) -> Iterator[Raw]:
    row = fragment.first_row
    for table in file_batches((fragment.uri, *fragment.others), fragment.root):
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


def _csv_batches(fragment: Fragment, columns: Sequence[str] | None) -> Iterator[Raw]:
    how = dialect(fragment.uri)
    _refuse_duplicates(how.names, fragment.uri)
    row = fragment.first_row
    with _text_stream(fragment.uri) as stream:
        for block in csv_text.blocks(stream, how, TEXT_BLOCK_BYTES):
            raw, num_records = csv_rows(block, how, row, columns)
            # Lines are counted first, as that is quick; some may be empty.
            if (
                not block.has_long_cells
                and num_records != block.content.count(b"\n")
                and num_records != _num_records(block, how)
            ):
                raise InputError(
                    f"every line of {fragment.uri} must be a row or a bad one, however: behind row "
                    f"{row} there are {_num_records(block, how):,} lines and {num_records:,} rows"
                )
            yield raw
            row += num_records


def csv_rows(
    block: csv_text.Block,
    how: csv_text.Dialect,
    first_row: int,
    columns: Sequence[str] | None = None,
) -> tuple[Raw, int]:
    """The rows of whole records, of some columns or of all, and how many records there are."""
    refused: list[Refused] = []

    def refuse(row: pyarrow.csv.InvalidRow) -> str:
        # Blank lines are not counted.
        reason = f"a line must have {row.expected_columns} columns"
        refused.append(Refused(first_row + row.number - 1, reason, row.text or ""))
        return "skip"

    names = list(how.names)
    table = pyarrow.csv.read_csv(
        pa.BufferReader(block.content),
        read_options=pyarrow.csv.ReadOptions(
            use_threads=False, block_size=len(block.content) + 1, column_names=names
        ),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=how.delimiter, newlines_in_values=True, invalid_row_handler=refuse
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.binary()),
            include_columns=names if columns is None else [n for n in names if n in columns],
            strings_can_be_null=True,
            null_values=[""],  # what else is missing depends on what a column is
        ),
    )
    before = np.array([r.row for r in refused], np.int64) - np.arange(len(refused))
    good = first_row + np.arange(table.num_rows)
    numbers = good + np.searchsorted(before, good, side="right")
    text, unreadable = _decoded(_numbered(table, numbers))
    raw = Raw(text, [*refused, *unreadable], untyped=True, num_mended=block.num_mended)
    return raw, table.num_rows + len(refused)


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
            if fast is not None:
                raw = Raw(_numbered(fast, np.arange(row, row + len(chunk))))
            else:
                raw = jsonl_rows(chunk, row)
            texts = texts or tuple(f.name for f in raw.table.schema if f.type == pa.large_string())
            yield raw
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


def jsonl_rows(lines: Sequence[bytes], first_row: int) -> Raw:
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
    listed = tuple(
        name
        for name, column in widened.items()
        if pa.types.is_large_string(column.type)
        and any(isinstance(record.get(name), list) for record in records)
    )
    return Raw(_numbered(pa.table(widened), np.array(rows, np.int64)), refused, listed=listed)
