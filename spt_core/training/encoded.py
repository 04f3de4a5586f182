"""Typed rows of a split as what networks train on: features [B, F], target [B], weight [B]."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spt_core.artifacts import filesystem
from spt_core.data.corpus import ROW
from spt_core.data.encoding import encode_batch
from spt_core.data.partition import Part
from spt_core.data.splits import Splits
from spt_core.encoder import Encoder
from spt_core.signature import Signature
from spt_core.training.config import ClassWeighting

Arrays = tuple[NDArray[np.float32], NDArray[np.float32]]
_HASH = 2_654_435_761  # Knuth's multiplicative hash: rows are sampled by number, the same each time


def trim_categories(signature: Signature, size: int) -> Signature:
    """The Signature with each category column cut to its `size` most frequent values."""
    fields = tuple(dataclasses.replace(f, categories=f.categories[:size]) for f in signature.fields)
    return dataclasses.replace(signature, fields=fields)


def class_weights(splits: Splits, weighting: ClassWeighting) -> tuple[float, float]:
    """The weights of negative and positive training rows."""
    if weighting == "none":
        return 1.0, 1.0
    total, positive = splits.num_rows["train"], splits.num_positives["train"]
    return total / (2 * (total - positive)), total / (2 * positive)


def encoded_dataset(
    splits: Splits, part: Part, signature: Signature, weights: tuple[float, float] = (1.0, 1.0)
) -> Any:  # ray.data.Dataset; ray is not imported here
    """A part as a streaming dataset with the columns features, target, weight and row."""
    return splits.dataset(part).map_batches(
        encode_batch,  # pyright: ignore[reportArgumentType]  # ray's type has no keywords
        batch_format="pyarrow",
        fn_kwargs={
            "signature": json.dumps(signature.to_json()),
            "label": splits.label,
            "weights": weights,
        },
    )


def encoded_arrays(splits: Splits, part: Part, signature: Signature, *, limit: int) -> Arrays:
    """At most about `limit` rows of a part, sampled by row number: features [N, F], labels [N]."""
    share = min(1.0, limit / max(splits.num_rows[part], 1))
    to_numbers = Encoder(signature)
    features: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.float32]] = []
    for table in _tables(splits, part):
        if share < 1.0:
            rows = np.asarray(table[ROW], dtype=np.uint64)
            keep = (rows * np.uint64(_HASH)) % np.uint64(2**32) < np.uint64(share * 2**32)
            table = table.filter(pa.array(keep))
        features.append(to_numbers.table(table))
        labels.append(np.asarray(table[splits.label], dtype=np.float32))
    return np.concatenate(features), np.concatenate(labels)


def _tables(splits: Splits, part: Part) -> Iterator[pa.Table]:
    for uri in splits.files(part):
        files, path = filesystem(uri)
        for batch in pq.ParquetFile(path, filesystem=files).iter_batches(batch_size=131_072):
            yield pa.Table.from_batches([batch])
