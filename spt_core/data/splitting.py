"""Corpus -> Splits: typed, fingerprinted, guarded.

Passes over the data: one over the time column for a time split, one that reads, assigns and writes;
with windows, one shuffle per entity in between; for a group split, one over the written hashes.
Afterwards a sample of the training rows is searched for columns that give the label away.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spt_core.artifacts import (
    as_uri,
    code_fingerprint,
    digest,
    filesystem,
    has_manifest,
    parquet_files,
    remove,
    write_manifest,
)
from spt_core.data.alike import REASON, remove_alike
from spt_core.data.conform import BAD_SCHEMA, conform, has_dates, time_column
from spt_core.data.corpus import HASH, INSTANT, Corpus, Finding
from spt_core.data.hashing import Hashes
from spt_core.data.infer import SAMPLE_ROWS, Columns, columns_of
from spt_core.data.labels import classes_of
from spt_core.data.leakage import is_among, proxies, ranges, refuse_label_like
from spt_core.data.partition import (
    DAY_US,
    PARTS,
    Part,
    Partition,
    TimeHistogram,
    Written,
    histogram_of,
    write_parts,
)
from spt_core.data.read import Dataset, count_rows, plain_errors, read, replaced, rows_of
from spt_core.data.rewriting import Rewrite
from spt_core.data.sampling import Sample, sample
from spt_core.data.series import (
    Cutting,
    Pace,
    calendar_of,
    cut_dataset,
    pace,
    telling_channels,
)
from spt_core.data.splits import (
    SplitConfig,
    SplitKind,
    Splits,
    StepUnit,
    load_splits,
    table_of,
)
from spt_core.data.sufficiency import (
    and_more,
    class_findings,
    few_of_class,
    require_classes,
    require_table_classes,
)
from spt_core.data.windows import add_windows_to_dataset
from spt_core.errors import InputError
from spt_core.signature import Field, Signature, Window
from spt_core.task import Task

GUARD_ROWS = 50_000
WINDOW_PARTITION_BYTES = 128 << 20
UNITS_S: Mapping[StepUnit, float] = {
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86_400.0,
    "week": 604_800.0,
}
GZIP_RATIO = 6
MIN_DISTINCT = 0.5
MOSTLY = 0.5  # of readings at the time of another, from which on they are of several units
MAX_TERMS = 600  # of a vocabulary: each is a column
MIN_TERM_ROWS = 3  # that hold a term, for a model to learn what it says


def split(
    task: Task,
    corpus: Corpus,
    storage: str,
    config: SplitConfig | None = None,
    *,
    rewrite: Rewrite | None = None,
) -> Splits:
    """The corpus's Splits below `storage`; a finished one of the same content is used again.

    With `rewrite`, no text is written as it was, to the parts or to the quarantine.
    """
    config = config or SplitConfig()
    if corpus.label is None:
        raise InputError(f"a corpus needs a label to be split, however: {corpus.name} has none")
    content = [corpus.to_json(), dataclasses.asdict(config), task.path, code_fingerprint()]
    name = digest(content if rewrite is None else [*content, dict(rewrite.facts)])
    folder = f"{as_uri(storage)}/splits/{name}"
    if has_manifest(folder):
        return dataclasses.replace(load_splits(folder), reused=True)
    remove(folder)
    try:
        with plain_errors():
            splits = _make(task, corpus, folder, config, rewrite)
        write_manifest(folder, splits.to_json())
    except BaseException:
        remove(folder)
        raise
    return splits


def _make(
    task: Task, corpus: Corpus, folder: str, config: SplitConfig, rewrite: Rewrite | None
) -> Splits:
    assert corpus.label is not None
    sampled = sample(corpus, SAMPLE_ROWS)
    columns = _paced(task, columns_of(sampled, corpus, task), sampled, corpus, config)
    labels = columns.labels
    kind = _kind(corpus, columns, config, sampled)
    partition = _partition(task, corpus, columns, config, kind, folder)
    windows = tuple(w for w in corpus.windows if w.name not in corpus.columns)
    written = _write(corpus, columns, partition, windows, config, rewrite)
    counts = replaced(f"{folder}/.quarantine")
    quarantine = _collect_quarantine(folder)
    num_rows_in = _accounted(corpus, written, quarantine)
    duplicates, doubt = _remove_duplicates(written, partition)
    left_out = dict(written.left_out)
    findings = [*columns.findings, *doubt, *class_findings(corpus.label, written, labels)]
    if duplicates:
        left_out["identical to a training row"] = duplicates
    if task.subject is not None and task.subject.kind == "image":
        num_alike, of_looks = remove_alike(written, partition)
        findings += of_looks
        left_out |= {REASON: num_alike} if num_alike else {}
    require_classes(corpus.label, labels, written, quarantine)
    if task.subject is None:
        require_table_classes(corpus.label, labels, written)
    findings += few_of_class(corpus.label, labels, written)
    signature = _signature(task, corpus, columns, windows, written)
    if columns.readings:
        _refuse_telling(folder, _cutting(corpus, columns, config))
    if task.subject is None:
        train = _spread_sample(parquet_files(f"{folder}/train"), GUARD_ROWS)
        accepted = refuse_label_like(
            train,
            corpus.label,
            signature.fields,
            head=labels.head,
            accepted=corpus.keep,
            time=corpus.time,
        )
        findings += [
            Finding(kind="accepted", column=name, detail="gives the label away; kept, as asked")
            for name in accepted
        ]
        findings += proxies(train, signature.fields, columns.carried, corpus.protected)
    return Splits(
        uri=folder,
        task=task.path,
        corpus=corpus,
        config=config,
        kind=kind,
        signature=signature,
        label=corpus.label,
        num_rows={part: written.num_rows[part] for part in PARTS},
        num_positives={part: written.num_positives[part] for part in PARTS},
        fingerprints={part: written.fingerprint(part) for part in PARTS},
        num_left_out=left_out,
        quarantine=quarantine,
        findings=tuple(findings),
        data_fingerprint=written.fingerprint(),
        code_fingerprint=code_fingerprint(),
        protected=(
            *(f.name for f in columns.carried if f.name in corpus.protected),
            *(f.name for f in columns.features if task.monitors(f.name)),
        ),
        entities=corpus.entities,
        licences=corpus.licences,
        synthetic=corpus.synthetic,
        cut_times=tuple(_iso(cut) for cut in partition.cuts_us),
        labels=labels,
        classes=classes_of(labels, written.classes["train"]),
        num_rows_in=num_rows_in,
        deidentified={} if rewrite is None else {**rewrite.facts, "replaced": counts},
    )


def _paced(
    task: Task, columns: Columns, sampled: Sample, corpus: Corpus, config: SplitConfig
) -> Columns:
    """The columns; of readings with the windows' length, step and horizon."""
    if not columns.readings:
        return columns
    (field,) = columns.features
    shape = field.shape
    assert shape is not None
    typed, _ = conform(sampled.table, columns.carried, gaps=frozenset(corpus.gaps))
    share = sampled.table.num_rows / max(sampled.num_rows, 1)
    paced = pace(typed, shape.time, shape.unit, share=share)
    if paced is None:
        raise InputError(
            f"readings of one unit must differ in time, however: no two in {shape.time!r} do"
        )
    if shape.unit is None and paced.repeated >= MOSTLY:
        raise InputError(
            f"readings of one unit must differ in time, however: {paced.repeated:.0%} of those "
            f"sampled have the {shape.time!r} of another; name the column of their units "
            "(--group), or lay each unit's files in a folder such as unit=7"
        )
    findings = list(columns.findings)
    is_whole = sampled.is_whole and sampled.num_rows == sampled.table.num_rows
    if paced.uneven and is_whole and config.step is None:
        detail = (
            f"{paced.uneven:.1%} of the distances between readings are not {paced.step:g}: each "
            "step takes the last reading within half a step of it, or is a gap"
        )
        findings.append(Finding(kind="gaps", column=shape.time, detail=detail))
    if paced.repeated:
        detail = (
            f"{paced.repeated:.1%} of the sampled readings have the time of another of their unit: "
            "of such, a window takes the last one"
        )
        findings.append(Finding(kind="gaps", column=shape.time, detail=detail))
    shape = dataclasses.replace(
        shape,
        **_step(paced, config, shape.time),
        length=config.window_steps or shape.length,
        horizon=shape.horizon if config.horizon_steps is None else config.horizon_steps,
    )
    if task.head == "forecasts":
        is_by_time = _kind_of_series(corpus, columns, config) == "time"
        calendar = calendar_of(shape, (config.train if is_by_time else 1.0) * paced.span_s)
        shape = dataclasses.replace(shape, calendar=calendar)
        if calendar:
            parts = ", ".join(part.replace("_", " ") for part in calendar)
            detail = (
                f"the {parts} of each step is an input: a request's readings say when they were"
            )
            findings.append(Finding(kind="calendar", column=shape.time, detail=detail))
    features = (dataclasses.replace(field, shape=shape),)
    return dataclasses.replace(columns, features=features, findings=tuple(findings))


