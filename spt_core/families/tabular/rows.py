"""Typed rows of a split as what networks train on: features [B, F], targets, weight [B].

Targets are [B] of decisions, else [B, K] (outputs.py).

A shard that fits in memory is shuffled whole. A larger one streams: its blocks come in a fixed
order, and a buffer is shuffled by (seed, epoch).
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spt_core.artifacts import filesystem
from spt_core.data.corpus import ROW
from spt_core.data.partition import Part
from spt_core.data.splits import Splits
from spt_core.errors import InputError
from spt_core.families.tabular.boosters import Rows
from spt_core.families.tabular.drawing import Cells, draw_batch
from spt_core.families.tabular.encoding import encode_batch, targets_of
from spt_core.families.tabular.outputs import DECISION, Target
from spt_core.families.tabular.reading import Encoder
from spt_core.fitting.config import ClassWeighting
from spt_core.fitting.plan import Read
from spt_core.fitting.shards import Arrays, MemoryShard, StreamShard
from spt_core.signature import Field, Signature
from spt_core.task import Task

Labelled = tuple[NDArray[np.float32], NDArray[np.float32]]  # features [N, F], targets
SHUFFLE_BUFFER_ROWS = 100_000
_HASH = 2_654_435_761  # Knuth's multiplicative hash: rows are sampled by number, the same each time


def trim_categories(signature: Signature, size: int) -> Signature:
    """The Signature with each category column cut to its `size` most frequent values."""
    fields = tuple(dataclasses.replace(f, categories=f.categories[:size]) for f in signature.fields)
    return dataclasses.replace(signature, fields=fields)


def with_seen(signature: Signature, features: NDArray[np.float32]) -> Signature:
    """The Signature whose numbers say their least and greatest value in encoded rows [N, F]."""
    columns = {column.field: number for number, column in enumerate(signature.columns)}
    fields: list[Field] = []
    for field in signature.fields:
        values = features[:, columns[field.name]] if field.kind == "number" else features[:0, 0]
        present = values[np.isfinite(values)]
        seen = (float(present.min()), float(present.max())) if len(present) else None
        fields.append(dataclasses.replace(field, seen=seen))
    return dataclasses.replace(signature, fields=tuple(fields))


def target_of(task: Task, splits: Splits, weighting: ClassWeighting) -> Target:
    """What models of a task's training rows are to say."""
    if weighting != "none" and task.head not in ("binary", "single_label"):
        raise InputError(
            "class_weighting must be none unless rows are of classes without an order, however: "
            f"{task.path} has the head {task.head!r}"
        )
    if weighting != "none" and splits.corpus.weight is not None:
        raise InputError(
            "class_weighting must be none where rows have weights of their own, however: it is "
            f"{weighting!r} beside data.weight={splits.corpus.weight}"
        )
    if task.head == "regression":
        values = np.concatenate([np.asarray(c, np.float64) for c in _labels(splits)])
        return Target(head=task.head, center=float(values.mean()), spread=float(values.std()))
    weights: tuple[float, ...] = ()
    if weighting == "balanced" and task.head == "binary":
        total, positive = splits.num_rows["train"], splits.num_positives["train"]
        weights = total / (2 * (total - positive)), total / (2 * positive)
    elif weighting == "balanced":
        counts = Counter(name for chunk in _labels(splits) for name in chunk.to_pylist())
        present = [name for name in splits.classes if counts[name]]
        total = counts.total()
        weights = tuple(
            total / (len(present) * counts[name]) if counts[name] else 1.0
            for name in splits.classes
        )
    return Target(head=task.head, classes=splits.classes, class_weights=weights)


def encoded_dataset(
    splits: Splits,
    part: Part,
    signature: Signature,
    target: Target = DECISION,
    *,
    rows: NDArray[np.int64] | None = None,
) -> Any:  # ray.data.Dataset; ray is not imported here
    """A part as a streaming dataset with the columns features, target, weight and row.

    `rows` are the numbers of those that it has; None takes all.
    """
    return splits.dataset(part).map_batches(
        encode_batch,  # pyright: ignore[reportArgumentType]  # ray's type has no keywords
        batch_format="pyarrow",
        fn_kwargs={
            "signature": json.dumps(signature.to_json()),
            "label": splits.label,
            "target": json.dumps(target.to_json()),
            "weight": splits.corpus.weight,
            "rows": rows,
        },
    )


