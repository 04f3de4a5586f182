import dataclasses
from typing import Literal

import pytest

from jobs.overrides import override
from spt_core.errors import InputError


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    count: int = 3
    fast: bool = False
    mode: Literal["a", "b"] = "a"
    limit: int | None = None
    names: tuple[str, ...] = ()
    sizes: list[int] | None = None


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = dataclasses.field(default_factory=Inner)


@pytest.mark.parametrize(
    ("assignment", "field", "value"),
    [
        ("inner.rate=2e-3", "rate", 2e-3),
        ("inner.count=1_000", "count", 1000),
        (" inner.count = 7 ", "count", 7),
        ("inner.fast=yes", "fast", True),
        ("inner.fast=False", "fast", False),
        ("inner.mode=b", "mode", "b"),
        ("inner.limit=5", "limit", 5),
        ("inner.limit=none", "limit", None),
        ("inner.names=sex, age", "names", ("sex", "age")),
        ("inner.names=", "names", ()),
        ("inner.sizes=1,2", "sizes", [1, 2]),
        ("inner.names=a=b", "names", ("a=b",)),
    ],
)
def test_a_value_is_read_as_the_type_of_its_field(assignment, field, value):
    assert getattr(override(Outer(), [assignment]).inner, field) == value


def test_the_last_assignment_wins_and_nothing_else_changes():
    before = Outer()
    after = override(before, ["inner.count=1", "inner.count=2"])
    assert after == Outer(inner=Inner(count=2))
    assert before == Outer()


@pytest.mark.parametrize(
    ("assignment", "sentence"),
    [
        ("inner.count", "FIELD=VALUE"),
        ("inner.cuont=1", "the nearest is 'count'"),
        ("iner.count=1", "the nearest is 'inner'"),
        ("inner.count.deep=1", "no fields of its own"),
        ("inner.count=1.5", "inner.count must be a whole number, however: '1.5'"),
        ("inner.rate=fast", "must be a number"),
        ("inner.fast=perhaps", "must be true or false"),
        ("inner.mode=c", "must be one of 'a' or 'b', however: 'c'"),
        ("inner.limit=none at all", "must be a whole number"),
        ("=1", "names a field"),
    ],
)
def test_what_cannot_be_set_is_refused_in_one_sentence(assignment, sentence):
    with pytest.raises(InputError, match=sentence):
        override(Outer(), [assignment])


def test_a_whole_group_cannot_be_set():
    with pytest.raises(InputError, match="inner.rate"):
        override(Outer(), ["inner=1"])