def _step(paced: Pace, config: SplitConfig, time: str) -> dict[str, Any]:
    """The step, and whether it is in months: as the configuration says, else as readings come."""
    unit = config.step_unit
    if unit is None:
        if config.step is None:
            return {"step": paced.step, "in_months": paced.in_months}
        return {"step": config.step, "in_months": False}
    if not paced.span_s:
        raise InputError(
            f"split.step_unit is for times, however: {time!r} holds numbers, which are their own "
            "unit"
        )
    step = config.step or 1.0
    if unit == "month":
        return {"step": step, "in_months": True}
    return {"step": step * UNITS_S[unit], "in_months": False}


def _accounted(corpus: Corpus, written: Written, quarantine: Mapping[str, int]) -> int:
    """The rows of the corpus, which must all be in a part, left out, or in quarantine."""
    num_good, num_bad = sum(written.num_rows.values()), sum(quarantine.values())
    num_left_out = sum(written.left_out.values())
    total, num_rows = num_good + num_left_out + num_bad, count_rows(corpus)
    if num_rows is not None and total != num_rows:
        raise InputError(
            f"every row of a corpus must be accounted for, however: {corpus.name} has {num_rows:,}"
            f" rows, {num_good:,} of them good, {num_left_out:,} left out and {num_bad:,} bad; did "
            "its files change meanwhile?"
        )
    return total


