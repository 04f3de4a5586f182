"""A map of an image's places at its size, as numbers and as a picture."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spt_core.errors import InputError
from spt_core.images import Pixels, decoded, png
from spt_core.judgement import AttentionMap
from spt_core.overlays import overlay, upsampled

GRAY = np.full((32, 64), 120, np.uint8)
EFFECTS = ((2.0, 0.0, 0.0, -2.0), (0.0, 0.0, 0.0, 0.0))


def drawn(content: bytes) -> Pixels:
    return decoded(content, "it must").pixels


def test_a_map_grows_to_the_size_of_its_image_by_interpolation() -> None:
    assert upsampled([[1.0, 3.0]], 8, 2).tolist() == [[1, 1, 1.25, 1.75, 2.25, 2.75, 3, 3]] * 2
    attention = AttentionMap(EFFECTS, 64, 32)
    grown = upsampled(attention.effects, attention.width_px, attention.height_px)
    assert (grown.shape, grown.dtype) == ((32, 64), np.float32)
    assert grown[0, 0] == 2.0 == -grown[0, -1]
    assert grown.mean() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("effects", "fact"),
    [
        ([[1.0], [1.0, 2.0]], "must be rows of numbers"),
        ([1.0, 2.0], "their shape is (2,)"),
        ([[float("nan")]], "finite"),
        ([["a"]], "must be rows of numbers"),
    ],
)
def test_what_is_no_map_is_refused(effects: Any, fact: str) -> None:
    with pytest.raises(InputError) as caught:
        overlay(GRAY, effects)
    assert fact in str(caught.value)


def test_the_overlay_is_red_where_a_place_speaks_for_the_answer_and_blue_where_against() -> None:
    shown = drawn(overlay(GRAY, EFFECTS, longest_px=160))
    assert shown.shape == (80, 160, 3)
    assert shown[4, 4, 0] > shown[4, 4, 2] + 40
    assert shown[4, -4, 2] > shown[4, -4, 0] + 40
    assert np.abs(shown[-2, 80].astype(int) - 120).max() < 10


def test_an_overlay_is_as_large_as_its_image_and_leaves_its_colors(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (1100, 40, 3), dtype=np.uint8)
    content = png(pixels)
    (tmp_path / "a.png").write_bytes(content)
    text = base64.b64encode(content).decode()
    for value in (content, text, tmp_path / "a.png", pixels, Image.fromarray(pixels)):
        assert np.array_equal(drawn(overlay(value, [[0.0, 0.0]])), pixels)
        assert np.array_equal(drawn(overlay(value, [])), pixels)


def test_an_image_of_sixteen_bits_is_shown_with_eight() -> None:
    deep = np.full((40, 40), 30_000, np.uint16)
    assert drawn(overlay(deep, ()))[0, 0] == round(30_000 / 257)
    large = np.full((1400, 1400), 30_000, np.uint16)
    assert drawn(overlay(large, (), longest_px=160)).shape == (160, 160)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(InputError, match="the field 'image' must be a PNG"):
        overlay(b"a text", EFFECTS)
