"""Encoded images -> checked pixels, the same for files of a corpus and for requests.

PNG, JPEG, TIFF and BMP of one frame; gray or color, 8 or 16 bits. Of a phone's JPEG that holds
other pictures behind its photograph (a depth or gain map) the photograph counts. The header says
how large an image is before anything of it is decoded, and whoever needs a small one gets one that
is shrunk while it is decoded: of 40 million pixels a fortieth is ever held in color or compared.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spt_core.errors import InputError, shown

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp")
MAX_PIXELS = 40_000_000  # of an image, before it is decoded
MAX_BYTES = 20_000_000  # of an encoded image
MIN_SIDE_PX = 8
MAX_PATH = 300  # characters of a text that an error shows as the name of a file
# No side is shrunk below this, nor below OVERSAMPLING times the side that is asked for.
SHRUNK_SIDE_PX = 512
OVERSAMPLING = 4
STRIP_PIXELS = 1 << 20  # that are converted at a time
GRAY_TOLERANCE = 2  # between the channels of an image that is gray; JPEG rounds
MAX_LEVEL = 65_535  # of 16 bits
LOOK_SIDE = 16
_LOOK_SCALE = 32.0  # steps of a standard deviation

Pixels: TypeAlias = NDArray[np.unsignedinteger[Any]]  # uint8 or uint16

# What other files begin with, for whoever sends one.
_SIGNATURES = (
    (b"GIF8", "it is a GIF, which may hold several frames; send the one frame as PNG"),
    (b"%PDF", "it is a PDF"),
    (b"\x00\x00\x00\x0cJXL", "it is a JPEG XL"),
    (b"\x00\x00\x00\x0cjP", "it is a JPEG 2000"),
    (b"RIFF", "it is a WebP or another RIFF file"),
    (b"\xff\xd8\xff", "it is a JPEG whose header is truncated or damaged"),
    (b"\x89PNG", "it is a PNG whose header is truncated or damaged"),
    (b"II*\0", "it is a TIFF whose header is truncated or damaged"),
    (b"MM\0*", "it is a TIFF whose header is truncated or damaged"),
    (b"BM", "it is a BMP whose header is truncated or damaged"),
)
_CONTAINER = b"ftyp"  # behind four bytes of length
_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/=\s]")
_DICOM_AT = 128  # where a DICOM file says that it is one
# Tags of TIFF and EXIF.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _ORIENTATION = 258, 262, 274
_WHITE_IS_ZERO = 0


class Picture(NamedTuple):
    """A decoded image: pixels [H, W] of a gray one, [H, W, 3] of one in color; uint8 or uint16.

    Of a shrunk one `size_px` is the width and the height that it came with.
    """

    pixels: Pixels
    size_px: tuple[int, int] | None = None

    @property
    def width_px(self) -> int:
        """The number of columns that it came with."""
        return self.pixels.shape[1] if self.size_px is None else self.size_px[0]

    @property
    def height_px(self) -> int:
        """The number of rows that it came with."""
        return self.pixels.shape[0] if self.size_px is None else self.size_px[1]

    @property
    def depth_bits(self) -> int:
        """8 or 16."""
        return 8 * self.pixels.dtype.itemsize

    @property
    def is_gray(self) -> bool:
        """Whether there is one channel."""
        return self.pixels.ndim == 2


def picture_of(value: object, name: str, *, side_px: int | None = None) -> Picture:
    """The image that a request holds: encoded bytes, their base64, a path, or pixels.

    Pixels are an array [H, W] or [H, W, 3] of uint8 or uint16, or a Pillow image. With `side_px`
    it may be shrunk, as `decoded` says. InputError says in one sentence what is wrong with the
    field `name`.
    """
    rule = f"the field {name!r} must"
    if isinstance(value, str):
        return decoded(from_base64(value, rule), rule, side_px=side_px)
    if isinstance(value, bytes | bytearray | memoryview):
        return decoded(bytes(value), rule, side_px=side_px)
    if isinstance(value, Path):
        if not value.is_file():
            raise InputError(f"{rule} be an image, however: there is no file {value}")
        return decoded(value.read_bytes(), rule, side_px=side_px)
    if type(value).__module__.startswith("PIL."):
        value = _pixels(value, rule)
    if isinstance(value, np.ndarray):
        _check(value, rule)
        height, width = value.shape[:2]
        small = _reduced(value, _factors((width, height), side_px))
        return _picture(small, (width, height))
    raise InputError(f"{rule} be an image in base64, however: it is {shown(value)}")


def from_base64(text: str, rule: str) -> bytes:
    """What base64 text holds, with or without `data:image/png;base64,` in front of it."""
    text = text.strip()
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    if not text.strip():
        raise InputError(f"{rule} be an image in base64, however: it is empty")
    if len(text) > MAX_BYTES * 3 // 2:  # with line breaks
        raise InputError(f"{rule} hold at most {MAX_BYTES:,} bytes, however: it holds more")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        is_short = len(text) <= MAX_PATH
        if is_short and text.lower().startswith(("http://", "https://")):
            raise InputError(
                f"{rule} be an image in base64, however: {text!r} is an address; send what it holds"
            ) from error
        if is_short and text.lower().endswith(SUFFIXES):
            raise InputError(
                f"{rule} be an image in base64, however: {text!r} looks like the name of a file; "
                "send what it holds, in Python as Path(...) or bytes"
            ) from error
        raise InputError(f"{rule} be an image in base64, however: {_no_base64(text)}") from error


def _no_base64(text: str) -> str:
    """Why a text is no base64."""
    wrong = _NO_BASE64.search(text)
    if wrong is None:
        return "it is cut off, or its end has not the = that it needs"
    if not _NO_BASE64.search(text.replace("-", "+").replace("_", "/")):
        return "it is base64 for addresses, with - and _; send it with + and /"
    return f"its character {wrong.start()} is {wrong.group()!r}"


def num_pixels_of(value: object) -> int:
    """The pixels of an encoded image, or of its base64, by its header alone.

    0 where there is no such header: who reads the image says what is wrong with it.
    """
    try:
        content = from_base64(value, "") if isinstance(value, str) else value
        width, height = _opened(content, "").size if isinstance(content, bytes) else (0, 0)
    except InputError:
        return 0
    return width * height


def decoded(content: bytes, rule: str, *, side_px: int | None = None) -> Picture:
    """The image of encoded bytes, upright as its EXIF says; `rule` begins the error's sentence.

    Palettes are resolved, CMYK becomes RGB, transparent parts lie on white, a TIFF whose zero is
    white is turned round. What is stored in color and has three equal channels is gray. Color of 16
    bits is read with 8.

    Whoever needs a square of `side_px` gets each side that is twice as long as needed or longer
    (OVERSAMPLING times `side_px`, SHRUNK_SIDE_PX at least) divided by a whole number: means of
    boxes of pixels, of a JPEG those that its own transform gives. Other images stay as they are.
    """
    image = _opened(content, rule)
    size = image.size
    across, down = _factors(size, side_px)
    try:
        # A JPEG alone does so: it is decoded at a half, a quarter or an eighth.
        image.draft(None, (size[0] // across, size[1] // down))
        image.load()
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception as error:
        fact = " ".join(str(error).split())[:120] or type(error).__name__
        kind = "JPEG" if image.format == "MPO" else image.format
        raise InputError(f"{rule} be a whole {kind}, however: {fact}") from error
    pixels = _strips(image, rule, _factors(image.size, side_px))
    if image.format == "TIFF" and image.mode.startswith("I;16"):  # of 8 bits Pillow does so itself
        tags = image.tag_v2
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            pixels = np.uint16((1 << tags[_BITS_PER_SAMPLE][0]) - 1) - pixels
    _check(pixels, rule)
    return _picture(_upright(pixels, orientation), size[::-1] if orientation in _LYING else size)


def _opened(content: bytes, rule: str) -> Any:  # of Pillow
    """An image of which the header alone was read; InputError where that says enough."""
    from PIL import Image  # only whoever has images waits for it

    if len(content) > MAX_BYTES:
        raise InputError(f"{rule} hold at most {MAX_BYTES:,} bytes, however: {len(content):,}")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{rule} have at most {MAX_PIXELS:,} pixels, however: its header says more"
        ) from error
    except Exception as error:  # decoders raise a dozen unrelated kinds
        raise InputError(
            f"{rule} be a PNG, JPEG, TIFF or BMP, however: {_kind(content)}"
        ) from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{rule} have at most {MAX_PIXELS:,} pixels, however: {width:,} x {height:,}"
        )
    if min(width, height) < MIN_SIDE_PX:  # before it is shrunk
        raise _wrong_size(rule, width, height)
    # Of a JPEG with more pictures behind it (MPO, by which Pillow knows it) the first is the one.
    num_frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if num_frames > 1:
        raise InputError(f"{rule} be one frame, however: it has {num_frames}")
    return image


def look_of(picture: Picture) -> bytes:
    """How an image looks: 16 x 16 levels, standardized, a byte each.

    Those of one image in other files (smaller, of another format or quality) correlate by 0.995 or
    more; of 100,000 pairs of different images, X-rays and rolled steel, one reached 0.991.
    """
    small = np.mean(planes_of(picture, LOOK_SIDE, LOOK_SIDE), 0)
    levels = (small - small.mean()) / max(float(small.std()), 1e-6)
    return np.clip(np.rint(levels * _LOOK_SCALE) + 128, 0, 255).astype(np.uint8).tobytes()


def looks_of(looks: Sequence[bytes]) -> NDArray[np.float32]:
    """Looks as unit vectors [N, 256]: their products are correlations; zeros where all is one."""
    levels = np.frombuffer(b"".join(looks), np.uint8).reshape(len(looks), -1).astype(np.float32)
    levels = levels - levels.mean(1, keepdims=True)
    return levels / np.maximum(np.linalg.norm(levels, axis=1, keepdims=True), 1e-6)


def planes_of(picture: Picture, width_px: int, height_px: int) -> list[NDArray[np.float32]]:
    """Each channel of a picture at another size; one after the other, as a large one takes much."""
    pixels = picture.pixels
    channels = [pixels] if picture.is_gray else [pixels[:, :, number] for number in range(3)]
    return [resized(plane.astype(np.float32), width_px, height_px) for plane in channels]


def resized(values: NDArray[np.float32], width_px: int, height_px: int) -> NDArray[np.float32]:
    """Values [H, W] at another size, each the weighted mean of those that it covers."""
    from PIL import Image

    image = Image.fromarray(values)
    return np.asarray(image.resize((width_px, height_px), Image.Resampling.BILINEAR))


def png(pixels: Pixels) -> bytes:
    """Pixels [H, W] or [H, W, 3] as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


