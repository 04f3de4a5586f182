"""Odd images that people send, with what is said of each; a corpus and a service get the same."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from spt_core.images import png


def encoded(image: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    """The bytes of a Pillow image."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def gradient(side: int = 24) -> np.ndarray:
    """Levels [S, S] that grow to the right."""
    return np.tile(np.linspace(0, 255, side).astype(np.uint8), (side, 1))


def bomb(side_px: int) -> bytes:
    """A PNG whose header declares a square, with nearly nothing behind it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


def tiff(levels: np.ndarray, *, white_is_zero: bool) -> bytes:
    """A gray TIFF of levels [H, W] as they are stored; Pillow writes none whose zero is white."""
    height, width = levels.shape
    content = levels.astype(levels.dtype.newbyteorder("<")).tobytes()
    photometric, bits = int(not white_is_zero), 8 * levels.dtype.itemsize
    fields = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 0)]
    fields += [(277, 1), (278, height), (279, len(content))]
    start = 8 + 2 + 12 * len(fields) + 4
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value) for tag, value in fields
    )
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + b"\0" * 4 + content


def _turned() -> bytes:
    image = Image.fromarray(gradient(16)[:8])
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    return encoded(image, "JPEG", exif=exif)


def _transparent() -> bytes:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:8, :, 3] = 255
    return encoded(Image.fromarray(pixels))


_FRAMES = (Image.fromarray(gradient()), Image.fromarray(gradient()[::-1]))


def photograph(first: Image.Image, second: Image.Image, **more: Any) -> bytes:
    """A JPEG with a second picture behind it, as phones write them."""
    return encoded(first, "MPO", save_all=True, append_images=[second], **more)


# What is refused, with a part of the sentence.
REFUSED: Mapping[str, tuple[bytes, str]] = {
    "a truncated JPEG": (encoded(Image.fromarray(gradient(200)), "JPEG")[:-200], "whole JPEG"),
    "a JPEG of a header": (encoded(_FRAMES[0], "JPEG")[:-200], "header is truncated"),
    "a bomb": (bomb(30_000), "at most 40,000,000 pixels"),
    "an animated GIF": (
        encoded(_FRAMES[0], "GIF", save_all=True, append_images=_FRAMES[1:]),
        "it is a GIF",
    ),
    "an animated PNG": (
        encoded(_FRAMES[0], save_all=True, append_images=[_FRAMES[0].rotate(90)]),
        "it has 2",
    ),
    "an animated WebP": (
        encoded(_FRAMES[0], "WEBP", save_all=True, append_images=[_FRAMES[0].rotate(90)]),
        "it is a WebP",
    ),
    "a TIFF of two pages": (
        encoded(_FRAMES[0], "TIFF", save_all=True, append_images=_FRAMES[1:]),
        "it has 2",
    ),
    "a text": (b"a text that is named .png\n", "it is text"),
    "one pixel": (encoded(Image.fromarray(gradient()[:1, :1])), "1 x 1"),
    "nothing": (b"", "it is empty"),
}
# What is answered, and whether a model of gray images of 8 bits warns of it whatever it shows.
ANSWERED: Mapping[str, tuple[bytes, bool]] = {
    "CMYK": (encoded(Image.new("RGB", (16, 16), (200, 30, 40)).convert("CMYK"), "JPEG"), True),
    "alpha": (_transparent(), False),
    "turned by EXIF": (_turned(), False),
    "a JPEG with a map behind it": (photograph(_FRAMES[0], _FRAMES[0].rotate(90)), False),
    "another size": (png(gradient(90)[:40]), False),
    "another depth": (png(gradient().astype(np.uint16) * 200), True),
}
