"""Batch scoring: Corpus + exported model -> Parquet with row number, score and answer.

Streams through Ray Data like training data, with the one encoder and the one answering path.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from spt_core.answering import Answerer
from spt_core.artifacts import (
    FACTS,
    ExportedModel,
    exported_from_json,
    filesystem,
    has_manifest,
    load_exported,
    parquet_files,
    read_manifest,
    remove,
    write_manifest,
)
from spt_core.data.conform import BAD_SCHEMA
from spt_core.data.corpus import INSTANT, ROW, Corpus, require_columns
from spt_core.data.infer import reading_signature
from spt_core.data.likeness import oddities
from spt_core.data.read import Dataset, plain_errors, read
from spt_core.data.readings import cut_dataset
from spt_core.data.sampling import sample
from spt_core.data.series import NO_WINDOW, Cutting, windows_of
from spt_core.data.splits import Splits
from spt_core.data.windows import add_windows_to_dataset
from spt_core.errors import InputError
from spt_core.heads import HEADS
from spt_core.heads.outcomes import Outcomes
from spt_core.model import default_policy, open_answerer
from spt_core.policy import Policy, policy_from_json
from spt_core.signature import Field, Signature, Window
from spt_core.task import Task, find

NUM_PARTITIONS = 8
SAMPLE_ROWS = 20_000
QUARANTINE = "_quarantine.parquet"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """What was written: rows scored, rows refused by reason, and where.

    `computed` are windows made from the data set's own rows, `absent` inputs that the model knows,
    the data set does not bring, and that therefore counted as missing. `oddities` are what is
    unlike training in it, a sentence each (data/likeness.py).
    """

    uri: str
    num_rows: int
    num_quarantined: int
    computed: tuple[str, ...]
    absent: tuple[str, ...]
    reasons: Mapping[str, int]
    oddities: tuple[str, ...]


def fitted_policy(model: ExportedModel, splits: Splits) -> Policy:
    """The policy that the calibration rows ask for."""
    task = find(model.artifact.task)
    return HEADS[task.head].policy(task, policy_outcomes(model, splits))


def policy_outcomes(model: ExportedModel, splits: Splits) -> Outcomes:
    """What a model says of the calibration rows, before there is a policy.

    Of a model that was refitted on them, what its twin says, which was not.
    """
    if model.artifact.twin:
        return policy_outcomes(load_exported(model.artifact.twin), splits)
    answerer = open_answerer(model, default_policy(model))
    table = splits.table("calibration", limit=answerer.task.facts.policy_rows)
    corpus = splits.corpus
    return answerer.outcomes(table, splits.label, group=corpus.group, weight=corpus.weight)


def score_corpus(
    corpus: Corpus,
    model: ExportedModel,
    policy: Policy,
    *,
    ref: str,
    output: str,
    fresh: bool = False,
) -> Scored:
    """Parquet files with `row`, `score` and the answer's fields in the folder `output`.

    `row` is the row's number in the input, `score` the calibrated probability of a
    decision or of the likeliest label, or the value; fields that are objects or lists are JSON
    text. Bad rows go to `_quarantine.parquet` beside them, with their
    number and the reason. The folder is written when all rows are scored; one that holds finished
    scores needs `fresh`, one that holds anything else is refused.
    """
    _refuse_used(output, fresh)
    signature = model.artifact.signature
    columns = list(corpus.columns)
    task = find(model.artifact.task)
    sequence = next((f for f in signature.fields if f.kind == "sequence"), None)
    clock = None
    if sequence is not None:
        signature = reading_signature(signature, corpus)
        clock = next((field.name for field in signature.fields if field.kind == "time"), None)
    odd = oddities(sample(corpus, SAMPLE_ROWS), signature, corpus.uris[0])
    needed = [field.name for field in signature.fields if field.required]
    require_columns(needed, columns, what="input", file=corpus.uris[0])
    _refuse_other_keys(signature, corpus)
    time = signature.time if signature.time in columns else corpus.time
    windows, absent = _computable(signature, columns, time, corpus.label)
    beside = [f for f in task.beside(signature).fields if f.name in columns]
    folder, _, name = output.rstrip("/").rpartition("/")
    unfinished = f"{folder}/.{name}.unfinished"
    refused = f"{unfinished}-quarantine"  # beside it: Ray empties what it writes no row into
    remove(unfinished)
    remove(refused)
    try:
        with plain_errors():
            rows = read(
                corpus,
                [*_fields(signature, windows, time, corpus.label), *beside],
                quarantine=refused,
                with_label=False,
                required=needed,
                time=time if windows else clock,
            )
            if windows:
                rows = add_windows_to_dataset(
                    rows, windows, INSTANT, corpus.label or "", num_partitions=NUM_PARTITIONS
                )
            if sequence is not None:
                rows = _cut(rows, sequence, task, _foretold(model, task), refused)
            scored = rows.map_batches(
                score_batch,  # type: ignore[arg-type]  # pyarrow has no types
                batch_format="pyarrow",
                batch_size=find(model.artifact.task).facts.batch_rows,
                fn_kwargs={
                    "model": json.dumps(model.to_json()),
                    "policy": json.dumps(policy.to_json()),
                },
            )
            files, path = filesystem(unfinished)
            scored.write_parquet(path, filesystem=files)
        num_rows = sum(
            pq.ParquetFile(filesystem(uri)[1], filesystem=files).metadata.num_rows
            for uri in parquet_files(unfinished)
        )
        files.create_dir(path, recursive=True)
        reasons = _join_quarantine(refused, path)
        num_bad = sum(reasons.values())
        content = {
            "model": ref,
            "exported": model.uri,
            "policy": policy.version,
            "corpus": corpus.to_json(),
            "num_rows": num_rows,
            "num_quarantined": num_bad,
        }
        if has_manifest(output):
            remove(output)
        target = filesystem(output)[1]
        files.create_dir(target, recursive=True)
        for uri in parquet_files(unfinished):
            files.move(filesystem(uri)[1], f"{target}/{uri.rsplit('/', 1)[-1]}")
        write_manifest(output, content)
    finally:
        remove(unfinished)
        remove(refused)
    return Scored(
        uri=output,
        num_rows=num_rows,
        num_quarantined=num_bad,
        computed=tuple(window.name for window in windows),
        absent=tuple(absent),
        reasons=reasons,
        oddities=tuple(odd),
    )


def _foretold(model: ExportedModel, task: Task) -> int | None:
    """The channel that a forecast's model foretells."""
    return int(json.loads(model.read(FACTS))["target"]) if task.head == "forecasts" else None


