"""Blocks that lose channels inside: a teacher's weights -> those of a narrower student.

What a block takes and gives stays, so that all blocks fit together as before. Of its inner channels
those stay that matter most: by the size of what they pass on, the scale of their normalisation
(Liu et al., "Learning Efficient Convolutional Networks through Network Slimming", ICCV 2017) times
the weights that read them (Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

INNER = ("expand.", "depthwise.")  # modules of a block whose outputs are its inner channels
READS = "project.convolution.weight"  # [O, inner, 1, 1]
SCALE = "depthwise.norm.weight"


def pruned(weights: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with the inner channels that a network of the shapes `like` has room for."""
    kept = dict(weights)
    for name in weights:
        block = name.removesuffix(READS)
        if block == name or name not in like:
            continue
        size, reads = like[name].shape[1], weights[name]
        if size == reads.shape[1]:
            continue
        importance = reads.abs().sum((0, 2, 3)) * weights[block + SCALE].abs()
        chosen = torch.sort(importance.topk(size).indices).values
        kept[name] = reads[:, chosen]
        for part in weights:
            if part.startswith(tuple(block + module for module in INNER)) and weights[part].ndim:
                kept[part] = weights[part][chosen]
    return kept
