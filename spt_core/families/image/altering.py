"""Images altered so that their label stays: turned, zoomed, moved, mirrored, brighter or darker."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from spt_core.families.image.config import Variation


def altered(
    features: Tensor, variation: Variation, symmetries: Sequence[str], draw: torch.Generator
) -> Tensor:
    """Each image [B, C, S, S] in [0, 1] altered for itself; mirrored only by its symmetries."""
    size = len(features)

    def uniform(reach: float) -> Tensor:
        return (2.0 * torch.rand(size, generator=draw) - 1.0) * reach

    angle = uniform(math.radians(variation.turn_degrees))
    if "quarter_turn" in symmetries:
        angle = angle + torch.randint(4, (size,), generator=draw) * (math.pi / 2)
    zoom = 1.0 + uniform(variation.zoom)
    across = zoom * _sign(size, "left_right" in symmetries, draw)
    down = zoom * _sign(size, "top_bottom" in symmetries, draw)
    cosine, sine = angle.cos(), angle.sin()
    moved = [uniform(2.0 * variation.shift) for _ in "xy"]
    places = torch.stack(
        [
            torch.stack([cosine * across, -sine * down, moved[0]], 1),
            torch.stack([sine * across, cosine * down, moved[1]], 1),
        ],
        1,
    )
    grid = functional.affine_grid(places, list(features.shape), align_corners=False)
    # Reflected at the border: a black one would be a feature of altered images alone.
    seen = functional.grid_sample(
        features, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    level = seen.mean((1, 2, 3), keepdim=True)
    gain, offset = 1.0 + uniform(variation.contrast), uniform(variation.contrast)
    spread = seen.std((1, 2, 3), keepdim=True)
    seen = (seen - level) * gain.view(-1, 1, 1, 1) + level + offset.view(-1, 1, 1, 1) * spread
    return seen.clamp(0.0, 1.0)


def _sign(size: int, is_mirrored: bool, draw: torch.Generator) -> Tensor:
    if not is_mirrored:
        return torch.ones(size)
    return 2.0 * torch.randint(2, (size,), generator=draw) - 1.0