def _kind(corpus: Corpus, columns: Columns, config: SplitConfig, sampled: Sample) -> SplitKind:
    if config.kind == "time" and corpus.time is None:
        raise InputError(f"a time split needs a time column, however: {corpus.name} names none")
    if config.kind == "group" and corpus.group is None:
        raise InputError(f"a group split needs a group column, however: {corpus.name} names none")
    if columns.readings:
        return _kind_of_series(corpus, columns, config)
    if config.kind is not None:
        return config.kind
    if corpus.time is not None:
        (field,) = (field for field in columns.all if field.name == corpus.time)
        times = time_column(sampled.table[corpus.time].combine_chunks(), field.notation).values
        if has_dates(times):
            return "time"
    return "random" if corpus.group is None else "group"


def _kind_of_series(corpus: Corpus, columns: Columns, config: SplitConfig) -> SplitKind:
    """By time, or by unit: windows of one unit overlap, and never go apart at random."""
    (clock,) = (field for field in columns.carried if field.name == corpus.time)
    if config.kind == "random" or (
        config.kind is None and clock.kind != "time" and not corpus.group
    ):
        raise InputError(
            "windows of readings overlap, so that they are split by time or by group, however: "
            f"{corpus.name} is to be split at random; name the column of its units (--group)"
        )
    if config.kind == "time" and clock.kind != "time":
        raise InputError(
            f"a time split needs times, however: {corpus.time!r} of {corpus.name} holds numbers"
        )
    return config.kind or ("time" if clock.kind == "time" else "group")


def _partition(
    task: Task,
    corpus: Corpus,
    columns: Columns,
    config: SplitConfig,
    kind: SplitKind,
    folder: str,
) -> Partition:
    assert corpus.label is not None
    content = tuple(field.name for field in columns.all)
    figures = tuple(window.name for window in corpus.windows)
    # Sums depend on the order of addition in the last bit, counts and shares of labels do not.
    exact = tuple(w.name for w in corpus.windows if w.function in ("count", "label_rate"))
    apart = {"time": corpus.time, "group": corpus.group, "random": None}[kind]
    plain = tuple(name for name in content if name not in figures)
    seen = (*plain, *exact) if kind == "time" else plain
    if task.subject is not None:  # what is carried beside a text does not make it another text
        seen = (task.subject.name,)
    partition = Partition(
        folder=folder,
        label=corpus.label,
        identity=tuple(dict.fromkeys(name for name in seen if name != apart)),
        content=(*content, corpus.label),
        categories=tuple(f.name for f in columns.features if f.kind == "category"),
        terms=tuple(f.name for f in columns.features if f.kind == "terms"),
        shares=config.shares,
        seed=config.seed,
        max_categories=config.max_categories,
        labels=columns.labels,
        group=corpus.group if kind == "group" else None,
        window=columns.features[0].name if columns.readings else None,
    )
    if kind != "time":
        return partition
    assert corpus.time is not None
    histogram = _histogram(corpus, columns, corpus.time, f"{folder}/.ignored")
    start = histogram.first_us() + round(config.history_days * DAY_US)
    if config.history_days:
        histogram = histogram.since(start)
    return dataclasses.replace(
        partition,
        time=INSTANT,
        cuts_us=histogram.cuts_us(config.shares),
        delay_us=round(config.label_delay_days * DAY_US),
        start_us=start if config.history_days else None,
    )


