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
    member_targets = targets[:, None].expand_as(logits)
    losses = binary_cross_entropy_with_logits(logits, member_targets, reduction="none").mean(1)
    return (losses * weights).sum() / weights.sum().clamp_min(1e-12)


def binary_mean_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross-entropy of the members' mean probability; shapes as in `binary_loss`."""
    probability = logits.float().sigmoid().mean(1).clamp(1e-7, 1 - 1e-7)
    losses = binary_cross_entropy(probability, targets, weights, reduction="sum")
    return losses / weights.sum().clamp_min(1e-12)


def of_members(loss: Loss) -> Loss:
    """A loss of each of several members by itself: logits [B, k, K], targets [B, K]."""

    def each(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        size = logits.shape[1]
        return loss(
            logits.flatten(0, 1),
            targets.repeat_interleave(size, 0),
            weights.repeat_interleave(size, 0),
        )

    return each


def class_mean_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross-entropy of the mean probabilities of members [B, k, K]."""
    probabilities = logits.softmax(2).mean(1).clamp_min(1e-7)
    return _mean(-(targets * probabilities.log()).sum(1), weights)


def rank_mean_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of the cuts' summed cross-entropies at members' mean probabilities."""
    probabilities = logits.sigmoid().mean(1).clamp(1e-7, 1 - 1e-7)
    losses = binary_cross_entropy(probabilities, targets, reduction="none")
    return _mean(losses.sum(1), weights)


def value_mean_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean squared error of the members' mean value; quantiles [:, 1:] have no target."""
    return squared_error(logits.mean(1)[:, :1], targets[:, :1], weights)


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
