"""Why a model says what it says of an image: places, and the regions that they make."""

from __future__ import annotations

from spt_core.judgement import AttentionMap


def test_a_map_of_nothing_has_no_regions() -> None:
    assert AttentionMap((), 0, 0).regions() == []
    assert AttentionMap(((-1.0, -2.0), (-3.0, -1.0)), 10, 10).regions() == []


def test_regions_are_boxes_of_places_side_by_side_strongest_first() -> None:
    effects = ((4.0, 3.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.9, 5.0))
    first, second = AttentionMap(effects, 80, 30).regions()
    assert first._asdict() == {"left": 0, "top": 0, "right": 40, "bottom": 10, "effect": 7.0}
    assert second._asdict() == {"left": 60, "top": 20, "right": 80, "bottom": 30, "effect": 5.0}
