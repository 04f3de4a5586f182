"""Months as steps, and the cycles of the calendar."""

import numpy as np
import pytest

from spt_core.calendar import later, months, phases


def seconds(*days):
    return np.array(days, "datetime64[s]").astype(np.float64)


def days(moments):
    return moments.astype("datetime64[s]").astype("datetime64[D]").astype(str).tolist()


def test_months_are_counted_whatever_their_length():
    counted = months(seconds("2023-01-31", "2023-02-01", "2024-02-29"))
    assert (counted - counted[0]).tolist() == [0, 1, 13]


def test_a_month_later_is_the_same_day_or_the_month_s_last():
    start = seconds("2024-01-31T06:00:00", "2023-11-15")
    assert days(later(start, np.array([1, 3]), 1.0, in_months=True)) == ["2024-02-29", "2024-02-15"]
    assert days(later(start, np.array([-2, -1]), 3.0, in_months=True)) == [
        "2023-07-31",
        "2023-08-15",
    ]


def test_other_steps_are_seconds():
    assert later(np.array([10.0]), np.array([3]), 7.0, in_months=False).tolist() == [31.0]


def test_the_phase_of_a_part_returns_after_its_cycle():
    start = seconds("2024-03-01T05:00:00")
    week = start + 7 * 86_400.0
    assert phases(start, ("time_of_week", "time_of_day")) == pytest.approx(
        phases(week, ("time_of_week", "time_of_day")), abs=1e-5
    )
    assert phases(start, ("time_of_year",)) != pytest.approx(phases(week, ("time_of_year",)))
    assert phases(start, ()).shape == (1, 0)
