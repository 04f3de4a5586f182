"""One worker's rows, batch by batch; the order is a function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch


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
