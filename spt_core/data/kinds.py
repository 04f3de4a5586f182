"""What a column holds, judged by its values: numbers, codes, yes and no, times, names.

raw column -> Judgement: the field's kind and notation, and what its owner should know of them
"""

from __future__ import annotations

import dataclasses
import re
from typing import NamedTuple, cast, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spt_core.data.conform import number_column, time_column, without_gaps
from spt_core.errors import InputError, nearest
from spt_core.notation import (
    FALSE_TEXTS,
    GAPS_AMONG_VALUES,
    PLAIN_NUMBER,
    TRUE_TEXTS,
    Notation,
    gaps_for,
    moment_of,
    numbers_of,
)
from spt_core.signature import Field, FieldKind

MAX_TEXT_IN_NUMBERS = 0.1
MIN_TIMES = 0.95  # of a column's texts, for it to be one of times
MIN_CODES = 0.005  # of a column's texts, for all of them to be codes
_CODE_NAME = re.compile(
    r"(?:^|[_.\s-])(?:code|mcc|zip(?:[_\s-]?code)?|post(?:al)?[_\s-]?code|postal|plz|sic|naics|"
    r"icd(?:[_-]?\d+)?|cpt|hcpcs|ndc|bic|swift|iban)$|[a-z](?:Code|Zip)$",
    re.IGNORECASE,
)
_ID_NAME = re.compile(r"[_.\s-](?:id|ID)$|[a-z](?:Id|ID)$")
MAX_ID_CODES = 100  # a list of types or reasons has as many; what has more is things, not kinds
_LEADING_ZERO, _CODE = r"^0\d+$", r"^[A-Za-z]{1,3}-?\d+(\.\d+)?$"
_GROUPED = r"^\D*\d{1,3}([.,]\d{3})+\D*$"
_SETTABLE: tuple[FieldKind, ...] = ("number", "category", "boolean", "time")
_TYPE = re.compile(r"(?P<name>.+):(?P<kind>[a-z]+)(?:\((?P<notation>[a-z_]+)\))?")


class Judged(NamedTuple):
    """A column's kind and notation; `detail` is what its owner should know, `is_open` a question.

    A column whose notation is open has no meaning until somebody says which it is.
    """

    kind: FieldKind
    notation: Notation | None = None
    detail: str = ""
    is_open: bool = False


def parse_type(text: str) -> Field:
    """The Field that `diag_1:category` or `booked:time(day_first)` asks for."""
    match = _TYPE.fullmatch(text.strip())
    if match is None:
        raise InputError(
            f"a type reads COLUMN:KIND or COLUMN:KIND(NOTATION), however: {text!r}; kinds are "
            f"{', '.join(_SETTABLE)}, such as booked:time(day_first)"
        )
    kind, notation = match["kind"], match["notation"]
    if kind not in _SETTABLE:
        raise InputError(
            f"the type of {match['name']!r} must be one of {', '.join(_SETTABLE)}, however: "
            f"{kind!r}; {nearest(kind, _SETTABLE)}"
        )
    known = NUMBER_NOTATIONS if kind == "number" else TIME_NOTATIONS if kind == "time" else ()
    if notation is not None and notation not in known:
        raise InputError(
            f"a {kind} may be written as {', '.join(known) or 'it stands alone'}, however: "
            f"{notation!r} is asked for {match['name']!r}"
        )
    return Field(
        name=match["name"],
        kind=kind,
        notation=cast("Notation | None", notation),
        required=False,
    )


NUMBER_NOTATIONS: tuple[Notation, ...] = ("decimal_comma",)
TIME_NOTATIONS: tuple[Notation, ...] = tuple(
    name for name in get_args(Notation) if name not in NUMBER_NOTATIONS
)


def judged(name: str, column: pa.Array) -> Judged:
    """What a column is that nobody has said anything of."""
    kind = column.type
    if pa.types.is_boolean(kind):
        return Judged("boolean")
    if pa.types.is_duration(kind):
        return Judged("number", detail="durations, in seconds")
    if pa.types.is_temporal(kind):
        return Judged("time")
    if not is_text(kind):
        if _is_named_code(name, column):
            return Judged("category", detail="whole numbers that the name calls codes")
        return Judged("number")
    return _judged_text(name, column)


