"""Validation rows of the caller's: Splits + Corpus -> Splits with another validation part."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pyarrow.parquet as pq

from spt_core.artifacts import digest, filesystem, has_manifest, remove, write_manifest
from spt_core.data.corpus import Corpus, Finding
from spt_core.data.labels import SETS, class_counts, num_saying
from spt_core.data.partition import PARTS
from spt_core.data.read import plain_errors, read
from spt_core.data.splits import Splits, load_splits
from spt_core.errors import InputError


def with_validation(splits: Splits, corpus: Corpus) -> Splits:
    """The splits with the corpus's good rows as validation part, in a folder of their own.

    The rows must fit in memory; bad ones go to quarantine files in the new folder.
    """
    if any(field.kind == "sequence" for field in splits.signature.fields):
        raise InputError(
            "validation windows are cut of the readings that training's are, by unit or by time, "
            f"however: {corpus.name} was given for them; give all readings as training data"
        )
    uri = f"{splits.uri}-{digest(corpus.identity)}"
    if has_manifest(uri):
        return load_splits(uri)
    remove(uri)
    fields = splits.signature.fields
    with plain_errors():
        blocks = read(
            corpus, fields, quarantine=f"{uri}/quarantine", labels=splits.labels
        ).iter_batches(batch_format="pyarrow", batch_size=None)
        rows = pa.concat_tables(list(blocks), promote_options="default")
    positives = num_saying(rows[splits.label], splits.labels) if rows.num_rows else 0
    _require_labels(positives, rows, splits, corpus)
    files, path = filesystem(uri)
    for part in PARTS:
        files.create_dir(f"{path}/{part}", recursive=True)
        if part != "validation":
            for source in splits.files(part):
                _, place = filesystem(source)
                files.copy_file(place, f"{path}/{part}/{place.rsplit('/', 1)[-1]}")
    pq.write_table(rows, f"{path}/validation/given.parquet", filesystem=files)
    new_splits = dataclasses.replace(
        splits,
        uri=uri,
        num_rows={**splits.num_rows, "validation": rows.num_rows},
        num_positives={**splits.num_positives, "validation": positives},
        findings=(*splits.findings, *_unseen(rows, splits)),
        reused=False,
    )
    write_manifest(uri, new_splits.to_json())
    return new_splits


def _require_labels(positives: int, rows: pa.Table, splits: Splits, corpus: Corpus) -> None:
    if splits.labels.head == "binary" and positives in (0, rows.num_rows):
        raise InputError(
            f"validation rows must be of both classes, however: {positives} of the {rows.num_rows} "
            f"good rows of {corpus.name} are positive"
        )
    if not rows.num_rows or (splits.labels.head in SETS and not positives):
        raise InputError(
            f"validation rows must have labels, however: {corpus.name} has {rows.num_rows} good "
            f"rows, {positives} of them with a label that is not empty"
        )


def _unseen(rows: pa.Table, splits: Splits) -> list[Finding]:
    counts = class_counts(rows[splits.label], splits.labels)
    return [
        Finding(
            kind="unseen_class",
            column=splits.label,
            detail=f"the validation rows have {count} of {name!r}, training rows none",
        )
        for name, count in counts.items()
        if name not in splits.classes
    ]
