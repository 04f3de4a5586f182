"""Any source of rows -> Corpus -> checked rows as a Ray Dataset, larger than memory.

The only module of spt_core.data that imports ray. `read` makes one pass: a worker streams a
fragment (row groups, or a whole text file), conforms it batch by batch and writes what is bad to
the quarantine. Text files are counted in a pass of their own when there are several, because a
row's number needs the lengths of the files before it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import os
import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
from ray.data import DataContext, Dataset
from ray.exceptions import RayError

from spt_core.artifacts import as_uri, filesystem, has_manifest, remove, write_manifest
from spt_core.data import formats
from spt_core.data.conform import BAD_SCHEMA, column_from, conform, flat, plain_integers
from spt_core.data.corpus import (
    RESERVED,
    Corpus,
    Format,
    Positive,
    corpus_from_json,
    expand,
    require_columns,
)
from spt_core.data.infer import infer_columns, infer_fields
from spt_core.errors import InputError, SptError, nearest
from spt_core.signature import Field, Window, flatten
from spt_core.task import Task

__all__ = [
    "Corpus", "Dataset", "Source", "conform", "corpus_from_json", "infer_columns", "infer_fields",
    "open_corpus", "plain_errors", "read", "read_files", "rows_of",
]  # fmt: skip

Source = str | Path | pa.Table | pd.DataFrame | Sequence[Mapping[str, Any]] | Dataset


def open_corpus(
    task: Task,
    source: Source,
    *,
    storage: str,
    label: str | None = None,
    time: str | None = None,
    group: str | None = None,
    entities: Sequence[str] | None = None,
    protected: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    keep: Sequence[str] = (),
    declared: Sequence[Field] = (),
    windows: Sequence[Window] | None = None,
    positive: Positive | None = None,
    require_label: bool = True,
    name: str = "",
    licences: Sequence[str] = (),
    synthetic: bool = False,
) -> Corpus:
    """The corpus behind a path, folder, glob, URI, table, list of records or Ray Dataset.

    Roles that are not named are the task's, where the corpus has such columns. Rows in memory are
    first written below `storage`, under a name made of their content. With `require_label=False`
    a corpus without the task's label can be scored, not trained on.
    """
    located = str(source) if isinstance(source, str | Path) else _stored(source, storage)
    uris, kind, identity = expand(located)
    if not isinstance(source, str | Path):
        identity = located.rsplit("/", 1)[-1]
    columns = [name for name in formats.header(uris[0], kind) if name not in RESERVED]
    demand = functools.partial(require_columns, columns=columns, file=uris[0])
    for what, names in (
        ("time", [time] if time else []),
        ("group", [group] if group else []),
        ("entity", entities or ()),
        ("protected", protected or ()),
        ("dropped", drop),
        ("kept", keep),
        ("declared", [field.name for field in declared]),
    ):
        demand(names, what=what)
    wanted = label or task.label
    if require_label or label is not None:
        demand([wanted], what="label")
    moment = time or (task.time if task.time in columns else None)
    corpus = Corpus(
        uris=uris,
        format=kind,
        name=name or _name_of(source),
        identity=identity,
        label=wanted if wanted in columns else None,
        time=moment,
        group=group,
        entities=tuple(entities if entities is not None else _present(task.entities, columns)),
        protected=_protected(task, protected, columns),
        drop=tuple(drop),
        keep=tuple(keep),
        declared=tuple(declared),
        windows=_windows(task, windows, columns, moment, wanted),
        positive=positive,
        licences=tuple(licences),
        synthetic=synthetic,
    )
    infer_columns(corpus, task)  # refuses what could not be trained on, while it is cheap
    return corpus


def read(
    corpus: Corpus,
    fields: Sequence[Field],
    *,
    quarantine: str,
    columns: Sequence[str] | None = None,
    with_label: bool = True,
    required: Sequence[str] = (),
) -> Dataset:
    """The corpus's good rows: the fields in their types, the label as 0/1, and `__row`.

    Bad rows go to Parquet files in the folder `quarantine`, one per fragment that has any, which
    must be on a file system that all workers see. `columns` limits what is decoded of Parquet.
    Runs when the Dataset is consumed; wrap that in `plain_errors`.
    """
    _keep_quiet()
    label = corpus.label if with_label else None
    job = ReadJob(
        format=corpus.format,
        fields=tuple(fields),
        label=label,
        positive=corpus.positive,
        quarantine=quarantine,
        columns=None if columns is None else tuple(columns),
        required=tuple(required),
    )
    work = [dataclasses.asdict(fragment) for fragment in _fragments(corpus)]
    # A list that is null in one block and a list in the next would not have one schema.
    items = [{**f, "row_groups": list(f["row_groups"] or [])} for f in work]
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
    positive: Positive | None
    quarantine: str
    columns: tuple[str, ...] | None
    required: tuple[str, ...]


def read_files(uris: Sequence[str]) -> Dataset:
    """Finished Parquet files as a Ray Dataset."""
    _keep_quiet()
    files, _ = filesystem(uris[0])
    return ray.data.read_parquet([filesystem(uri)[1] for uri in uris], filesystem=files)


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
        found = _original(error)
        if found is None or found is error:
            raise
        raise found from None


def _keep_quiet() -> None:
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # Ray's wrapper loses its cause on the way here, and with it that the disk is full.
    context.raise_original_map_exception = True


def _without_advice(error: BaseException) -> BaseException:
    """The error as it was raised: Ray Data appends a paragraph about retries to its message."""
    text, mark, _ = str(error).partition("Failed to apply UDF transform")
    if mark and isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, os.strerror(error.errno))
    return type(error)(text.rstrip("\n")) if mark and isinstance(error, SptError) else error


def _original(error: BaseException | None) -> BaseException | None:
    while error is not None:
        if isinstance(error, SptError | OSError) and not isinstance(error, RayError):
            return _without_advice(error)
        error = getattr(error, "cause", None) or error.__cause__
    return None


def _read_fragments(work: pa.Table, job: ReadJob) -> Iterator[pa.Table]:
    for item in work.to_pylist():
        groups = tuple(item["row_groups"]) or None
        fragment = formats.Fragment(uri=item["uri"], first_row=item["first_row"], row_groups=groups)
        yield from _good_rows(fragment, job)


def _good_rows(fragment: formats.Fragment, job: ReadJob) -> Iterator[pa.Table]:
    texts = {f.name for f in job.fields if f.kind in ("category", "entity")}
    texts |= {job.label} if job.label is not None else set()
    writer: pq.ParquetWriter | None = None
    try:
        for raw in formats.batches(fragment, job.format, columns=job.columns):
            _require_all(raw, job, fragment.uri)
            names = [name for name in raw.table.column_names if raw.untyped and name in texts]
            table = plain_integers(raw.table, names)
            good, bad = conform(
                table,
                job.fields,
                label=job.label,
                positive=job.positive,
                required=job.required,
            )
            if raw.refused:
                refused = pa.Table.from_pylist(
                    [dict(zip(BAD_SCHEMA.names, entry, strict=True)) for entry in raw.refused],
                    schema=BAD_SCHEMA,
                )
                bad = pa.concat_tables([bad, refused])
            if bad.num_rows:
                writer = writer or _quarantine_writer(fragment, job)
                writer.write_table(bad)
            yield good
    finally:
        if writer is not None:
            writer.close()


def _require_all(raw: formats.Raw, job: ReadJob, uri: str) -> None:
    if job.format == "jsonl" or not raw.table.num_rows:
        return
    names = raw.table.column_names
    for wanted in [*(field.name for field in job.fields), *([job.label] if job.label else [])]:
        if wanted not in names:
            raise InputError(
                f"every file of a corpus must have the columns of the first, however: {uri} has no "
                f"column {wanted!r}; {nearest(wanted, names)}"
            )


def _quarantine_writer(fragment: formats.Fragment, job: ReadJob) -> pq.ParquetWriter:
    files, path = filesystem(job.quarantine)
    files.create_dir(path, recursive=True)
    return pq.ParquetWriter(
        f"{path}/{fragment.first_row:014d}.parquet", BAD_SCHEMA, filesystem=files
    )


def _fragments(corpus: Corpus) -> list[formats.Fragment]:
    if corpus.format == "parquet":
        found: list[formats.Fragment] = []
        row = 0
        for uri in corpus.uris:
            some, row = formats.parquet_fragments(uri, row)
            found += some
        if not found:
            raise InputError(f"a corpus must have rows, however: {corpus.uris[0]} has none")
        return found
    starts = [0, *itertools.accumulate(_counts(corpus)[:-1])]
    return [
        formats.Fragment(uri=uri, first_row=start)
        for uri, start in zip(corpus.uris, starts, strict=True)
    ]


def _counts(corpus: Corpus) -> list[int]:
    """Rows per text file; a single file starts at 0 and need not be counted."""
    if len(corpus.uris) == 1:
        return [0]
    items = [{"uri": uri} for uri in corpus.uris]
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        functools.partial(_count_rows, kind=corpus.format), batch_size=None, batch_format="pyarrow"
    )
    counts = {row["uri"]: row["num_rows"] for row in rows_of(dataset)}
    return [counts[uri] for uri in corpus.uris]


def _count_rows(work: pa.Table, kind: Format) -> pa.Table:
    counts = [formats.num_rows(uri, kind) for uri in work["uri"].to_pylist()]
    return work.append_column("num_rows", pa.array(counts, pa.int64()))


def _stored(
    source: pa.Table | pd.DataFrame | Sequence[Mapping[str, Any]] | Dataset, storage: str
) -> str:
    """Writes rows as Parquet to a folder named by their content; an equal one is used again."""
    storage = as_uri(storage)
    temporary = f"{storage}/corpora/.{uuid.uuid4().hex}"
    files, path = filesystem(temporary)
    content = hashlib.sha256()
    files.create_dir(path, recursive=True)
    writer: pq.ParquetWriter | None = None
    try:
        for table in _tables(source):
            if writer is None:
                content.update(str(table.schema.remove_metadata()).encode())
                writer = pq.ParquetWriter(f"{path}/rows.parquet", table.schema, filesystem=files)
            for batch in table.to_batches():
                content.update(batch.serialize())
            writer.write_table(table.cast(writer.schema), row_group_size=formats.FRAGMENT_ROWS)
        if writer is None:
            raise InputError("a corpus must have rows, however: it is empty")
        writer.close()
        folder = f"{storage}/corpora/{content.hexdigest()[:16]}"
        if not has_manifest(folder):
            target = filesystem(folder)[1]
            files.create_dir(target, recursive=True)
            files.move(f"{path}/rows.parquet", f"{target}/rows.parquet")
            write_manifest(folder, {"sha256": content.hexdigest()})
        return folder
    finally:
        remove(temporary)


def _tables(
    source: pa.Table | pd.DataFrame | Sequence[Mapping[str, Any]] | Dataset,
) -> Iterable[pa.Table]:
    if isinstance(source, Dataset):
        _keep_quiet()
        with plain_errors():
            batches = source.iter_batches(batch_size=formats.BATCH_ROWS, batch_format="pyarrow")
            found: Any  # a table, as asked for; the signature says "any batch"
            for found in batches:
                if found.num_rows:
                    yield flat(found)
        return
    table: Any  # pyarrow has no types
    if isinstance(source, pa.Table):
        table = source
    elif isinstance(source, pd.DataFrame):
        twice = source.columns[source.columns.duplicated()]
        if len(twice):
            raise InputError(f"column names must be unique, however: {twice[0]!r} is there twice")
        table = _table_of_frame(source)
    else:
        records = [flatten(record) for record in source]
        names = dict.fromkeys(name for record in records for name in record)
        table = pa.table({n: column_from([record.get(n) for record in records]) for n in names})
    if table.num_rows == 0:
        raise InputError("a corpus must have rows, however: it is empty")
    yield flat(table.replace_schema_metadata(None))


def _table_of_frame(frame: pd.DataFrame) -> pa.Table:
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    for name in frame.columns:
        try:
            columns[str(name)] = pa.array(frame[name], from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            columns[str(name)] = column_from(frame[name].tolist())
    return pa.table(columns)


def _name_of(source: Source) -> str:
    if isinstance(source, str | Path):
        return str(source).rstrip("/").rsplit("/", 1)[-1]
    return "rows"


def _present(names: Iterable[str], columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in columns)


def _protected(task: Task, named: Sequence[str] | None, columns: Sequence[str]) -> tuple[str, ...]:
    """The named protected columns and the task's, however they are capitalized."""
    usual = {name.lower() for name in task.protected}
    found = [*(named or ()), *(name for name in columns if name.lower() in usual)]
    return tuple(dict.fromkeys(found))


def _windows(
    task: Task,
    windows: Sequence[Window] | None,
    columns: Sequence[str],
    time: str | None,
    label: str,
) -> tuple[Window, ...]:
    """The named windows; or those of the task's that the corpus has, or has the columns for."""
    found: list[Window] = []
    for window in task.windows if windows is None else windows:
        needs = [window.entity, time or "time", *([window.value] if window.value else [])]
        needs += [label] if window.function == "label_rate" else []
        missing = [need for need in needs if need not in columns]
        if window.name in columns or (time is not None and not missing):
            found.append(window)
        elif windows is not None:
            raise InputError(
                f"the window {window.name!r} needs the columns {needs}, however: {missing} "
                f"{'is' if len(missing) == 1 else 'are'} not in the data or not the time"
            )
    return tuple(found)
