"""Windows of a split as what networks train on: windows [B, T, C], targets [B, K], weights [B].

Rows hold them flat, [T * C]. A shard that fits in memory is shuffled whole; of a larger one, which
streams, a buffer is shuffled by (seed, epoch).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.data.partition import Part
from spt_core.data.read import Dataset
from spt_core.data.series import windows_of
from spt_core.data.splits import Splits, sampled_table
from spt_core.families.series.encoding import encode_batch, encoded
from spt_core.families.series.facts import num_rows as num_rows_of
from spt_core.families.series.reading import filled
from spt_core.fitting.plan import Read
from spt_core.fitting.shards import Arrays, MemoryShard, StreamShard, joined
from spt_core.signature import Field

BUFFER_BYTES = 256 << 20
Labelled = tuple[NDArray[np.float32], NDArray[np.float32]]


def encoded_dataset(splits: Splits, part: Part, field: str, facts: Mapping[str, Any]) -> Dataset:
    """A part as a streaming dataset with the columns features, target, weight and row."""
    return splits.dataset(part).map_batches(
        encode_batch,  # pyright: ignore[reportArgumentType]  # ray's type has no keywords
        batch_format="pyarrow",
        batch_size=4096,
        fn_kwargs={
            "field": field,
            "label": splits.label,
            "signature": json.dumps(splits.signature.to_json()),
            "facts": json.dumps(facts),
            "is_training": part == "train",
        },
    )


def part_table(splits: Splits, part: Part, limit: int) -> pa.Table:
    """At most about `limit` rows of a part, drawn from all of it."""
    return sampled_table(splits.files(part), limit)


def filled_windows(table: pa.Table, field: Field) -> NDArray[np.float32]:
    """The windows [N, T, C] of rows, their gaps filled."""
    assert field.shape is not None
    return filled(windows_of(table[field.name], field.shape))


def encoded_part(
    splits: Splits, part: Part, field: str, facts: Mapping[str, Any], limit: int
) -> Labelled:
    """Windows [N, T, C] and targets [N, K] of at most about `limit` rows of a part."""
    table = part_table(splits, part, limit)
    return encoded(table, splits.signature.field(field), splits.label, facts, part == "train")


def shard_of(
    read: Read, *, facts: Mapping[str, Any], num_rows: int | None, seed: int
) -> MemoryShard | StreamShard:
    """A worker's rows; with `num_rows` they are streamed."""
    shape = (-1, num_rows_of(facts), len(facts["center"]))

    def arrays() -> Iterator[Arrays]:
        for batch in read():
            features, targets, weights = (
                np.array(batch[name], np.float32) for name in ("features", "target", "weight")
            )
            if len(features):
                yield features.reshape(shape), targets, weights

    if num_rows is not None:
        return StreamShard(
            arrays,
            num_rows=num_rows,
            buffer_rows=BUFFER_BYTES // (4 * shape[1] * shape[2]),
            seed=seed,
        )
    return MemoryShard(joined(list(arrays())), seed=seed)