def _cut(rows: Dataset, field: Field, task: Task, target: int | None, refused: str) -> Dataset:
    """Windows of readings; readings at which none ends go to the quarantine.

    So do windows without a reading of the channel `target`, of which nothing can be foretold.
    """
    assert field.shape is not None
    cutting = Cutting(name=field.name, shape=field.shape, head=task.head)
    return cut_dataset(rows, cutting, num_partitions=NUM_PARTITIONS).map_batches(
        functools.partial(_whole, field=field, target=target, refused=refused),
        batch_size=None,
        batch_format="pyarrow",
    )


def _whole(table: pa.Table, field: Field, target: int | None, refused: str) -> pa.Table:
    """The rows with a window; the others are written to the folder `refused`."""
    assert field.shape is not None
    is_window = np.asarray(table[field.name].is_valid())
    is_whole = is_window.copy()
    if target is not None:
        readings = windows_of(table[field.name].filter(is_window), field.shape)
        is_whole[is_window] = np.isfinite(readings[:, : field.shape.length, target]).any(1)
    others = table.filter(pa.array(~is_whole))
    if others.num_rows:
        files, path = filesystem(refused)
        files.create_dir(path, recursive=True)
        name = "" if target is None else field.shape.channels[target]
        without = f"a forecast needs a reading of {name} in its window"
        reasons = pa.array([without if there else NO_WINDOW for there in is_window[~is_whole]])
        records = pa.array(["{}"] * others.num_rows)
        bad = pa.table({ROW: others[ROW], "reason": reasons, "record": records}, BAD_SCHEMA)
        first = pc.min(others[ROW]).as_py()
        pq.write_table(bad, f"{path}/window-{first:014d}.parquet", filesystem=files)
    return table.filter(pa.array(is_whole))