_LYING = (5, 6, 7, 8)  # orientations of EXIF in which rows are stored as columns


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Pixels as EXIF's orientation (1 to 8; others say nothing) wants them shown."""
    turned = pixels.swapaxes(0, 1) if orientation in _LYING else pixels
    down, across = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return turned[:: -1 if down else 1, :: -1 if across else 1]


def _factors(size: tuple[int, int], side_px: int | None) -> tuple[int, int]:
    """By how much the width and the height are divided."""
    if side_px is None:
        return 1, 1
    least = max(SHRUNK_SIDE_PX, OVERSAMPLING * side_px)
    return max(size[0] // least, 1), max(size[1] // least, 1)


def _strips(image: Any, rule: str, factors: tuple[int, int]) -> Pixels:
    """The pixels of an image, a strip at a time where they are shrunk, so that few are held."""
    if factors == (1, 1):
        return _pixels(image, rule)
    across, down = factors
    width, height = image.size
    rows = down * max(STRIP_PIXELS // (width * down), 1)
    boxes = [(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]
    return np.concatenate(
        [_reduced(_pixels(image.crop(box), rule), (across, down)) for box in boxes]
    )


def _reduced(pixels: Pixels, factors: tuple[int, int]) -> Pixels:
    """Means of boxes of pixels, rounded."""
    from PIL import Image

    if factors == (1, 1):
        return pixels
    if pixels.dtype == np.uint8:
        return np.asarray(Image.fromarray(pixels).reduce(factors))
    if pixels.ndim == 3:
        return np.dstack([_reduced(pixels[:, :, channel], factors) for channel in range(3)])
    means = Image.fromarray(pixels.astype(np.float32)).reduce(factors)
    return np.rint(np.asarray(means)).astype(np.uint16)


def _pixels(image: Any, rule: str) -> NDArray[Any]:  # of Pillow; its modes are texts
    mode = image.mode
    if mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16, copy=False)
    if mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > MAX_LEVEL:
            raise InputError(f"{rule} have 8 or 16 bits, however: it has levels beyond 16")
        return values.astype(np.uint16)
    if mode == "F":
        raise InputError(f"{rule} have 8 or 16 bits, however: its pixels are floating point")
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        from PIL import Image

        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, seen).convert("RGB"))
    if mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    if mode in ("P", "RGB", "CMYK", "YCbCr"):
        return np.asarray(image.convert("RGB"))
    raise InputError(f"{rule} be gray, RGB or CMYK, however: its mode is {mode}")