def _histogram(corpus: Corpus, columns: Columns, time: str, ignored: str) -> TimeHistogram:
    """How the rows lie in time; one pass over the time column."""
    field = next(field for field in columns.as_read if field.name == time)
    rows = read(corpus, [field], quarantine=ignored, columns=[time], with_label=False, time=time)
    blocks = rows.map_batches(
        functools.partial(histogram_of, time=INSTANT), batch_size=None, batch_format="pyarrow"
    )
    histogram = TimeHistogram()
    for row in rows_of(blocks):
        shift, buckets, counts = json.loads(row["histogram"])
        histogram.add(shift, np.array(buckets, np.int64), np.array(counts, np.int64))
    remove(ignored)
    if not len(histogram.buckets):
        raise InputError(f"a time split needs times, however: the column {time!r} has none")
    return histogram


def _write(
    corpus: Corpus,
    columns: Columns,
    partition: Partition,
    windows: Sequence[Window],
    config: SplitConfig,
    rewrite: Rewrite | None,
) -> Written:
    """Read, compute windows, deal and write: one pass, and one shuffle per entity of a window."""
    time = corpus.time if partition.time is not None else None
    roles = (time, partition.group, corpus.weight)
    needed = [name for name in roles if name is not None]
    clock = corpus.time
    if columns.readings:
        needed = [name for name in (corpus.time, corpus.group) if name is not None]
        clock = next((f.name for f in columns.carried if f.kind == "time"), None)
    rows = read(
        corpus,
        columns.as_read,
        quarantine=f"{partition.folder}/.quarantine",
        labels=partition.labels,
        required=needed,
        time=clock,
        rewrite=rewrite,
    )
    if columns.readings:
        rows = _cut(rows, corpus, columns, config)
    if windows:
        size = -(-_size_bytes(corpus) // WINDOW_PARTITION_BYTES)
        rows = add_windows_to_dataset(
            rows, windows, INSTANT, corpus.label, num_partitions=max(1, size)
        )
    blocks = rows.map_batches(
        functools.partial(write_parts, partition=partition),
        batch_size=None,
        batch_format="pyarrow",
    )
    written = Written(max_categories=partition.max_categories)
    for row in rows_of(blocks):
        written.add(json.loads(row["written"]))
    for part in PARTS:  # a worker that was killed and tried again may have left a file
        for uri in parquet_files(f"{partition.folder}/{part}"):
            if uri.rsplit("/", 1)[-1] not in written.files[part]:
                files, path = filesystem(uri)
                files.delete_file(path)
    return written


def _refuse_telling(folder: str, cutting: Cutting) -> None:
    """Refuse channels that are the label under another name."""
    train = _spread_sample(parquet_files(f"{folder}/train"), GUARD_ROWS)
    telling = telling_channels(train, cutting)
    if telling:
        raise InputError(
            f"no channel may give the label {cutting.label!r} away, however: {telling[0]!r} does "
            f"by its last reading alone{and_more(telling)}; --set data.drop={','.join(telling)}"
        )


def _cutting(corpus: Corpus, columns: Columns, config: SplitConfig) -> Cutting:
    (field,) = columns.features
    assert field.shape is not None
    return Cutting(
        name=field.name,
        shape=field.shape,
        head=columns.labels.head,
        label=corpus.label,
        stride=config.stride_steps,
    )


def _cut(rows: Dataset, corpus: Corpus, columns: Columns, config: SplitConfig) -> Dataset:
    """Windows of the readings."""
    cutting = _cutting(corpus, columns, config)
    size_bytes = _size_bytes(corpus) * cutting.shape.length // config.stride_steps
    num_partitions = max(1, -(-size_bytes // WINDOW_PARTITION_BYTES))
    return cut_dataset(rows, cutting, num_partitions=num_partitions)


def _size_bytes(corpus: Corpus) -> int:
    """About how large the corpus is in memory."""
    total = 0
    for uri in corpus.uris:
        files, path = filesystem(uri)
        ratio = 4 if corpus.format == "parquet" else GZIP_RATIO if uri.endswith(".gz") else 1
        total += ratio * (files.get_file_info(path).size or 0)
    return total


def _collect_quarantine(folder: str) -> dict[str, int]:
    """Joins what the workers refused into quarantine.parquet; counts by reason."""
    counts: Counter[str] = Counter()
    files, path = filesystem(folder)
    files.create_dir(path, recursive=True)
    with pq.ParquetWriter(f"{path}/quarantine.parquet", BAD_SCHEMA, filesystem=files) as writer:
        for uri in parquet_files(f"{folder}/.quarantine"):
            for batch in pq.ParquetFile(filesystem(uri)[1], filesystem=files).iter_batches():
                writer.write_batch(batch)
                counts.update(batch.column("reason").to_pylist())
    remove(f"{folder}/.quarantine")
    return dict(counts)


def _remove_duplicates(written: Written, partition: Partition) -> tuple[int, list[Finding]]:
    """Takes rows out of the later parts that a training row is identical to; how many there were.

    Reads the written hashes once per range of hash values that fits in memory. Where training rows
    themselves mostly coincide, as rows of few coarse columns do, being identical means nothing.
    """
    if partition.time is None and partition.group is None:
        return 0, []  # dealt by this very hash
    if partition.window is not None:
        return 0, []  # a month without demand, or a machine at rest, is like many others
    removed = 0
    train = parquet_files(f"{partition.folder}/train")
    for low, high in ranges(written.num_rows["train"]):
        hashes = _hashes(train, low, high)
        distinct_hashes = np.unique(hashes)
        if len(distinct_hashes) < MIN_DISTINCT * len(hashes):
            detail = (
                f"{len(distinct_hashes)} of {len(hashes)} training rows differ: twins were not "
                "removed"
            )
            return removed, [Finding(kind="duplicates", column="", detail=detail)]
        for part in PARTS[1:]:
            for uri in parquet_files(f"{partition.folder}/{part}"):
                removed += _remove_twins(uri, part, distinct_hashes, written, partition)
    if not removed:
        return 0, []
    detail = f"{removed} rows of later parts were identical to a training row: left out"
    return removed, [Finding(kind="duplicates", column="", detail=detail)]


def _remove_twins(
    uri: str, part: Part, training_hashes: Hashes, written: Written, partition: Partition
) -> int:
    twin = is_among(_hashes([uri], np.uint64(0), np.uint64(2**64 - 1)), training_hashes)
    if twin.any():
        rows = table_of([uri])
        written.remove(part, rows.filter(pa.array(twin)), partition)
        files, path = filesystem(uri)
        pq.write_table(rows.filter(pa.array(~twin)), path, filesystem=files)
    return int(twin.sum())


def _hashes(uris: Sequence[str], low: np.uint64, high: np.uint64) -> Hashes:
    arrays = [np.empty(0, np.uint64)]
    for uri in uris:
        files, path = filesystem(uri)
        values = np.asarray(pq.read_table(path, filesystem=files, columns=[HASH])[HASH])
        arrays.append(values[(values >= low) & (values <= high)])
    return np.concatenate(arrays)


def _signature(
    task: Task, corpus: Corpus, columns: Columns, windows: Sequence[Window], written: Written
) -> Signature:
    """The fields; of a table's, those alone must be there that the corpus names as required."""
    inputs = (*columns.features, *(window.as_field() for window in windows))
    if columns.readings:  # what a request says beside them, such as a service level
        inputs = (*inputs, *(field for field in task.fields if field.kind == "number"))
    fields: list[Field] = []
    for field in inputs:
        is_complete = field.name not in written.missing
        required = field.name in corpus.required
        if task.subject is not None:
            required = field.required and is_complete
        fields.append(
            dataclasses.replace(
                field,
                categories=_categories(field, written),
                required=required,
                complete=is_complete and task.subject is None,
            )
        )
    return Signature(
        fields=tuple(fields),
        windows=corpus.windows,
        time=corpus.time,
        goal=corpus.goal,
        gaps=corpus.gaps,
    )


def _categories(field: Field, written: Written) -> tuple[str, ...]:
    """What a model can know of a category or a set of terms, the most frequent first."""
    if field.kind == "terms":
        return written.categories(field.name, min_rows=MIN_TERM_ROWS)[:MAX_TERMS]
    return written.categories(field.name) if field.kind == "category" else ()


def _spread_sample(uris: Sequence[str], limit: int) -> pa.Table:
    """Up to `limit` rows from up to 16 files spread over the part."""
    chosen = uris[:: -(-len(uris) // 16)]
    return pa.concat_tables([table_of([uri], -(-limit // len(chosen))) for uri in chosen])


def _iso(micros: int) -> str:
    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=micros)).isoformat()
