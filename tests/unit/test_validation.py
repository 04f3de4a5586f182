"""What a person wrote as a typed value, or one sentence that names the key and where it stands."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from spt_core.errors import InputError
from spt_core.validation import parsed, validated


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    label: str
    share: float = 0.5

    def __post_init__(self) -> None:
        if not self.label:
            raise InputError("a rule needs a label, however: it has none")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    name: str = "a"
    mode: Literal["fast", "sure"] = "fast"
    rules: tuple[Rule, ...] = ()
    best: Rule | None = None
    count: int = 1
    taxonomy: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])


def test_lists_become_tuples_and_tables_dataclasses() -> None:
    content = {"name": "a", "rules": [{"label": "x", "share": 1}], "best": {"label": "y"}}
    assert validated(Settings, content, "file") == Settings(
        name="a", rules=(Rule(label="x", share=1.0),), best=Rule(label="y")
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (3, "file must be a table of keys, however: 3"),
        ({"best": {}}, "file: best.label must be given, however: it is missing"),
        ({"nam": "a"}, "file: there is no key 'nam', however: the nearest is 'name'"),
        ({"name": 7}, "file: name must be a text, however: 7"),
        ({"count": 1.5}, "file: count must be a whole number, however: 1.5"),
        ({"count": True}, "file: count must be a whole number, however: True"),
        ({"count": "1"}, "file: count must be a whole number, however: '1'"),
        ({"mode": "slow"}, "file: mode must be one of 'fast' or 'sure', however: 'slow'"),
        ({"rules": "x"}, "file: rules must be a list, however: 'x'"),
        ({"rules": [{"label": ""}]}, "file: rules.0: a rule needs a label, however: it has none"),
        (
            {"rules": [{"label": "a"}, {"lable": "b"}]},
            "file: rules.1: there is no key 'lable', however: the nearest is 'label'",
        ),
        (
            {"best": {"label": "a", "shar": 1}},
            "file: best: there is no key 'shar', however: the nearest is 'share'",
        ),
        ({"best": {"label": "a", "share": None}}, "best.share must be a number, however: None"),
        ({"taxonomy": {"a": 3}}, "file: taxonomy.a must be a text, however: 3"),
        ({"name": "\ud800"}, "file must be writable as JSON, however: "),
        ({"name": datetime.date(2024, 1, 1)}, "file must be writable as JSON, however: "),
    ],
)
def test_a_mistake_is_one_sentence_that_names_its_place(content: Any, sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        validated(Settings, content, "file")
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_text_is_read_as_an_annotation() -> None:
    assert parsed(int, "1_000", "n") == 1000
    with pytest.raises(InputError, match="^n must be a whole number, however: '1.5'$"):
        parsed(int, "1.5", "n")