def _refuse_used(output: str, fresh: bool) -> None:
    """InputError unless the folder is new, empty, or holds finished scores that may go."""
    files, path = filesystem(output)
    info = files.get_file_info(path)
    if info.type == pafs.FileType.NotFound:
        return
    if info.type == pafs.FileType.File:
        raise InputError(f"an output must be a folder, however: {output} is a file")
    if has_manifest(output) and "num_quarantined" in read_manifest(output):
        if fresh:
            return
        raise InputError(
            f"an output folder must be new, however: {output} holds finished scores; choose "
            "another or pass --fresh"
        )
    if files.get_file_info(pafs.FileSelector(path)):
        raise InputError(
            f"an output folder must be new or empty, however: {output} holds something else"
        )


def score_batch(table: pa.Table, *, model: str, policy: str) -> pa.Table:
    """One batch of typed rows as row number, score and answer."""
    answerer = _answerer(model, policy)
    probabilities, answers = answerer.table(table)
    columns: dict[str, Any] = {
        "row": table[ROW],
        "score": pa.array(np.asarray(probabilities, np.float64)),
    }
    for name, schema in answerer.task.answer.items():
        columns[name] = _column([answer[name] for answer in answers], schema["type"])
    return pa.table(columns)


def _column(values: list[Any], kind: str | Sequence[str]) -> pa.Array:
    """One part of answers as a column; `kind` is its type in JSON Schema, or that and null."""
    (kind,) = (kind,) if isinstance(kind, str) else (each for each in kind if each != "null")
    if kind in ("array", "object"):
        values = [json.dumps(value, default=str) for value in values]
    return pa.array(values, _TYPES[kind])


def _refuse_other_keys(signature: Signature, corpus: Corpus) -> None:
    keys = sorted({window.entity for window in signature.windows})
    for name in corpus.entities:
        if keys and name not in keys:
            raise InputError(
                f"a key must be one that the model's windows look back over, however: {name!r} is "
                f"none; they are {', '.join(keys)}"
            )


def _fields(
    signature: Signature, windows: Sequence[Window], time: str | None, label: str | None
) -> list[Field]:
    """What is read: the model's inputs, but for windows that are computed, and what these need.

    Of labels, those that are known by then: the newest rows may lack theirs.
    """
    computed = {window.name for window in windows}
    fields = {field.name: field for field in signature.fields if field.name not in computed}
    for window in windows:
        assert time is not None  # or no window would be computable
        fields.setdefault(time, Field(name=time, kind="time"))
        fields.setdefault(window.entity, Field(name=window.entity, kind="entity"))
        if window.value is not None:
            fields.setdefault(window.value, Field(name=window.value, kind="number"))
        if window.function == "label_rate":
            assert label is not None
            fields.setdefault(label, Field(name=label, kind="boolean"))
    return list(fields.values())


def _computable(
    signature: Signature, columns: Sequence[str], time: str | None, label: str | None
) -> tuple[list[Window], list[str]]:
    """Windows that the data set's own rows can fill, and fields that nothing fills."""
    absent = [field.name for field in signature.fields if field.name not in columns]
    windows = [
        window
        for window in signature.windows
        if window.name in absent
        and window.entity in columns
        and time in columns
        and (window.value is None or window.value in columns)
        and (window.function != "label_rate" or label is not None)
    ]
    return windows, sorted(set(absent) - {window.name for window in windows})


_TYPES = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "string": pa.string(),
    "array": pa.string(),
    "object": pa.string(),
}


@functools.lru_cache(maxsize=1)
def _answerer(model: str, policy: str) -> Answerer:
    """The answering path, opened once per worker process."""
    return open_answerer(
        exported_from_json(json.loads(model)), policy_from_json(json.loads(policy))
    )


def _join_quarantine(folder: str, path: str) -> dict[str, int]:
    """Bad rows of all workers in one file; how many there are, the most frequent reason first."""
    files, _ = filesystem(folder)
    parts = parquet_files(folder)
    if not parts:
        return {}
    tables = [pq.read_table(filesystem(uri)[1], filesystem=files) for uri in parts]
    bad = pa.concat_tables(tables).sort_by(ROW)
    assert bad.schema.names == BAD_SCHEMA.names
    pq.write_table(bad, f"{path}/{QUARANTINE}", filesystem=files)
    return dict(Counter(bad["reason"].to_pylist()).most_common())