def notation_of(field: Field, column: pa.Array) -> Judged:
    """How the values of a column are written whose kind is said already."""
    if field.notation is not None or field.kind not in ("number", "time"):
        return Judged(field.kind, field.notation)
    if field.kind == "number":
        if not is_text(column.type):
            return Judged("number")
        text = without_gaps(column, gaps_for("number")).drop_null()
        return _numbers(text) or Judged("number")
    if is_text(column.type):
        text = without_gaps(column, gaps_for("time")).drop_null()
        return _times(text, is_asked=True) or Judged("time")
    return _time_codes(column) or Judged("time")


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is that of texts."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _judged_text(name: str, column: pa.Array) -> Judged:
    text = without_gaps(column, GAPS_AMONG_VALUES).drop_null()
    if not len(text):
        return Judged("category")
    words = set(pc.unique(pc.utf8_lower(pc.utf8_trim_whitespace(text))).to_pylist())
    if _are_yes_and_no(words):
        return Judged("boolean")
    zeros = _share(text, _LEADING_ZERO)
    if zeros >= MIN_CODES:
        return Judged("category", detail=f"codes: {zeros:.0%} of them begin with a zero")
    times = _compact(text)
    if times is not None:
        return times
    numbers = _numbers(text)
    if numbers is not None:
        if _share(text, _CODE) >= MIN_CODES:
            return Judged("category", detail="codes: some have letters before their digits")
        if _is_named_code(name, number_column(text).values):
            return Judged("category", detail="whole numbers that the name calls codes")
        return numbers
    return _times(text, is_asked=False) or Judged("category", detail=_mixed_units(text))


def _are_yes_and_no(words: set[str]) -> bool:
    """Two words of which one says yes and one no; digits are numbers."""
    digits = {"1", "0", "1.0", "0.0"}
    if words <= {"true", "false"}:
        return True
    return (
        len(words) == 2
        and not words & digits
        and words <= TRUE_TEXTS | FALSE_TEXTS
        and bool(words & TRUE_TEXTS)
        and bool(words & FALSE_TEXTS)
    )


def _numbers(text: pa.Array) -> Judged | None:
    """Numbers in the notation that most of the texts fit, if nearly all do."""
    plain = pc.match_substring_regex(pc.utf8_trim_whitespace(text), PLAIN_NUMBER)
    if len(text) and pc.all(plain).as_py():
        return Judged("number")
    trimmed = pc.utf8_trim_whitespace(text).cast(pa.large_string())
    point, comma = numbers_of(trimmed), numbers_of(trimmed, "decimal_comma")
    num_point, num_comma = (len(text) - of.values.null_count for of in (point, comma))
    is_comma = num_comma > num_point
    best, count = (comma, num_comma) if is_comma else (point, num_point)
    if count < (1.0 - MAX_TEXT_IN_NUMBERS) * len(text) or not len(text):
        return None
    units = {unit for unit in pc.unique(best.units.drop_null()).to_pylist() if unit}
    if len(units - {"%", "\u2030"}) > 1:
        return None
    if num_comma == num_point and pc.all(pc.match_substring_regex(trimmed, _GROUPED)).as_py():
        example = trimmed[0].as_py()
        return Judged("number", None, f"{example!r} is read with groups of three digits")
    detail = _described(best.values, trimmed, "," if is_comma else ".", units)
    return Judged("number", "decimal_comma" if is_comma else None, detail)


def _described(values: pa.Array, text: pa.Array, decimal: str, units: set[str]) -> str:
    plain = np.asarray(pc.match_substring_regex(text, PLAIN_NUMBER))
    odd = np.flatnonzero(~plain & np.asarray(values.is_valid()))
    notes: list[str] = []
    if len(odd):
        place = int(odd[0])
        example = text[place].as_py()
        unit = f", without the unit {' '.join(sorted(units))}" if units else ""
        notes.append(f"{example!r} is read as {values[place].as_py():g} (decimal {decimal}){unit}")
    rest = np.flatnonzero(np.asarray(values.is_null()))
    if len(rest):
        example = text[int(rest[0])].as_py()
        notes.append(
            f"{len(rest)} of {len(text)} are no numbers, such as {example!r}: bad rows, unless "
            "data.gaps names it"
        )
    return "; ".join(notes)


def _mixed_units(text: pa.Array) -> str:
    for notation in (None, "decimal_comma"):
        numbers = numbers_of(pc.utf8_trim_whitespace(text).cast(pa.large_string()), notation)
        units = {unit for unit in pc.unique(numbers.units.drop_null()).to_pylist() if unit}
        if len(units) > 1 and numbers.values.null_count <= MAX_TEXT_IN_NUMBERS * len(text):
            return f"numbers in several units: {', '.join(sorted(units))}"
    return ""


def _compact(text: pa.Array) -> Judged | None:
    """Dates such as 20241231, if all texts are some."""
    if not pc.all(pc.match_substring_regex(text, r"^\d{8}(\d{4}(\d\d)?)?$")).as_py():
        return None
    words = pc.unique(text).to_pylist()
    if len(words) < 2 or any(moment_of(word, "compact") is None for word in words):
        return None
    return Judged("time", "compact", f"dates such as {words[0]}")