def _check(pixels: NDArray[Any], rule: str) -> None:
    if pixels.dtype != np.uint8 and pixels.dtype != np.uint16:
        raise InputError(f"{rule} hold pixels of 8 or 16 bits, however: they are {pixels.dtype}")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        shape = " x ".join(str(size) for size in pixels.shape)
        raise InputError(f"{rule} have the shape H x W or H x W x 3, however: {shape}")
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE_PX or width * height > MAX_PIXELS:
        raise _wrong_size(rule, width, height)


def _wrong_size(rule: str, width: int, height: int) -> InputError:
    return InputError(
        f"{rule} have {MIN_SIDE_PX} x {MIN_SIDE_PX} to {MAX_PIXELS:,} pixels, however: "
        f"{width:,} x {height:,}"
    )


def _picture(pixels: Pixels, size: tuple[int, int]) -> Picture:
    """Pixels, one channel of them where all are equal, of an image that came with this size."""
    if pixels.ndim == 3:
        red, green, blue = (pixels[:, :, channel] for channel in range(3))
        greatest = np.maximum(np.maximum(red, green), blue)
        spread = greatest - np.minimum(np.minimum(red, green), blue)
        if int(spread.max()) <= GRAY_TOLERANCE:
            pixels = green
    is_whole = pixels.shape[:2] == size[::-1]
    return Picture(np.ascontiguousarray(pixels), None if is_whole else size)


def _kind(content: bytes) -> str:
    """What bytes are that are no image."""
    if not content:
        return "it is empty"
    if content[_DICOM_AT : _DICOM_AT + 4] == b"DICM":
        return "it is a DICOM file; export its frame as PNG of 16 bits"
    for signature, kind in _SIGNATURES:
        if content.startswith(signature):
            return kind
    if content[4:8] == _CONTAINER:
        return "it is a HEIC, AVIF or another file of that container; save it as JPEG or PNG"
    head = content[:64]
    words = head.decode("utf-8", "ignore")  # whose last letter may be cut
    is_cut_alone = len(head) - len(words.encode()) < (4 if len(content) > len(head) else 1)
    if is_cut_alone and all(letter.isprintable() or letter in "\t\n\r" for letter in words):
        return "it is text"
    return f"it begins with the bytes {head[:4].hex(' ')}"
