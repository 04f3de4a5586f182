"""Settings that a search may recommend: better, settable, and like what was done before."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from spt_core.families.tabular.settings import (
    MAX_REFERENCE_ROWS,
    Reference,
    recommended,
    reference_from_bytes,
    reference_of,
)
from spt_core.policy import IntervalPolicy
from spt_core.signature import Field, Signature

POLICY = IntervalPolicy(coverage=0.9, margin=1.0)


def signature(goal: str | None = "higher", controllable: bool = True) -> Signature:
    return Signature(
        fields=(
            Field(name="heat", kind="number", controllable=controllable),
            Field(name="weather", kind="number"),
            Field(name="tool", kind="category", categories=("a", "b"), controllable=controllable),
        ),
        goal=goal,  # type: ignore[arg-type]  # a literal
    )


def past(num_rows: int = 300) -> NDArray[np.float32]:
    """Heat follows the weather, always: hot on a cold day was never tried."""
    draw = np.random.default_rng(0)
    weather = draw.uniform(0, 10, num_rows)
    heat = weather + draw.normal(scale=0.3, size=num_rows)
    return np.column_stack([heat, weather, draw.integers(1, 3, num_rows)]).astype(np.float32)


def reference(rows: NDArray[np.float32]) -> Reference:
    return reference_of(rows, 2, seed=0)


def heat_is_good(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """The value, and a quantile on either side."""
    value = rows[:, 0].astype(np.float64)
    return np.column_stack([value, value - 1, value + 1])


@pytest.mark.parametrize("weather", [2.0, 5.0, 8.0])
def test_a_setting_that_never_was_with_this_weather_is_not_recommended(weather: float) -> None:
    row = np.array([[weather, weather, 1]], np.float32)
    settings = recommended(row, reference(past()), signature(), heat_is_good, POLICY)
    assert weather < settings.fields["heat"] < weather + 2  # 10 is hottest of all, and elsewhere
    assert settings.value == pytest.approx(settings.fields["heat"], rel=1e-5)
    assert (settings.low, settings.high) == pytest.approx(
        (settings.value - 2, settings.value + 2)  # the quantile, and the policy's margin
    )


@pytest.mark.parametrize("goal", ["higher", "lower"])
@pytest.mark.parametrize("number", range(0, 300, 10))
def test_what_is_recommended_is_expected_to_be_better(number: int, goal: str) -> None:
    rows = past()
    settings = recommended(
        rows[number : number + 1], reference(rows), signature(goal), heat_is_good, POLICY
    )
    now = float(rows[number, 0])
    assert settings.value >= now if goal == "higher" else settings.value <= now
    assert set(settings.fields) <= {"heat", "tool"}
    if not settings.fields:
        assert settings.value == pytest.approx(now)
        assert "no settings within past operation" in settings.note


def test_categories_are_recommended_by_name() -> None:
    row = np.array([[5.0, 5.0, 1]], np.float32)
    settings = recommended(
        row,
        reference(past()),
        signature(),
        lambda rows: np.repeat(10.0 * rows[:, 2:3].astype(np.float64), 3, axis=1),
        POLICY,
    )
    assert settings.fields["tool"] == "b"


def test_where_nothing_can_be_set_the_search_says_so() -> None:
    rows = past()
    settings = recommended(
        rows[:1], reference(rows), signature(controllable=False), heat_is_good, POLICY
    )
    assert settings.fields == {}
    assert "controllable" in settings.note


def test_a_reference_is_small_and_goes_to_bytes_and_back() -> None:
    first = reference(past(2000))
    assert len(first.rows) == MAX_REFERENCE_ROWS
    second = reference_from_bytes(first.to_bytes())
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
