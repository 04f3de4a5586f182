"""Corpus -> checked rows as a Ray Dataset, larger than memory.

The only module of spt_core.data that imports ray. `read` makes one pass: a worker streams a
fragment (row groups, or a whole text file), conforms it batch by batch and writes what is bad to
the quarantine. Text files are counted in a pass of their own when there are several, because a
row's number needs the lengths of the files before it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import os
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import ray.data
from ray.data import DataContext, Dataset
from ray.exceptions import RayError

from spt_core.artifacts import filesystem, read_bytes, write_bytes
from spt_core.data import formats
from spt_core.data.conform import BAD_SCHEMA, conform, unparsed_rows
from spt_core.data.corpus import (
    FOLDER,
    Corpus,
    Format,
    Positive,
)
from spt_core.data.image_files import with_files, without_class
from spt_core.data.labels import BINARY, LabelRule
from spt_core.data.packing import unpacked_file
from spt_core.data.raw import plain_integers
from spt_core.data.rewriting import Rewrite, rewritten, withheld
from spt_core.errors import InputError, SptError
from spt_core.signature import Field

PARTITION_BYTES = 128 << 20  # of a shuffle: each must fit in a worker's memory
GZIP_RATIO = 6
REPLACED = "replaced-"  # files of counts beside those of the quarantine


def read(
    corpus: Corpus,
    fields: Sequence[Field],
    *,
    quarantine: str,
    columns: Sequence[str] | None = None,
    with_label: bool = True,
    labels: LabelRule = BINARY,
    required: Sequence[str] = (),
    time: str | None = None,
    rewrite: Rewrite | None = None,
    kept: Sequence[str] | None = None,
) -> Dataset:
    """The corpus's good rows: the fields and the label in their types, and `__row`.

    With `time`, the name of one of the fields, also `__instant`.

    Bad rows go to Parquet files in the folder `quarantine`, one per fragment that has any, which
    must be on a file system that all workers see; beside them files of how many parts of texts
    `rewrite` replaced (see `replaced`). Of a bad row the values of the columns in `kept` alone are
    written, of all columns if it is None. `columns` limits what is decoded of Parquet.
    Runs when the Dataset is consumed; wrap that in `plain_errors`.
    """
    quiet_context()
    label = corpus.label if with_label else None
    job = ReadJob(
        format=corpus.format,
        fields=tuple(fields),
        label=label,
        labels=labels,
        positive=corpus.positive,
        quarantine=quarantine,
        columns=None if columns is None else tuple(columns),
        required=tuple(required),
        gaps=frozenset(corpus.gaps),
        time=time,
        rewrite=rewrite,
        kept=None if kept is None else tuple(kept),
        refused=corpus.refused,
    )
    work = [dataclasses.asdict(fragment) for fragment in _fragments(corpus)]
    # A list that is null in one block and a list in the next would not have one schema.
    items = [
        {**f, "row_groups": list(f["row_groups"] or []), "others": json.dumps(f["others"])}
        for f in work
    ]
    fragments = ray.data.from_items(items, override_num_blocks=len(items))
    return fragments.map_batches(
        functools.partial(_read_fragments, job=job), batch_size=None, batch_format="pyarrow"
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ReadJob:
    """What a worker needs to know to read any fragment of one corpus."""

    format: Format
    fields: tuple[Field, ...]
    label: str | None
    labels: LabelRule
    positive: Positive | None
    quarantine: str
    columns: tuple[str, ...] | None
    required: tuple[str, ...]
    gaps: frozenset[str]
    time: str | None
    rewrite: Rewrite | None = None
    kept: tuple[str, ...] | None = None
    refused: str | None = None


def read_files(uris: Sequence[str]) -> Dataset:
    """Finished Parquet files as a Ray Dataset."""
    quiet_context()
    files, _ = filesystem(uris[0])
    return ray.data.read_parquet([filesystem(uri)[1] for uri in uris], filesystem=files)


def read_windows(uris: Sequence[str]) -> Dataset:
    """Finished Parquet files of windows as a Ray Dataset, which puts them together as it reads."""
    quiet_context()
    items = [{"uri": uri} for uri in uris]
    return ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        _unpacked_files, batch_size=None, batch_format="pyarrow"
    )


def rows_of(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """The rows of a small Dataset as they come, with errors as `plain_errors` shows them."""
    with plain_errors():
        yield from dataset.iter_rows()


@contextlib.contextmanager
def plain_errors() -> Generator[None]:
    """Turns a worker's failure into what it raised there, if that is a caller's business."""
    try:
        yield
    except (RayError, SptError, OSError) as error:
        cause = original_error(error)
        if cause is None or cause is error:
            raise
        raise cause from None


def quiet_context() -> None:
    """Ray Data without its bars, and with the errors that a worker raised."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # The newer reader starts actors for the footers of every read: ten seconds, for files whose
    # sizes and rows are known here.
    context.use_datasource_v2 = False
    # Ray's wrapper loses its cause on the way here, and with it that the disk is full.
    context.raise_original_map_exception = True


