"""One worker's rows, batch by batch; the order is a function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

# Inputs [N, ...], targets and weights of rows, where a row has one of each.
Arrays = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


class Batch(NamedTuple):
    """What a network takes, and what its N scores are held against.

    Shapes are the family's: tables have features float32 [B, F] and targets float32 [B, K], texts
    see families/text/token_rows.py. Weights are float32 [N]; `states` are what a student's mean
    token states should be [W, H].
    """

    inputs: tuple[torch.Tensor, ...]
    targets: torch.Tensor
    weights: torch.Tensor
    states: torch.Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return Batch(
            tuple(tensor.to(device) for tensor in self.inputs),
            self.targets.to(device),
            self.weights.to(device),
            None if self.states is None else self.states.to(device),
        )


class Shard(Protocol):
    """Rows of one worker. `batches` may be called once per epoch, from one thread."""

    num_rows: int

    def batches(self, *, size: int, epoch: int, shuffle: bool, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches in their fixed order, from batch number `start` on."""
        ...


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
            inputs, targets, weights = (tensor[rows] for tensor in self._tensors)
            yield Batch((inputs,), targets, weights)


class StreamShard:
    """A shard that is read again every epoch, through a buffer of about `buffer_rows`."""

    def __init__(
        self, read: Callable[[], Iterator[Arrays]], *, num_rows: int, buffer_rows: int, seed: int
    ) -> None:
        self._read, self._buffer_rows, self._seed = read, buffer_rows, seed
        self.num_rows = num_rows

    def batches(self, *, size: int, epoch: int, shuffle: bool, start: int = 0) -> Iterator[Batch]:
        """Shuffled within buffers by (seed, epoch, buffer)."""
        number = 0
        for index, buffer in enumerate(self._buffers(size)):
            memory = MemoryShard(buffer, seed=(self._seed * 1_009 + index) % 2**31)
            for batch in memory.batches(size=size, epoch=epoch, shuffle=shuffle):
                if number >= start:
                    yield batch
                number += 1

    def _buffers(self, size: int) -> Iterator[Arrays]:
        most = max(self._buffer_rows // size, 1) * size
        held: list[Arrays] = []
        num_held = 0
        for arrays in self._read():
            held.append(arrays)
            num_held += len(arrays[1])
            while num_held >= most:
                inputs, targets, weights = joined(held)
                yield inputs[:most], targets[:most], weights[:most]
                held = [(inputs[most:], targets[most:], weights[most:])]
                num_held -= most
        if num_held:
            yield joined(held)


def joined(parts: Sequence[Arrays]) -> Arrays:
    """Rows one after the other."""
    inputs, targets, weights = zip(*parts, strict=True)
    return np.concatenate(inputs), np.concatenate(targets), np.concatenate(weights)
