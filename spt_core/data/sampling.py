"""Rows from all over a corpus, to judge its columns by: Corpus -> Sample.

A corpus of up to SAMPLE_BYTES is read whole and rows are drawn from all of it; of a larger one,
places spread over its files are read, and the beginnings of files that are packed. The same rows
are drawn each time.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from spt_core.artifacts import filesystem
from spt_core.data import csv_text, formats
from spt_core.data.corpus import ROW, Corpus, Format
from spt_core.data.formats import Fragment, Raw
from spt_core.data.hashing import uniform
from spt_core.data.image_files import file_rows
from spt_core.data.raw import column_from

SAMPLE_BYTES = 32 << 20
NUM_PLACES = 8
PLACE_BYTES = 1 << 20


class Sample(NamedTuple):
    """Rows as they are written, of `num_rows` that were looked at; `is_whole`: of all there are.

    `refused` counts rows that could not be parsed, by reason.
    """

    table: pa.Table
    num_rows: int
    is_whole: bool
    num_mended: int = 0
    refused: Counter[str] = Counter()


def sample_of(table: pa.Table) -> Sample:
    """All rows of a table."""
    return Sample(table, table.num_rows, is_whole=True)


def sample(corpus: Corpus, num_rows: int) -> Sample:
    """About `num_rows` rows of a corpus in their order, or all if it has no more."""
    return _sample(corpus.uris, corpus.format, corpus.identity, num_rows, corpus.root)


def sampled_columns(uris: tuple[str, ...], kind: Format, identity: str, num_rows: int) -> list[str]:
    """The columns of the rows that `sample` takes."""
    return [n for n in _sample(uris, kind, identity, num_rows).table.column_names if n != ROW]


@functools.lru_cache(maxsize=2)  # a run asks when it opens a corpus, and when it splits it
def _sample(
    uris: tuple[str, ...], kind: Format, identity: str, num_rows: int, root: str = ""
) -> Sample:
    del identity
    if kind == "images":  # what their columns are is known; none is decoded for it
        return _drawn([Raw(file_rows(uris, root, with_bytes=False))], num_rows, is_whole=True)
    sizes = [_size(uri) for uri in uris]
    is_whole = sum(sizes) <= SAMPLE_BYTES
    if is_whole:
        raws = itertools.chain.from_iterable(
            formats.batches(Fragment(uri=uri), kind) for uri in uris
        )
    else:
        raws = _places(uris, sizes, kind)
    return _drawn(raws, num_rows, is_whole=is_whole)


def _drawn(raws: Iterable[Raw], num_rows: int, *, is_whole: bool) -> Sample:
    tables: list[pa.Table] = []
    chances: list[np.ndarray] = []
    limit, total, kept, mended = 1.0, 0, 0, 0
    refused: Counter[str] = Counter()
    for raw in raws:
        refused.update(entry.reason for entry in raw.refused)
        chance = uniform(np.arange(total, total + raw.table.num_rows, dtype=np.uint64), 0)
        chosen = chance < limit
        tables.append(raw.table if chosen.all() else raw.table.filter(pa.array(chosen)))
        chances.append(chance[chosen])
        total, kept, mended = total + len(chance), kept + len(chances[-1]), mended + raw.num_mended
        if kept > 4 * num_rows:
            tables, chances, limit = _fewer(tables, chances, num_rows)
            kept = num_rows
    if kept > num_rows:
        tables, chances, limit = _fewer(tables, chances, num_rows)
    return Sample(_concat(tables), total, is_whole, mended, refused)


def _fewer(
    tables: Sequence[pa.Table], chances: Sequence[np.ndarray], num_rows: int
) -> tuple[list[pa.Table], list[np.ndarray], float]:
    """Those with the least chances, and the chance that the next rows must be below."""
    limit = float(np.partition(np.concatenate(chances), num_rows)[num_rows])
    chosen = [chance < limit for chance in chances]
    return (
        [table.filter(pa.array(rows)) for table, rows in zip(tables, chosen, strict=True)],
        [chance[rows] for chance, rows in zip(chances, chosen, strict=True)],
        limit,
    )


def _size(uri: str) -> int:
    files, path = filesystem(uri)
    ratio = 6 if uri.endswith(".gz") else 1
    return ratio * (files.get_file_info(path).size or 0)


def _places(uris: Sequence[str], sizes: Sequence[int], kind: Format) -> Iterator[Raw]:
    """Rows from up to NUM_PLACES places: row groups of Parquet, else stretches of bytes."""
    chosen = sorted({round(i * (len(uris) - 1) / (NUM_PLACES - 1)) for i in range(NUM_PLACES)})
    per_file = max(NUM_PLACES // len(chosen), 1)
    for number in chosen:
        uri = uris[number]
        if kind == "parquet":
            fragments, _ = formats.parquet_fragments(uri, 0)
            groups = [group for f in fragments for group in f.row_groups or ()]
            spread = {round(i * (len(groups) - 1) / per_file) for i in range(per_file)}
            for group in sorted(groups[place] for place in spread if groups):
                yield from formats.batches(Fragment(uri=uri, row_groups=(group,)), kind)
        elif uri.endswith(".gz"):  # what is packed can be read from its beginning alone
            yield next(formats.batches(Fragment(uri=uri), kind))
        else:
            how = formats.dialect(uri) if kind == "csv" else None
            for part in range(per_file):
                yield _stretch(uri, how, part * sizes[number] // per_file)


def _stretch(uri: str, how: csv_text.Dialect | None, start: int) -> Raw:
    """The whole rows of PLACE_BYTES of a text file; the first one may be cut, and is left out.

    Without a dialect its lines are JSON.
    """
    files, path = filesystem(uri)
    with formats.readable(uri), files.open_input_file(path) as file:
        file.seek(start)
        content = file.read(PLACE_BYTES)
        if how is not None and how.encoding != "utf-8":
            return next(formats.batches(Fragment(uri=uri), "csv"))
        first = content.find(b"\n") + 1 if start else how.start if how else 0
        content = content[first : content.rfind(b"\n") + 1]
        if how is None:
            return formats.jsonl_rows([line for line in content.split(b"\n") if line.strip()], 0)
        return formats.csv_rows(csv_text.Block(content), how, 0)[0]


def _concat(tables: Sequence[pa.Table]) -> pa.Table:
    if not tables:
        return pa.table({})
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        names = list(dict.fromkeys(name for table in tables for name in table.column_names))
        rows = [row for table in tables for row in table.to_pylist()]
        return pa.table({name: column_from([row.get(name) for row in rows]) for name in names})
