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
import secrets
from collections.abc import Sequence

import pyarrow as pa

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
from spt_core.data.corpus import INSTANT, Corpus, Finding
from spt_core.data.duplicates import remove_duplicates
from spt_core.data.infer import SAMPLE_ROWS, Columns, columns_of
from spt_core.data.labels import classes_of
from spt_core.data.leakage import proxies, refuse_label_like
from spt_core.data.partition import PARTS, Partition, Written, write_parts
from spt_core.data.quarantine import accounted, collected
from spt_core.data.read import num_partitions, plain_errors, read, replaced, rows_of, size_bytes
from spt_core.data.readings import cut_windows, cutting_of, large_windows, paced, refuse_telling
from spt_core.data.rewriting import Rewrite
from spt_core.data.sampling import sample
from spt_core.data.split_plan import kind_of, partition_of, ungrouped
from spt_core.data.splits import SplitConfig, Splits, load_splits, table_of
from spt_core.data.sufficiency import (
    class_findings,
    few_of_class,
    require_classes,
    require_table_classes,
)
from spt_core.data.windows import add_windows_to_dataset
from spt_core.errors import InputError
from spt_core.signature import STEPS, Field, SequenceShape, Signature, Window
from spt_core.task import Task

GUARD_ROWS = 50_000
KEY_BYTES = 32
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

    With `rewrite`, no text is written as it was, to the parts or to the quarantine, and groups and
    other keys by pseudonyms, whose random key lives as long as this call: nobody can tell again who
    they were, and another run of the same corpus has other ones, in parts of the same rows and with
    the same fingerprints, which leave them out.
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
    columns = paced(task, columns_of(sampled, corpus, task), sampled, corpus, config)
    labels = columns.labels
    kind = kind_of(corpus, columns, config, sampled)
    partition = partition_of(task, corpus, columns, config, kind, folder, sampled)
    if rewrite is not None:
        partition = _without_names(partition, columns)
    windows = tuple(w for w in corpus.windows if w.name not in corpus.columns)
    written = _write(corpus, columns, partition, windows, config, rewrite)
    counts = replaced(f"{folder}/.quarantine")
    quarantine = collected(folder)
    num_rows_in = accounted(corpus, written, quarantine)
    duplicates, doubt = remove_duplicates(written, partition)
    left_out = dict(written.left_out)
    findings = [*columns.findings, *ungrouped(task, corpus, kind, sampled)]
    findings += [*doubt, *class_findings(corpus.label, written, labels)]
    if columns.readings:
        findings += large_windows(written.num_rows["train"], columns)
    if partition.seed != config.seed:
        detail = (
            f"so few that seed {config.seed} leaves a part without any: dealt by seed "
            f"{partition.seed} (split.seed)"
        )
        findings.append(Finding(kind="few", column=partition.group or "", detail=detail))
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
        train = _spread_sample(parquet_files(f"{folder}/train"), GUARD_ROWS)
        refuse_telling(train, cutting_of(corpus, columns, config))
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
        deidentified={}
        if rewrite is None
        else {**rewrite.facts, **_beside(columns, partition), "replaced": counts},
    )


def _without_names(partition: Partition, columns: Columns) -> Partition:
    """The same, with whom rows are of written as pseudonyms, by a key that nobody keeps."""
    names = tuple(field.name for field in columns.carried if field.kind == "entity")
    content = tuple(name for name in partition.content if name not in names)
    return dataclasses.replace(
        partition, names=names, content=content, key=secrets.token_bytes(KEY_BYTES)
    )


def _beside(columns: Columns, partition: Partition) -> dict[str, str]:
    """What became of the columns beside the texts."""
    as_they_were = [f.name for f in columns.carried if f.name not in partition.names]
    named = {"pseudonyms": partition.names, "as they were": as_they_were}
    return {what: ", ".join(names) for what, names in named.items() if names}


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
        kept=None if rewrite is None else [f.name for f in columns.features] + [partition.label],
    )
    if columns.readings:
        rows = cut_windows(rows, corpus, columns, config)
    if windows:
        size = num_partitions(size_bytes(corpus))
        rows = add_windows_to_dataset(rows, windows, INSTANT, corpus.label, num_partitions=size)
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


def _signature(
    task: Task, corpus: Corpus, columns: Columns, windows: Sequence[Window], written: Written
) -> Signature:
    """The fields; of a table's, those alone must be there that the corpus names as required."""
    inputs = (*columns.features, *(window.as_field() for window in windows))
    if columns.readings:  # what a request says beside them, such as a service level
        (windows_field,) = columns.features
        assert windows_field.shape is not None
        inputs = (*inputs, *terms_of(task, windows_field.shape))
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


def terms_of(task: Task, shape: SequenceShape) -> list[Field]:
    """The numbers that a request may state beside a window; steps end with the window's horizon."""
    terms = [field for field in task.fields if field.kind == "number"]
    return [
        dataclasses.replace(field, maximum=float(shape.horizon)) if field.unit == STEPS else field
        for field in terms
    ]


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
