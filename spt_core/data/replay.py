"""New training rows beside those of before: Splits + rows -> Splits that are judged as before.

Validation, calibration and test rows stay byte for byte, so that a model of the new splits meets
one of the old on the same rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spt_core.artifacts import digest, filesystem, has_manifest, remove, write_manifest
from spt_core.data.corpus import HASH, RESERVED, ROW
from spt_core.data.hashing import Hashes, row_hashes, uniform
from spt_core.data.labels import class_counts, num_saying
from spt_core.data.partition import PARTS
from spt_core.data.splits import EvaluationSet, Splits, load_splits, table_of
from spt_core.errors import InputError

NAME = "rows.parquet"


def replayed(splits: Splits, max_rows: int, *, seed: int = 0) -> pa.Table:
    """At most about `max_rows` of the training rows, the same ones each time."""
    total = splits.num_rows["train"]
    if total <= max_rows:
        return splits.table("train")
    share, kept = max_rows / total, list[pa.Table]()
    for uri in splits.files("train"):
        rows = table_of([uri])
        chosen = uniform(np.asarray(rows[HASH]), seed) < share
        kept.append(rows.filter(pa.array(chosen)))
    return pa.concat_tables(kept, promote_options="default")


def conformed(splits: Splits, rows: pa.Table, identity: Sequence[str]) -> pa.Table:
    """New rows with all columns of the splits' own; what they lack is null.

    `identity` are the columns by which two rows are the same.
    """
    schema = table_of(splits.files("train")[:1], 1).schema
    unknown = sorted(set(rows.column_names) - set(schema.names))
    if unknown:
        raise InputError(f"new rows have the columns of the old ones, however: {unknown} are none")
    columns = {
        field.name: rows[field.name].cast(field.type)
        if field.name in rows.column_names
        else pa.nulls(rows.num_rows, field.type)
        for field in schema
    }
    first = 1 + sum(splits.num_rows.values()) + sum(splits.num_left_out.values())
    columns[ROW] = pa.array(np.arange(first, first + rows.num_rows)).cast(schema.field(ROW).type)
    columns[HASH] = pa.array(row_hashes(pa.table(columns), identity)).cast(schema.field(HASH).type)
    return pa.table(columns, schema=schema)


def held_out_hashes(splits: Splits) -> Hashes:
    """What no training row may coincide with: validation, calibration and test rows."""
    hashes = [np.empty(0, np.uint64)]
    for part in PARTS[1:]:
        for uri in splits.files(part):
            files, path = filesystem(uri)
            column = pq.read_table(path, filesystem=files, columns=[HASH])[HASH]
            hashes.append(np.asarray(column))
    return np.concatenate(hashes)


def with_training(
    splits: Splits,
    train: pa.Table,
    *,
    name: str,
    licences: Sequence[str] = (),
    added_rows: str = "as they were",
) -> Splits:
    """The splits with these training rows; the same ones are used again.

    `added_rows` says what removed identifiers from rows that the splits did not have.
    """
    content = [column for column in train.column_names if column not in RESERVED]
    hashes = row_hashes(train, content)
    fingerprint = _fingerprint(hashes)
    storage = splits.uri.rpartition("/")[0]
    uri = f"{storage}/{digest([splits.uri, fingerprint, name, list(licences)])}"
    if has_manifest(uri):
        return dataclasses.replace(load_splits(uri), reused=True)
    remove(uri)
    files, path = filesystem(uri)
    for part in PARTS[1:]:
        files.create_dir(f"{path}/{part}", recursive=True)
        for source in splits.files(part):
            _, place = filesystem(source)
            files.copy_file(place, f"{path}/{part}/{place.rsplit('/', 1)[-1]}")
    files.create_dir(f"{path}/train", recursive=True)
    pq.write_table(train, f"{path}/train/{NAME}", filesystem=files)
    counts = class_counts(train[splits.label], splits.labels)
    new = tuple(sorted(set(counts) - set(splits.classes)))
    fingerprints = {**splits.fingerprints, "train": fingerprint}
    new_splits = dataclasses.replace(
        splits,
        uri=uri,
        corpus=dataclasses.replace(splits.corpus, name=name, identity=digest([uri, fingerprint])),
        num_rows={**splits.num_rows, "train": train.num_rows},
        num_positives={
            **splits.num_positives,
            "train": num_saying(train[splits.label], splits.labels),
        },
        fingerprints=fingerprints,
        data_fingerprint=_joined(fingerprints.values()),
        licences=tuple(sorted({*splits.licences, *licences})),
        classes=(*splits.classes, *new),
        deidentified={**splits.deidentified, "added rows": added_rows}
        if splits.deidentified
        else {},
        reused=False,
    )
    write_manifest(uri, new_splits.to_json())
    return new_splits


def evaluation_set_of(splits: Splits, rows: pa.Table, name: str) -> EvaluationSet:
    """Rows that are kept from training, as an evaluation set beside the splits' own."""
    uri = f"{splits.uri}/{name}"
    files, path = filesystem(uri)
    files.create_dir(path, recursive=True)
    pq.write_table(rows, f"{path}/{NAME}", filesystem=files)
    content = [column for column in rows.column_names if column not in RESERVED]
    return dataclasses.replace(
        splits.evaluation_set(),
        uri=uri,
        num_rows=rows.num_rows,
        num_positives=num_saying(rows[splits.label], splits.labels),
        fingerprint=_fingerprint(row_hashes(rows, content)),
    )


def _fingerprint(hashes: Hashes) -> str:
    return f"{len(hashes)}-{int(hashes.sum(dtype=np.uint64)):016x}"


def _joined(fingerprints: Iterable[str]) -> str:
    rows, total = 0, 0
    for fingerprint in fingerprints:
        count, _, hexadecimal = fingerprint.partition("-")
        rows, total = rows + int(count), total + int(hexadecimal, 16)
    return f"{rows}-{total % 2**64:016x}"