def _without_advice(error: BaseException) -> BaseException:
    """The error as it was raised: Ray Data appends a paragraph about retries to its message."""
    text, mark, _ = str(error).partition("Failed to apply UDF transform")
    if mark and isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, os.strerror(error.errno))
    return type(error)(text.rstrip("\n")) if mark and isinstance(error, SptError) else error


def original_error(error: BaseException | None) -> BaseException | None:
    """What a worker raised that is a caller's business, without what Ray wrapped it in."""
    while error is not None:
        if isinstance(error, SptError | OSError) and not isinstance(error, RayError):
            return _without_advice(error)
        error = getattr(error, "cause", None) or error.__cause__
    return None


def _unpacked_files(work: pa.Table) -> Iterator[pa.Table]:
    for uri in work["uri"].to_pylist():
        yield from unpacked_file(uri)


def _read_fragments(work: pa.Table, job: ReadJob) -> Iterator[pa.Table]:
    for item in work.to_pylist():
        groups = tuple(item["row_groups"]) or None
        fragment = formats.Fragment(
            uri=item["uri"],
            first_row=item["first_row"],
            row_groups=groups,
            others=tuple(json.loads(item["others"])),
            root=item["root"],
        )
        yield from _good_rows(fragment, job)


def _good_rows(fragment: formats.Fragment, job: ReadJob) -> Iterator[pa.Table]:
    texts = {f.name for f in job.fields if f.kind in ("category", "entity")}
    images = [f.name for f in job.fields if f.kind == "image"]
    words = next((f.name for f in job.fields if f.kind == "text"), None)
    counts: Counter[str] = Counter()
    texts |= {job.label} if job.label is not None else set()
    writer: pq.ParquetWriter | None = None
    try:
        if job.refused is not None and fragment.first_row == 0:
            writer = _quarantine_writer(fragment, job)
            files, path = filesystem(job.refused)
            lines = pq.read_table(path, filesystem=files)
            writer.write_table(lines if job.kept is None else _unwritten(lines))
        for raw in formats.batches(fragment, job.format, columns=job.columns):
            names = [name for name in raw.table.column_names if raw.untyped and name in texts]
            table = plain_integers(raw.table, names)
            for name in images:
                if name in table.column_names:
                    cells = with_files(table[name], fragment.uri)
                    table = table.set_column(table.column_names.index(name), name, cells)
            refused = None
            if job.format == "images" and job.label == FOLDER:
                refused = without_class(table)
            if job.rewrite is not None and words is not None and words in table.column_names:
                table, refused, some = rewritten(table, words, job.rewrite)
                counts.update(some)
            good, bad = conform(
                table,
                job.fields,
                label=job.label,
                labels=job.labels,
                positive=job.positive,
                required=job.required,
                gaps=job.gaps,
                time=job.time,
                refused=refused,
            )
            if good.num_rows + bad.num_rows != table.num_rows:
                raise InputError(
                    f"every row of {fragment.uri} must be good or bad, however: of "
                    f"{table.num_rows:,} rows {good.num_rows:,} are good and {bad.num_rows:,} bad"
                )
            bad = bad if job.kept is None else withheld(bad, job.kept)
            if raw.refused:
                lines = unparsed_rows(raw.refused)
                bad = pa.concat_tables([bad, lines if job.kept is None else _unwritten(lines)])
            if bad.num_rows:
                writer = writer or _quarantine_writer(fragment, job)
                writer.write_table(bad)
            yield good
        if job.rewrite is not None:
            place = f"{job.quarantine}/{REPLACED}{fragment.first_row:014d}.json"
            write_bytes(place, json.dumps(counts).encode())
    finally:
        if writer is not None:
            writer.close()


