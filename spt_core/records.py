"""The values of a record, whatever its family: nested objects, times, the text of a category."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from typing import Any

from spt_core.errors import InputError

# A time of day without a date is kept on this date; its weekday counts as missing.
NO_DATE = datetime.date(1, 1, 1)
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


def parse_time(value: object, name: str) -> tuple[float, float]:
    """(hour of day 0 to 24, weekday 0 = Monday) of wall-clock time as written.

    Takes ISO 8601, a datetime, seconds (or milli-, micro-, nanoseconds) since 1970, and a time of
    day such as "03:00" or "03:00_local", whose weekday is missing.
    """
    moment = parse_moment(value, name)
    hour = moment.hour + moment.minute / 60 + moment.second / 3600
    return hour, math.nan if moment.date() == NO_DATE else float(moment.weekday())


def parse_moment(value: object, name: str) -> datetime.datetime:
    """The naive wall-clock time that a value stands for; a time of day gets the date NO_DATE."""
    if isinstance(value, str):
        text = value.removesuffix("_local").strip()
        try:
            if len(text) <= 8 and ":" in text:
                return datetime.datetime.combine(NO_DATE, datetime.time.fromisoformat(text))
            return datetime.datetime.fromisoformat(text).replace(tzinfo=None)
        except ValueError as error:
            raise wrong_value(
                name, "an ISO 8601 time or a time of day such as 03:00", value
            ) from error
    if isinstance(value, datetime.datetime):  # of a caller in Python; a table's own type
        return value.replace(tzinfo=None)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_value(name, "a time", value)
    if not abs(value) < 4e18:
        raise wrong_value(name, "a time in seconds since 1970", value)
    seconds = value / epoch_divisor(abs(value))
    try:
        return datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    except OverflowError as error:
        raise wrong_value(name, "a time of the years 1 to 9999", value) from error


def epoch_divisor(magnitude: float) -> int:
    """How many of a number's units make a second: 1 to 1e9, judged by its size (years to 5138)."""
    for limit, divisor in ((1e11, 1), (1e14, 10**3), (1e17, 10**6)):
        if magnitude < limit:
            return divisor
    return 10**9


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


def shown(value: object) -> str:
    """A value as an error shows it."""
    text = "a list" if isinstance(value, list) else repr(value)  # repr of a deep one would overflow
    return text if len(text) <= 60 else text[:57] + "..."


def wrong_value(name: str, rule: str, value: object) -> InputError:
    """The error of a field whose value breaks its rule."""
    return InputError(f"the field {name!r} must be {rule}, however: {shown(value)}")