def _times(text: pa.Array, *, is_asked: bool) -> Judged | None:
    """Times in the notation that nearly all of the texts fit."""
    compact = _compact(text)
    if compact is not None:
        return compact
    if not len(text):
        return None
    if not is_asked and pc.all(pc.match_substring_regex(text, PLAIN_NUMBER)).as_py():
        return None
    some = text.slice(0, 200)
    counted = pc.value_counts(text)
    words, counts = counted.field("values").to_pylist(), np.asarray(counted.field("counts"))

    def share(notation: Notation | None, column: pa.Array) -> float:
        typed = time_column(column, notation)
        return 1.0 - typed.values.null_count / len(column)

    if share(None, some) >= MIN_TIMES:
        return Judged("time", None) if is_asked or _varied(words) else None
    fits: dict[Notation, float] = {}
    for notation in ("day_first", "month_first"):
        if share(notation, some) < 0.5 * MIN_TIMES:
            fits[notation] = 0.0
            continue
        good = np.array([moment_of(word, notation) is not None for word in words])
        fits[notation] = float(counts[good].sum() / counts.sum())
    best = max(fits, key=lambda notation: fits[notation])
    if fits[best] < MIN_TIMES:
        return None
    if min(fits.values()) == fits[best]:
        detail = (
            f"{words[0]!r} may be day-first or month-first, and so may all others: say which, "
            "with data.types=COLUMN:time(day_first) or (month_first)"
        )
        return Judged("time", None, detail, is_open=True)
    return Judged("time", best, f"times such as {words[0]!r}, {best.replace('_', ' ')}")


def _varied(words: list[str]) -> bool:
    return any(any(mark in word for mark in "-:/. ") for word in words[:20])


def _time_codes(column: pa.Array) -> Judged | None:
    """Whole numbers that are dates written without separators, where somebody says it is a time."""
    if not pa.types.is_integer(column.type) and not pa.types.is_floating(column.type):
        return None
    values = np.unique(np.asarray(column.drop_null().cast(pa.float64())))
    if not len(values):
        return None
    if not np.array_equal(values, np.floor(values)):
        return _excel(values)
    codes: tuple[tuple[Notation, float, float], ...] = (
        ("compact", 19_000_101, 21_001_231),
        ("compact", 19_000_101_000_000, 21_001_231_235_959),
        ("year_month", 190_001, 210_012),
        ("year", 1900, 2100),
    )
    for notation, least, greatest in codes:
        if values[0] >= least and values[-1] <= greatest:
            if all(moment_of(value, notation) is not None for value in values.tolist()):
                return Judged("time", notation, f"{int(values[0])} is read as a date")
            return None
    return _excel(values)


def _excel(values: np.ndarray) -> Judged | None:
    """Days since 1899-12-30 of the years 1954 to 2119, or seconds of the first day of 1970."""
    if values[0] >= 20_000 and values[-1] <= 80_000:
        detail = (
            f"{values[0]:g} may be a day as Excel counts them, or seconds: say which, with "
            "data.types=COLUMN:time(excel) or (epoch)"
        )
        return Judged("time", None, detail, is_open=True)
    return None


def _is_named_code(name: str, column: pa.Array) -> bool:
    """Whole numbers whose name says that they are codes, or the ids of a few kinds."""
    is_code, is_id = (pattern.search(name) is not None for pattern in (_CODE_NAME, _ID_NAME))
    if not (is_code or is_id) or len(column) == column.null_count:
        return False
    values = np.asarray(number_column(column).values.drop_null())
    if not len(values) or not np.array_equal(values, np.floor(values)):
        return False
    return is_code or len(np.unique(values)) <= MAX_ID_CODES


def _share(text: pa.Array, pattern: str) -> float:
    return float(pc.mean(pc.match_substring_regex(text, pattern).cast(pa.int8())).as_py() or 0.0)


def in_decimal_comma(judgement: Judged, column: pa.Array) -> Judged:
    """The judgement in a corpus that writes decimals with a comma, where the values leave it open.

    There `1.234` is more than a thousand, and `1,234` is not.
    """
    if judgement.kind != "number" or judgement.notation is not None or not is_text(column.type):
        return judgement
    text = pc.utf8_trim_whitespace(without_gaps(column, gaps_for("number")).drop_null())
    grouped = pc.match_substring_regex(text, _GROUPED)
    whole = pc.match_substring_regex(text, r"^[+-]?\d+$")
    if not pc.any(grouped).as_py() or not pc.all(pc.or_(grouped, whole)).as_py():
        return judgement
    example = text.filter(grouped)[0].as_py()
    value = numbers_of(pa.array([example], pa.large_string()), "decimal_comma").values[0].as_py()
    detail = f"{example!r} is read as {value:g} (decimal , as in other columns)"
    return Judged("number", "decimal_comma", detail)


def with_notation(field: Field, judgement: Judged) -> Field:
    """The field as its values are written."""
    return dataclasses.replace(field, notation=judgement.notation)
