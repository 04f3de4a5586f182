"""Losses of the answer kinds."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # mean, of logits, targets and weights of a batch


def binary_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross-entropy; logits [B, k], targets [B] in [0, 1], soft too, weights [B].

    Each of the k members is trained by itself, as TabM asks (Gorishniy et al., ICLR 2025).
    """
    wanted = targets[:, None].expand_as(logits)
    losses = binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(1)
    return (losses * weights).sum() / weights.sum().clamp_min(1e-12)


def binary_mean_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross-entropy of the members' mean probability; shapes as in `binary_loss`."""
    probability = logits.float().sigmoid().mean(1).clamp(1e-7, 1 - 1e-7)
    losses = binary_cross_entropy(probability, targets, weights, reduction="sum")
    return losses / weights.sum().clamp_min(1e-12)


def soft_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross-entropy of logits with target distributions, both [N, K]."""
    return _mean(-(targets * logits.log_softmax(1)).sum(1), weights)


def labelwise_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over items of the classes' summed binary cross-entropies; targets [N, K]."""
    losses = binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return _mean(losses.sum(1), weights)


def squared_error(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean squared error of values, both [N, 1]."""
    return _mean((logits - targets).square().sum(1), weights)


def _mean(losses: Tensor, weights: Tensor) -> Tensor:
    return (losses * weights).sum() / weights.sum().clamp_min(1e-12)