def replaced(quarantine: str) -> dict[str, int]:
    """How many parts of texts were replaced, by kind, in rows that were read into this folder."""
    files, path = filesystem(quarantine)
    counts: Counter[str] = Counter()
    for info in files.get_file_info(pafs.FileSelector(path, allow_not_found=True)):
        if info.base_name.startswith(REPLACED):
            counts.update(json.loads(read_bytes(f"{quarantine}/{info.base_name}")))
    return dict(sorted(counts.items()))


def _unwritten(lines: pa.Table) -> pa.Table:
    """Lines that could not be read, without what they hold: nothing of them was rewritten."""
    at = BAD_SCHEMA.names.index("record")
    return lines.set_column(at, BAD_SCHEMA.field(at), pa.array(["{}"] * lines.num_rows))


def _quarantine_writer(fragment: formats.Fragment, job: ReadJob) -> pq.ParquetWriter:
    files, path = filesystem(job.quarantine)
    files.create_dir(path, recursive=True)
    return pq.ParquetWriter(
        f"{path}/{fragment.first_row:014d}.parquet", BAD_SCHEMA, filesystem=files
    )


def _fragments(corpus: Corpus) -> list[formats.Fragment]:
    if corpus.format == "parquet":
        fragments: list[formats.Fragment] = []
        row = 0
        for uri in corpus.uris:
            some, row = formats.parquet_fragments(uri, row)
            fragments += some
        if not fragments:
            raise InputError(f"a corpus must have rows, however: {corpus.uris[0]} has none")
        return fragments
    if corpus.format == "images":
        return formats.image_fragments(corpus.uris, corpus.root)
    # A single file starts at 0 and need not be counted.
    uris, identity = corpus.uris, corpus.identity
    counts = _counts(uris, corpus.format, identity) if len(uris) > 1 else (0,)
    starts = [0, *itertools.accumulate(counts[:-1])]
    return [
        formats.Fragment(uri=uri, first_row=start)
        for uri, start in zip(corpus.uris, starts, strict=True)
    ]


def count_rows(corpus: Corpus) -> int | None:
    """How many rows the corpus has, bad ones too, counted apart from reading them.

    None for a single text file, whose lines are held against its rows as they are read.
    """
    if corpus.format == "parquet":
        uris = corpus.uris if corpus.refused is None else (*corpus.uris, corpus.refused)
        return sum(formats.num_rows(uri, "parquet") for uri in uris)
    if corpus.format == "images":
        return len(corpus.uris)
    return sum(_counts(corpus.uris, corpus.format, corpus.identity)) if corpus.uris[1:] else None


def size_bytes(corpus: Corpus) -> int:
    """About how large the corpus is in memory."""
    total = 0
    for uri in corpus.uris:
        files, path = filesystem(uri)
        ratio = 4 if corpus.format == "parquet" else GZIP_RATIO if uri.endswith(".gz") else 1
        total += ratio * (files.get_file_info(path).size or 0)
    return total


def num_partitions(total_bytes: int) -> int:
    """Into how many parts rows of that size are shuffled."""
    return max(1, -(-total_bytes // PARTITION_BYTES))


@functools.lru_cache(maxsize=4)  # each pass over a corpus asks
def _counts(uris: tuple[str, ...], kind: Format, identity: str) -> tuple[int, ...]:
    """Rows per text file."""
    del identity
    items = [{"uri": uri} for uri in uris]
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        functools.partial(_count_rows, kind=kind), batch_size=None, batch_format="pyarrow"
    )
    counts = {row["uri"]: row["num_rows"] for row in rows_of(dataset)}
    return tuple(counts[uri] for uri in uris)


def _count_rows(work: pa.Table, kind: Format) -> pa.Table:
    counts = [formats.num_rows(uri, kind) for uri in work["uri"].to_pylist()]
    return work.append_column("num_rows", pa.array(counts, pa.int64()))
