"""The values of a record, whatever its family: nested objects, times, the text of a category."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from typing import Any

from spt_core.errors import InputError, shown
from spt_core.notation import NO_DATE, Moment, Notation, moment_of, zoned_moment

_TIME_RULE = "an ISO 8601 time, seconds since 1970 or a time of day such as 03:00"
_TIME_RULES: Mapping[Notation | None, str] = {
    "day_first": "a time such as 31.12.2024 23:59, the day first",
    "month_first": "a time such as 12/31/2024 23:59, the month first",
    "compact": "a time such as 20241231 or 20241231235959",
    "year_month": "a year and month such as 202412",
    "year": "a year such as 2024",
    "excel": "a number of days since 1899-12-30",
    "epoch_s": "a number of seconds since 1970",
    "epoch_ms": "a number of milliseconds since 1970",
    "epoch_us": "a number of microseconds since 1970",
    "epoch_ns": "a number of nanoseconds since 1970",
}
_SCALARS = frozenset({str, int, float, bool, type(None)})  # sparing them an abstract class's check
MAX_DEPTH = 8  # of nested objects in a record; names with dots rarely have more than two


def flatten(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with nested objects as dotted names; InputError when it nests too deep."""
    flat: dict[str, Any] = {}
    _flatten_into(flat, record, "", MAX_DEPTH)
    return flat


def _flatten_into(flat: dict[str, Any], record: Mapping[str, Any], prefix: str, depth: int) -> None:
    for name, value in record.items():
        if type(value) not in _SCALARS and isinstance(value, Mapping):
            if not depth:
                raise InputError(f"a record may nest {MAX_DEPTH} deep, however: this one goes on")
            _flatten_into(flat, value, f"{prefix}{name}.", depth - 1)
            continue
        if (full := prefix + name) in flat:
            raise InputError(f"a record names each field once, however: {shown(full)} comes twice")
        flat[full] = value


def parse_time(
    value: object, name: str, notation: Notation | None = None, *, in_utc: bool = False
) -> tuple[float, float]:
    """(hour of day 0 to 24, weekday 0 = Monday) of wall-clock time as written; see `moment_of`.

    Both are NaN for a date that stands for none, the weekday for a time of day without a date.
    With `in_utc` they are of the clock of UTC, by the offset that is written.
    """
    moment = _moment(value, name, notation)
    if moment.is_gap:
        return math.nan, math.nan
    wall = moment.wall
    if in_utc and moment.offset_us:
        wall -= datetime.timedelta(microseconds=moment.offset_us)
    hour = wall.hour + wall.minute / 60 + wall.second / 3600
    return hour, math.nan if wall.date() == NO_DATE else float(wall.weekday())


def parse_moment(value: object, name: str, notation: Notation | None = None) -> datetime.datetime:
    """The naive wall-clock time that a value stands for; a time of day gets the date NO_DATE."""
    return _moment(value, name, notation).wall


def parse_zoned(
    value: object, name: str, notation: Notation | None = None
) -> tuple[datetime.datetime, float]:
    """The wall-clock time of `parse_moment`, and its offset from UTC in seconds, 0 without one."""
    moment = _moment(value, name, notation)
    return moment.wall, moment.offset_us / 1e6


def _moment(value: object, name: str, notation: Notation | None) -> Moment:
    if isinstance(value, datetime.datetime):  # of a caller in Python; a table's own type
        return zoned_moment(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise wrong_value(name, "a time", value)
    moment = moment_of(value, notation)
    if moment is None:
        raise wrong_value(name, _TIME_RULES.get(notation, _TIME_RULE), value)
    return moment


def category_text(value: object, name: str) -> str:
    """The text that a category is looked up by: 2, 2.0 and "2" are the same category."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() else repr(value)
    raise wrong_value(name, "a text, a number or true/false", value)


def wrong_value(name: str, rule: str, value: object) -> InputError:
    """The error of a field whose value breaks its rule."""
    return InputError(f"the field {name!r} must be {rule}, however: {shown(value)}")
