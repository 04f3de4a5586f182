"""Calendar months as steps, and what a moment says of the year, the week and the day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

CalendarPart = Literal["time_of_year", "time_of_week", "time_of_day"]
DAY_S = 86_400.0
CYCLES_S: Mapping[CalendarPart, float] = {
    "time_of_year": 365.25 * DAY_S,
    "time_of_week": 7 * DAY_S,
    "time_of_day": DAY_S,
}
Floats = NDArray[np.float64]


def months(seconds: Floats) -> Floats:
    """The calendar months [...] of moments in seconds since 1970, counted from January 1970."""
    return _months(seconds).astype(np.float64)


def later(seconds: Floats, steps: NDArray[Any], step: float, *, in_months: bool) -> Floats:
    """The moments so many steps later; a day that a month lacks is that month's last one."""
    if not in_months:
        return seconds + steps * step
    first = _months(seconds)
    within = seconds - _start_s(first)
    target = first + np.rint(steps * step).astype(np.int64)
    days = np.minimum(within // DAY_S, (_start_s(target + 1) - _start_s(target)) / DAY_S - 1)
    return _start_s(target) + days * DAY_S + within % DAY_S


def phases(seconds: Floats, parts: Sequence[CalendarPart]) -> NDArray[np.float32]:
    """The sine and the cosine [..., 2 * parts] of how far each part's cycle has gone."""
    columns: list[Floats] = []
    for part in parts:
        angle = 2.0 * np.pi * (seconds / CYCLES_S[part] % 1.0)
        columns += [np.sin(angle), np.cos(angle)]
    shape = (*np.shape(seconds), 0)
    return np.stack(columns, -1).astype(np.float32) if columns else np.empty(shape, np.float32)


def _months(seconds: Floats) -> NDArray[np.int64]:
    micros = np.rint(np.asarray(seconds) * 1e6).astype("datetime64[us]")
    return micros.astype("datetime64[M]").astype(np.int64)


def _start_s(month: NDArray[np.int64]) -> Floats:
    return month.astype("datetime64[M]").astype("datetime64[s]").astype(np.float64)
