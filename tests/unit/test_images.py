"""What an encoded image may be: each odd file gets an answer or one clear sentence."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spt_core.errors import InputError
from spt_core.images import decoded, look_of, looks_of, picture_of, png
from tests.odd_images import bomb, encoded, gradient
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
        ("", "it is empty"),
        (base64.b64encode(b"nothing").decode(), "it is text"),
        (None, "it is null"),
        (17, "it is int"),
        ([1, 2], "it is list"),
        (np.zeros((8, 8)), "float64"),
        (np.zeros((8, 8, 2), np.uint8), "8 x 8 x 2"),
        (Path("/nowhere/a.png"), "there is no file"),
    ],
)
def test_what_is_no_image_is_refused_in_a_sentence(content: Any, fact: str) -> None:
    assert fact in refusal(content)


def test_an_animation_is_refused() -> None:
    frames = [Image.fromarray(gradient()), Image.fromarray(gradient()[::-1])]
    gif = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert "GIF" in refusal(gif)
    tiff = encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert "it has 2" in refusal(tiff)


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
