"""Losses of the answer kinds."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def binary_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross-entropy; logits [B, k], targets [B] in [0, 1], soft too, weights [B].

    Each of the k members is trained by itself, as TabM asks (Gorishniy et al., ICLR 2025).
    """
    wanted = targets[:, None].expand_as(logits)
    losses = binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(1)
    return (losses * weights).sum() / weights.sum().clamp_min(1e-12)
