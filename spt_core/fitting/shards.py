"""One worker's rows, batch by batch; the order is a function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def joined(parts: Sequence[Arrays]) -> Arrays:
    """Rows one after the other."""
    inputs, targets, weights = zip(*parts, strict=True)
    return np.concatenate(inputs), np.concatenate(targets), np.concatenate(weights)
