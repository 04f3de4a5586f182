"""Images of a split as what networks train on, in an order that is a function of (seed, epoch).

Splits -> levels and targets, made by Ray Data -> shards; a teacher's images are altered anew in
every epoch. What does not fit in memory is read again every epoch, through a shuffled buffer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from spt_core.data.partition import Part
from spt_core.data.read import Dataset
from spt_core.data.splits import Splits, sampled_table
from spt_core.families.image.altering import altered
from spt_core.families.image.config import Variation
from spt_core.families.image.encoding import encode_images, targets_of
from spt_core.families.image.reading import Square, features_of, levels_of, unpacked
from spt_core.fitting.shards import Batch
from spt_core.images import Pixels
from spt_core.task import Task

BATCH_ROWS = 64  # decoded at a time
BUFFER_ROWS = 4096


class Altering(NamedTuple):
    """How images of training are altered."""

    variation: Variation
    symmetries: Sequence[str]


def image_dataset(
    splits: Splits, part: Part, task: Task, square: Square, facts: Mapping[str, Any]
) -> Dataset:
    """A part as levels, targets, weight and row."""
    assert task.subject is not None, "a task of images has one as its subject"
    rows = splits.dataset(part).map_batches(
        encode_images,  # pyright: ignore[reportArgumentType]  # ray's type has no keywords
        batch_format="pyarrow",
        batch_size=BATCH_ROWS,
        fn_kwargs={
            "square": tuple(square),
            "facts": json.dumps(facts),
            "image": task.subject.name,
            "label": splits.label,
        },
    )
    # The order of rows is part of what a seed promises; each read has a context of its own.
    rows.context.execution_options.preserve_order = True
    return rows


def held_levels(
    splits: Splits, part: Part, task: Task, square: Square, facts: Mapping[str, Any], limit: int
) -> tuple[Pixels, NDArray[np.float32]]:
    """Levels [N, C, S, S] and targets [N, K] of at most `limit` rows of a part."""
    assert task.subject is not None, "a task of images has one as its subject"
    table = sampled_rows(splits, part, [task.subject.name, splits.label], limit)
    levels = levels_of(table[task.subject.name].to_pylist(), square)
    return levels, targets_of(facts, table[splits.label].to_pylist())


def sampled_rows(splits: Splits, part: Part, columns: Sequence[str], limit: int) -> pa.Table:
    """Columns of at most `limit` rows from all over a part."""
    return sampled_table(splits.files(part), limit, columns=columns)


Arrays = tuple[Pixels, NDArray[np.float32], NDArray[np.float32]]


def arrays_of(batch: Mapping[str, Any], square: Square) -> Arrays:
    """Levels, targets [N, K] and weights [N] of one of Ray Data's batches."""
    targets = np.stack([np.asarray(row, np.float32) for row in batch["targets"]])
    return unpacked(list(batch["levels"]), square), targets, np.asarray(batch["weight"])


class ImageShard:
    """A shard whose images are all here."""

    def __init__(self, arrays: Arrays, *, seed: int, altering: Altering | None) -> None:
        self._levels, self._targets, self._weights = arrays
        self._seed, self._altering = seed, altering
        self.num_rows = len(self._targets)

    def batches(self, *, size: int, epoch: int, shuffle: bool, start: int = 0) -> Iterator[Batch]:
        """Shuffled whole by (seed, epoch); altered by (seed, epoch, batch)."""
        order = np.arange(self.num_rows)
        if shuffle:
            order = np.random.default_rng([self._seed, epoch]).permutation(self.num_rows)
        chunks = np.split(order, range(size, self.num_rows, size))
        for number, chunk in enumerate(chunks[start:], start):
            features = torch.from_numpy(features_of(self._levels[chunk]))
            if shuffle and self._altering is not None:
                draw = torch.Generator().manual_seed(_mixed(self._seed, epoch, number))
                features = altered(features, *self._altering, draw)
            targets, weights = (torch.tensor(a[chunk]) for a in (self._targets, self._weights))
            yield Batch((features,), targets, weights)


class ImageStreamShard:
    """A shard that is read again every epoch, in buffers that are shuffled each."""

    def __init__(
        self,
        read: Callable[[], Iterator[Arrays]],
        *,
        num_rows: int,
        seed: int,
        altering: Altering | None,
    ) -> None:
        self._read, self._seed, self._altering = read, seed, altering
        self.num_rows = num_rows

    def batches(self, *, size: int, epoch: int, shuffle: bool, start: int = 0) -> Iterator[Batch]:
        """Shuffled within buffers of BUFFER_ROWS by (seed, epoch, buffer)."""
        number = 0
        for index, buffer in enumerate(self._buffers(size)):
            seed = (self._seed * 1_009 + index) % 2**31
            shard = ImageShard(buffer, seed=seed, altering=self._altering)
            for batch in shard.batches(size=size, epoch=epoch, shuffle=shuffle):
                if number >= start:
                    yield batch
                number += 1

    def _buffers(self, size: int) -> Iterator[Arrays]:
        """Whole batches, but for the last one."""
        buffer_rows = max(BUFFER_ROWS // size, 1) * size
        held: Arrays | None = None
        for arrays in self._read():
            held = arrays if held is None else joined([held, arrays])
            while len(held[1]) > buffer_rows:
                yield _rows(held, slice(buffer_rows))
                held = _rows(held, slice(buffer_rows, None))
        if held is not None:
            yield held


def joined(parts: Sequence[Arrays]) -> Arrays:
    """All rows of several parts."""
    levels, targets, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    return levels, targets, weights


def _mixed(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _rows(arrays: Arrays, rows: slice) -> Arrays:
    levels, targets, weights = arrays
    return levels[rows], targets[rows], weights[rows]
