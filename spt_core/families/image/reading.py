"""Images -> the levels that networks take: the one encoder of training, batches and serving.

No torch here. An image of any size is scaled to the network's square, its sides each for itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spt_core.images import MAX_LEVEL, Picture, Pixels, decoded, planes_of

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_TOP_LEVELS = {8: 255, 16: MAX_LEVEL}
_TYPES: Mapping[int, type[np.uint8] | type[np.uint16]] = {8: np.uint8, 16: np.uint16}


class Square(NamedTuple):
    """What a network takes of images: the side of its square, channels (1 or 3), bits (8 or 16)."""

    size_px: int
    channels: int
    depth_bits: int

    @property
    def row_bytes(self) -> int:
        """What an image takes."""
        return self.channels * self.size_px**2 * self.depth_bits // 8


def square_of(config: Mapping[str, Any], facts: Mapping[str, Any]) -> Square:
    """The square of a model's network configuration and facts."""
    return Square(config["size_px"], facts["channels"], facts["depth_bits"])


def scaled(picture: Picture, square: Square) -> Pixels:
    """The levels [C, S, S] of a picture, of as many bits and channels as the network knows.

    Color becomes luminance where there is one channel, gray is repeated where there are three; 16
    bits become 8 by division, 8 become 16 by multiplication.
    """
    small = planes_of(picture, square.size_px, square.size_px)
    if square.channels == 1 and len(small) > 1:
        small = [np.stack(small, 2) @ LUMINANCE]
    stacked = np.stack(small if len(small) == square.channels else small * square.channels)
    if picture.depth_bits != square.depth_bits:
        stacked = stacked * (_TOP_LEVELS[square.depth_bits] / _TOP_LEVELS[picture.depth_bits])
    return np.rint(stacked).astype(_TYPES[square.depth_bits])


def levels_of(contents: Sequence[bytes], square: Square) -> Pixels:
    """The levels [N, C, S, S] of encoded images that were checked before."""
    shape = (0, square.channels, square.size_px, square.size_px)
    pictures = (decoded(content, "an image must", side_px=square.size_px) for content in contents)
    some = [scaled(picture, square) for picture in pictures]
    return np.stack(some) if some else np.empty(shape, _TYPES[square.depth_bits])


def features_of(levels: Pixels) -> NDArray[np.float32]:
    """Levels as a network takes them: float32 in [0, 1]."""
    return levels.astype(np.float32) / np.float32(np.iinfo(levels.dtype).max)


def unpacked(rows: Sequence[bytes], square: Square) -> Pixels:
    """Levels [N, C, S, S] of rows of bytes, as Ray Data carries them."""
    shape = (len(rows), square.channels, square.size_px, square.size_px)
    flat = np.frombuffer(b"".join(rows), _TYPES[square.depth_bits])
    return flat.reshape(shape)
