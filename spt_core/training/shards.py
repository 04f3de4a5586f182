"""One worker's rows, batch by batch; the order is a function of (seed, epoch).

A shard that fits in memory is shuffled whole. A larger one streams: its blocks come in a fixed
order, and a buffer is shuffled by (seed, epoch).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from spt_core.models.batch import Batch

SHUFFLE_BUFFER_ROWS = 100_000


class Shard(Protocol):
    """Rows of one worker. `batches` may be called once per epoch, from one thread."""

    num_rows: int

    def batches(self, *, size: int, epoch: int, shuffle: bool, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches in their fixed order, from batch number `start` on."""
        ...


Arrays = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


class MemoryShard:
    """A shard whose rows are all here."""

    def __init__(self, arrays: Arrays, *, seed: int) -> None:
        self._tensors = tuple(torch.from_numpy(array) for array in arrays)
        self._seed = seed
        self.num_rows = len(arrays[1])

    def batches(self, *, size: int, epoch: int, shuffle: bool, start: int = 0) -> Iterator[Batch]:
        """Shuffled whole by (seed, epoch)."""
        order = torch.arange(self.num_rows)
        if shuffle:
            generator = torch.Generator().manual_seed(self._seed * 100_003 + epoch)
            order = torch.randperm(self.num_rows, generator=generator)
        for rows in order.split(size)[start:]:
            features, targets, weights = (tensor[rows] for tensor in self._tensors)
            yield Batch((features,), targets, weights)


class StreamShard:
    """A shard that is read again every epoch, through a shuffle buffer."""

    def __init__(self, read: Callable[[], Iterator[Arrays]], *, num_rows: int, seed: int) -> None:
        self._read = read
        self._seed = seed
        self.num_rows = num_rows

    def batches(self, *, size: int, epoch: int, shuffle: bool, start: int = 0) -> Iterator[Batch]:
        """Shuffled within buffers of SHUFFLE_BUFFER_ROWS by (seed, epoch, buffer)."""
        number = 0
        for index, buffer in enumerate(self._buffers(size)):
            memory = MemoryShard(buffer, seed=(self._seed * 1_009 + index) % 2**31)
            for batch in memory.batches(size=size, epoch=epoch, shuffle=shuffle):
                if number >= start:
                    yield batch
                number += 1

    def _buffers(self, size: int) -> Iterator[Arrays]:
        wanted = max(SHUFFLE_BUFFER_ROWS // size, 1) * size
        held: list[Arrays] = []
        num_held = 0
        for arrays in self._read():
            held.append(arrays)
            num_held += len(arrays[1])
            while num_held >= wanted:
                joined = _join(held)
                yield tuple(a[:wanted] for a in joined)  # type: ignore[misc]  # three stay three
                held = [tuple(a[wanted:] for a in joined)]  # type: ignore[list-item]
                num_held -= wanted
        if num_held:
            yield _join(held)


def _join(parts: list[Arrays]) -> Arrays:
    features, targets, weights = zip(*parts, strict=True)
    return np.concatenate(features), np.concatenate(targets), np.concatenate(weights)
