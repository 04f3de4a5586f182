"""What networks of any family are trained on."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Batch(NamedTuple):
    """What a network takes, and what its N logits are held against.

    Tables: inputs are features float32 [B, F], targets float32 [B] in [0, 1]. Texts: see
    `token_rows.py`. Weights are float32 [N].
    """

    inputs: tuple[torch.Tensor, ...]
    targets: torch.Tensor
    weights: torch.Tensor
    states: torch.Tensor | None = None  # what a student's mean token states should be [W, H]