def drawn_dataset(
    num_rows: int, cells: Cells, num_numbers: int, *, seed: int
) -> Any:  # ray.data.Dataset
    """Artificial rows of private encodings, with the columns of `encoded_dataset`."""
    import ray.data  # the driver alone needs it

    return ray.data.range(num_rows).map_batches(
        draw_batch,  # pyright: ignore[reportArgumentType]  # ray's type has no keywords
        batch_format="numpy",
        batch_size=4096,
        fn_kwargs={"cells": cells, "num_numbers": num_numbers, "seed": seed},
    )


def encoded_arrays(
    splits: Splits, part: Part, signature: Signature, target: Target = DECISION, *, limit: int
) -> Labelled:
    """At most about `limit` rows of a part, sampled by row number: features [N, F] and targets."""
    to_numbers = Encoder(signature)
    features: list[NDArray[np.float32]] = []
    targets: list[NDArray[np.float32]] = []
    for table in _sampled(splits, part, limit):
        features.append(to_numbers.table(table))
        targets.append(targets_of(table[splits.label], target))
    return np.concatenate(features), np.concatenate(targets)


def row_weights(splits: Splits, part: Part, *, limit: int) -> NDArray[np.float64] | None:
    """The weights [N] of the rows that `encoded_arrays` samples; None where they have none."""
    weight = splits.corpus.weight
    if weight is None:
        return None
    return np.concatenate([np.asarray(t[weight], float) for t in _sampled(splits, part, limit)])


def _sampled(splits: Splits, part: Part, limit: int) -> Iterator[pa.Table]:
    """A part's tables, at most about `limit` rows of them, sampled by row number."""
    share = min(1.0, limit / max(splits.num_rows[part], 1))
    for table in part_tables(splits, part):
        if share < 1.0:
            rows = np.asarray(table[ROW], dtype=np.uint64)
            keep = (rows * np.uint64(_HASH)) % np.uint64(2**32) < np.uint64(share * 2**32)
            table = table.filter(pa.array(keep))
        yield table


def booster_rows(
    splits: Splits, signature: Signature, target: Target = DECISION, *, limit: int
) -> Rows:
    """Training and validation rows as boosters take them, at most about `limit` of each."""
    train, targets = encoded_arrays(splits, "train", signature, target, limit=limit)
    held_out, held_out_targets = encoded_arrays(
        splits, "validation", signature, target, limit=limit
    )
    output, truth = target.output, held_out_targets.astype(np.float64)
    labels = output.forest_labels(truth)
    is_known = ~np.isnan(labels)  # boosters stop early on classes that they can say
    return Rows(
        train,
        output.forest_labels(targets.astype(np.float64)),
        held_out[is_known],
        labels[is_known],
        len(signature.numbers),
        output.objective(target),
        truth[is_known],
        row_weights(splits, "train", limit=limit),
        row_weights(splits, "validation", limit=limit),  # of decisions, whose labels are all known
    )


def _labels(splits: Splits) -> Iterator[pa.ChunkedArray]:
    for table in part_tables(splits, "train"):
        yield table[splits.label]


def part_tables(splits: Splits, part: Part) -> Iterator[pa.Table]:
    """A part's rows, piece by piece in their order."""
    for uri in splits.files(part):
        files, path = filesystem(uri)
        for batch in pq.ParquetFile(path, filesystem=files).iter_batches(batch_size=131_072):
            yield pa.Table.from_batches([batch])


def shard_of(read: Read, *, num_rows: int | None, seed: int) -> MemoryShard | StreamShard:
    """A worker's rows; with `num_rows` they are streamed."""

    def arrays() -> Iterator[Arrays]:
        for batch in read():
            yield tuple(np.array(batch[c]) for c in ("features", "target", "weight"))  # type: ignore[misc]  # three

    if num_rows is not None:
        return StreamShard(arrays, num_rows=num_rows, buffer_rows=SHUFFLE_BUFFER_ROWS, seed=seed)
    features, targets, weights = zip(*arrays(), strict=True)
    held = (np.concatenate(features), np.concatenate(targets), np.concatenate(weights))
    return MemoryShard(held, seed=seed)
