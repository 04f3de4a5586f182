"""What an encoded image may be: each odd file gets an answer or one clear sentence."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from spt_core.errors import InputError
from spt_core.families.image.reading import Square, scaled
from spt_core.images import decoded, look_of, looks_of, picture_of, png
from tests.odd_images import bomb, encoded, gradient, photograph, tiff
from tests.tiny_models import tiny_image

RULE = "the field 'image' must"


def refusal(content: Any) -> str:
    with pytest.raises(InputError) as caught:
        picture_of(content, "image")
    sentence = str(caught.value)
    assert sentence.startswith(RULE)
    assert ", however: " in sentence
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_each_format_is_read(kind: str) -> None:
    picture = decoded(encoded(Image.fromarray(gradient()), kind), RULE)
    assert (picture.width_px, picture.height_px, picture.depth_bits) == (24, 24, 8)
    assert np.abs(picture.pixels.astype(int) - gradient()).max() < 8


def test_sixteen_bits_stay_sixteen_bits() -> None:
    levels = gradient().astype(np.uint16) * 200
    for content in (encoded(Image.fromarray(levels)), encoded(Image.fromarray(levels), "TIFF")):
        picture = decoded(content, RULE)
        assert picture.depth_bits == 16
        assert np.array_equal(picture.pixels, levels)


def test_an_image_stands_as_its_exif_says() -> None:
    image = Image.fromarray(gradient(16)[:8])
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    picture = decoded(encoded(image, "JPEG", exif=exif), RULE)
    assert (picture.width_px, picture.height_px) == (8, 16)
    assert picture.pixels[0].mean() < picture.pixels[-1].mean()


def test_transparent_parts_lie_on_white() -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:8, :, 3] = 255
    picture = decoded(encoded(Image.fromarray(pixels)), RULE)
    assert picture.is_gray
    assert picture.pixels[0, 0] == 0
    assert picture.pixels[-1, 0] == 255


def test_cmyk_and_palettes_become_rgb() -> None:
    red = Image.new("RGB", (16, 16), (200, 30, 40))
    for content in (encoded(red.convert("CMYK"), "JPEG"), encoded(red.convert("P"))):
        picture = decoded(content, RULE)
        assert picture.pixels.shape == (16, 16, 3)
        assert picture.pixels[8, 8, 0] > 150 > picture.pixels[8, 8, 1]


def test_gray_that_is_stored_in_color_is_gray() -> None:
    color = Image.fromarray(gradient()).convert("RGB")
    assert decoded(encoded(color, "JPEG"), RULE).is_gray


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_whose_zero_is_white_is_turned_round(bits: int) -> None:
    levels = gradient().astype(np.uint16) * 257 if bits == 16 else gradient()
    assert np.array_equal(decoded(tiff(levels, white_is_zero=False), RULE).pixels, levels)
    turned = decoded(tiff(levels, white_is_zero=True), RULE)
    assert turned.depth_bits == bits
    assert np.array_equal(turned.pixels, levels.max() - levels)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 10))
def test_each_orientation_of_exif_is_shown_as_pillow_shows_it(orientation: int, kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (10, 14, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(pixels), kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    picture = decoded(content, RULE)
    assert np.array_equal(picture.pixels, np.asarray(upright))
    assert (picture.width_px, picture.height_px) == upright.size


def large(kind: str, width: int = 2100, height: int = 1100) -> Image.Image:
    """Smooth levels with fine noise, larger than any network needs."""
    draw = np.random.default_rng(0)
    coarse = draw.integers(20, 230, (24, 24, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height))
    if kind == "L":
        return image.convert("L")
    if kind == "I;16":
        levels = np.asarray(image.convert("L")).astype(np.uint16) * 257
        return Image.fromarray(levels + draw.integers(0, 99, levels.shape, dtype=np.uint16))
    return image.convert(kind)


@pytest.mark.parametrize(
    ("kind", "form"),
    [("L", "JPEG"), ("RGB", "JPEG"), ("CMYK", "JPEG"), ("RGB", "PNG"), ("RGBA", "PNG"),
     ("P", "PNG"), ("I;16", "PNG"), ("I;16", "TIFF"), ("L", "BMP")],
)  # fmt: skip
def test_a_large_image_is_shrunk_while_it_is_decoded_and_looks_the_same(
    kind: str, form: str
) -> None:
    content = encoded(large(kind), form)
    whole, small = decoded(content, RULE), decoded(content, RULE, side_px=96)
    assert small.pixels.shape[:2] == (1100 // 2, 2100 // 4)
    assert (small.width_px, small.height_px) == (2100, 1100)
    assert (small.depth_bits, small.is_gray) == (whole.depth_bits, whole.is_gray)
    square = Square(96, 1 if whole.is_gray else 3, whole.depth_bits)
    gap = np.abs(scaled(small, square).astype(int) - scaled(whole, square)).max()
    assert gap <= (2 if whole.depth_bits == 8 else 2 * 257)


def test_a_large_image_is_the_same_as_bytes_an_array_and_a_pillow_image() -> None:
    image = large("RGB")
    pixels = picture_of(encoded(image), "image", side_px=96).pixels
    for value in (np.asarray(image), image):
        picture = picture_of(value, "image", side_px=96)
        assert np.array_equal(picture.pixels, pixels)
        assert (picture.width_px, picture.height_px) == image.size
    deep = np.asarray(image).astype(np.uint16) * 100
    small = picture_of(deep, "image", side_px=96).pixels
    assert (small.shape, small.dtype) == (pixels.shape, np.uint16)
    assert np.abs(small.astype(int) - pixels.astype(int) * 100).max() <= 100


def test_an_image_that_lies_is_shrunk_along_its_own_sides() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = decoded(encoded(large("L"), "JPEG", exif=exif), RULE, side_px=96)
    assert picture.pixels.shape == (525, 550)
    assert (picture.width_px, picture.height_px) == (1100, 2100)


def test_no_side_is_shrunk_that_is_not_twice_as_long_as_needed() -> None:
    content = encoded(large("RGB", 1023, 3000))
    assert decoded(content, RULE, side_px=96).pixels.shape == (600, 1023, 3)
    assert decoded(content, RULE, side_px=256).pixels.shape == (1500, 1023, 3)
    usual = encoded(large("RGB", 1000, 900))
    picture = decoded(usual, RULE, side_px=96)
    assert np.array_equal(picture.pixels, decoded(usual, RULE).pixels)
    assert picture.size_px is None


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (encoded(Image.fromarray(gradient()), "JPEG")[:-200], "header is truncated"),
        (encoded(Image.fromarray(gradient(200)), "JPEG")[:-200], "be a whole JPEG"),
        (tiny_image(0)[:-60], "be a whole PNG"),
        (bomb(30_000), "at most 40,000,000 pixels"),
        (bomb(7_000), "7,000 x 7,000"),
        (b"a text that is named .png\n", "it is text"),
        (b"", "it is empty"),
        (encoded(Image.fromarray(gradient()[:1, :1])), "1 x 1"),
        (b"%PDF-1.7\n\x80", "it is a PDF"),
        (b"\0" * 128 + b"DICM\x02\x00", "it is a DICOM file"),
        (b"\x01\x02\x03\x04\x05", "01 02 03 04"),
        ("%%%", "base64"),
        (
            "film.png",
            "'film.png' looks like the name of a file; send what it holds, in Python as Path",
        ),
        ("/data/plates/7.JPEG", "looks like the name of a file"),
        ("https://plant.example/7.png", "is an address; send what it holds"),
        ("it is, a text", "its character 5 is ','"),
        ("AAAA-_AA", "it is base64 for addresses, with - and _"),
        ("AAAAA", "it is cut off"),
        ("data:image/svg+xml,%3Csvg%3E", "its character 0 is '%'"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 40, "it is a HEIC"),
        ("Ein Bild für Öl".encode(), "it is text"),
        (encoded(Image.fromarray(gradient()).resize((7, 4000))), "however: 7 x 4,000"),
        ("", "it is empty"),
        (base64.b64encode(b"nothing").decode(), "it is text"),
        (None, "it is null"),
        (17, "it is 17"),
        ([1, 2], "it is a list"),
        (np.zeros((8, 8)), "float64"),
        (np.zeros((8, 8, 2), np.uint8), "8 x 8 x 2"),
        (Path("/nowhere/a.png"), "there is no file"),
    ],
)
def test_what_is_no_image_is_refused_in_a_sentence(content: Any, fact: str) -> None:
    assert fact in refusal(content)


@pytest.mark.parametrize("start", ["", " ", "data:image/png;base64,", " DATA:image/png;base64,"])
def test_base64_may_say_what_it_holds(start: str) -> None:
    content = tiny_image(0)
    text = start + base64.b64encode(content).decode()
    expected = picture_of(content, "image").pixels
    assert np.array_equal(picture_of(text, "image").pixels, expected)


def test_an_animation_is_refused() -> None:
    frames = [Image.fromarray(gradient()), Image.fromarray(gradient()[::-1])]
    gif = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert "GIF" in refusal(gif)
    tiff = encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert "it has 2" in refusal(tiff)


@pytest.mark.parametrize("side_px", [None, 16])
def test_of_a_phone_s_jpeg_the_photograph_counts(side_px: int | None) -> None:
    pixels = np.dstack([gradient(1100), gradient(1100).T, gradient(1100)])[:1060]
    shown = Image.fromarray(pixels)
    behind = Image.fromarray(255 - gradient(40))
    exif = shown.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    content = photograph(shown, behind, exif=exif)
    with Image.open(io.BytesIO(content)) as opened:
        assert (opened.format, opened.n_frames) == ("MPO", 2)
    picture = decoded(content, RULE, side_px=side_px)
    alone = decoded(encoded(shown, "JPEG", exif=exif), RULE, side_px=side_px)
    assert (picture.width_px, picture.height_px) == (1060, 1100)
    assert np.array_equal(picture.pixels, alone.pixels)


def test_a_photograph_that_is_cut_off_is_no_whole_jpeg() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
    content = photograph(Image.fromarray(noise), Image.fromarray(gradient()))
    assert "be a whole JPEG" in refusal(content[: len(content) // 2])


def test_levels_of_floating_point_are_refused() -> None:
    image = Image.fromarray(gradient().astype(np.float32))
    assert "floating point" in refusal(encoded(image, "TIFF"))


def test_an_image_comes_as_bytes_base64_a_file_pixels_or_a_pillow_image(tmp_path: Path) -> None:
    content = png(gradient())
    (tmp_path / "a.png").write_bytes(content)
    text = base64.b64encode(content).decode()
    for value in (
        content,
        text,
        f"data:image/png;base64,{text}",
        tmp_path / "a.png",
        gradient(),
        Image.fromarray(gradient()),
    ):
        assert np.array_equal(picture_of(value, "image").pixels, gradient())


def test_the_same_picture_in_another_file_looks_alike_and_others_do_not() -> None:
    pictures = [decoded(tiny_image(seed), RULE) for seed in range(30)]
    copies: list[bytes] = []
    for picture in pictures:
        large = Image.fromarray(picture.pixels).resize((100, 90))
        copies.append(look_of(decoded(encoded(large, "JPEG", quality=60), RULE)))
    looks = looks_of([look_of(picture) for picture in pictures])
    correlation = looks_of(copies) @ looks.T
    assert correlation.diagonal().min() > 0.99
    assert (correlation - np.eye(30)).max() < 0.99
