"""Scores many images with a network, a few at a time: levels -> logits, or figures to compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spt_core.families.image.network import ImageNetwork
from spt_core.families.image.reading import features_of
from spt_core.images import Pixels

PASS_IMAGES = 64
Floats = NDArray[np.float64]


def score_images(network: ImageNetwork, levels: Pixels) -> Floats:
    """Uncalibrated logits [N, K]."""
    return passed(network, network, levels)


def figures_of(network: ImageNetwork, levels: Pixels) -> Floats:
    """What images are compared with training images by [N, D]."""
    return passed(network, network.figures, levels)


@torch.no_grad()
def passed(network: ImageNetwork, method: Callable[[Any], Any], levels: Pixels) -> Floats:
    """What a method of the network says of images [N, C, S, S]."""
    network.eval()
    parts = [
        method(torch.from_numpy(features_of(levels[start : start + PASS_IMAGES])))
        for start in range(0, len(levels), PASS_IMAGES)
    ]
    return torch.cat(parts).double().numpy()
