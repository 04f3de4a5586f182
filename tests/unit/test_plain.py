"""Dataclasses out of the JSON that they were stored as."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from typing import Any

import pytest

from spt_core.errors import CorruptArtifactError
from spt_core.plain import from_plain


class Colour(enum.StrEnum):
    RED = "red"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    share: float
    names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    parts: tuple[Part, ...]
    best: Part | None = None
    colour: Colour = Colour.RED
    levels: tuple[int, ...] | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    listed: list[str] | None = None


WHOLE = Whole(
    parts=(Part(share=0, names=("a", "b")), Part(share=0.5)),
    best=Part(share=1),
    levels=(1, 2),
    facts={"x": [1, {"y": []}]},
    listed=["a"],
)


def test_what_was_stored_is_read_as_it_was() -> None:
    content = json.loads(json.dumps(dataclasses.asdict(WHOLE)))
    assert from_plain(Whole, content) == WHOLE == from_plain(Whole, dataclasses.asdict(WHOLE))
    again = json.dumps(dataclasses.asdict(from_plain(Whole, content)))
    assert again == json.dumps(content)  # a 0 in place of a float stays one: digests hold
    assert from_plain(Whole, content).colour is Colour.RED


def test_fields_that_are_younger_have_their_defaults_and_other_keys_are_refused() -> None:
    assert from_plain(Whole, {"parts": [{"share": 1}]}) == Whole(parts=(Part(share=1),))
    with pytest.raises(CorruptArtifactError, match="Whole, .* does not know .'colours'"):
        from_plain(Whole, {"parts": [], "colours": ["red"]})
    with pytest.raises(CorruptArtifactError, match="whole Part, however: it lacks .'share'"):
        from_plain(Whole, {"parts": [{}]})
