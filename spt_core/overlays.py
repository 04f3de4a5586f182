"""What an answer about an image rests on, drawn: image + a map of its places -> PNG.

The map comes out of the same graph as the scores (families/image/network.py): what each place of a
coarse grid adds to the log-odds of a class, the class activation map of Zhou et al., "Learning deep
features for discriminative localization" (2016), signed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spt_core.errors import InputError
from spt_core.images import OVERSAMPLING, picture_of, planes_of, png, resized

_RED, _BLUE = np.array([220, 30, 30]), np.array([40, 90, 220])  # speaks for, speaks against
_OPACITY = 0.55  # of the strongest place

Grid = Sequence[Sequence[float]]


def upsampled(effects: Grid, width_px: int, height_px: int) -> NDArray[np.float32]:
    """A map [h, w] at the size of its image [height_px, width_px], by bilinear interpolation.

    `effects` are those of an answer (`attention_map`, `location`) or of an AttentionMap: each is
    what a place adds to the log-odds. InputError where they are no grid of numbers.
    """
    try:
        values = np.array(effects, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"effects must be rows of numbers, however: {error}") from error
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise InputError(
            "effects must be rows of finite numbers, all of one length, however: their shape is "
            f"{values.shape}"
        )
    return resized(values, width_px, height_px)


def overlay(image: object, effects: Grid, *, longest_px: int | None = None) -> bytes:
    """The image as PNG, red where a place speaks for the class, blue where against it.

    Args:
        image: what a model's verb takes: encoded bytes, their base64, a Path, pixels, a Pillow
            image. InputError says what is wrong with it.
        effects: the map, as `upsampled` takes it; without any (nothing was found) the image is
            shown as it is.
        longest_px: the longer side of the PNG; the image's own size without it.
    """
    side_px = None if longest_px is None else math.ceil(longest_px / OVERSAMPLING)
    picture = picture_of(image, "image", side_px=side_px)
    size = picture.width_px, picture.height_px
    if longest_px is not None:
        size = tuple(max(round(side * longest_px / max(size)), 1) for side in size)
    planes = planes_of(picture, *size)
    shown = np.stack(planes * 3 if picture.is_gray else planes, 2)
    shown *= np.float32(255.0 / np.iinfo(picture.pixels.dtype).max)
    if len(effects):
        grown = upsampled(effects, *size)
        share = (grown / max(float(np.abs(grown).max()), 1e-9))[:, :, None]
        opacity = _OPACITY * np.abs(share)
        shown = shown * (1 - opacity) + np.where(share > 0, _RED, _BLUE) * opacity
    return png(np.clip(np.rint(shown), 0, 255).astype(np.uint8))
