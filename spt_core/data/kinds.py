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

from spt_core.data.conform import (
    is_number,
    number_column,
    time_column,
    typed_column,
    without_gaps,
)
from spt_core.errors import InputError, nearest
from spt_core.notation import (
    EPOCH_UNITS,
    FALSE_TEXTS,
    GAPS_AMONG_VALUES,
    PLAIN_NUMBER,
    TRUE_TEXTS,
    Notation,
    epoch_divisor,
    gaps_for,
    is_month,
    moment_of,
    numbers_among,
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
_GROUPED = r"^\D*[1-9]\d{0,2}([.,]\d{3})+\D*$"
_POINTED, _BELOW_1000 = r"^[+-]?[1-9]\d{0,2}\.\d{3}$", r"^[+-]?\d{1,3}$"
_TWO_DIGIT_YEAR = r"^\d{1,2}[./\- ](\d{1,2}|[A-Za-z]{3,9})[./\- ]\d\d(\D|$)"
MIN_POINTED, MANY_POINTED = 5, 30  # of decimals one in ten would end with a zero, and lack it
MIN_UNIT_GAP = 50.0  # between numbers of two units since 1970; times around 1970 leave none
MAX_OTHER_UNITS = 0.1  # of a column, such as the end of the year 9999
MIN_NUMBERS_IN_TEXT = 0.5  # of the texts of a category, for its owner to be told of the others
_SETTABLE: tuple[FieldKind, ...] = (
    *("number", "category", "boolean", "time", "terms", "number_pair"),
)
YEAR_MONTHS = (190_001, 210_012)  # 202412 and what else is written so
_TYPE = re.compile(r"(?P<name>.+):(?P<kind>[a-z_]+)(?:\((?P<notation>[a-z_]+)\))?")


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


NUMBER_NOTATIONS: tuple[Notation, ...] = ("decimal_comma", "decimal_point")
TIME_NOTATIONS: tuple[Notation, ...] = tuple(
    name for name in get_args(Notation) if name not in NUMBER_NOTATIONS
)


def judged(name: str, column: pa.Array, gaps: frozenset[str] = frozenset()) -> Judged:
    """What a column is that nobody has said anything of; `gaps` are the corpus's own."""
    column = without_own_gaps(column, gaps)
    kind = column.type
    if pa.types.is_boolean(kind):
        return Judged("boolean")
    if pa.types.is_duration(kind):
        return Judged("number", detail="durations, in seconds")
    if pa.types.is_temporal(kind):
        return Judged("time")
    if is_list(kind):
        return Judged("terms")
    if not is_text(kind):
        if _is_named_code(name, column):
            return Judged("category", detail="whole numbers that the name calls codes")
        return Judged("number")
    return _judged_text(name, column)


def without_own_gaps(column: pa.Array, gaps: frozenset[str]) -> pa.Array:
    """A raw column without the texts, or the numbers, that its corpus says stand for no value."""
    if not gaps:
        return column
    if is_text(column.type):
        return without_gaps(column, gaps)
    if not is_number(column.type):
        return column
    field = Field(name="", kind="number")
    missing = np.asarray(typed_column(column, field, gaps).values.is_null())
    return pc.if_else(pa.array(missing), pa.scalar(None, column.type), column)


def shows_decimal_comma(column: pa.Array) -> bool:
    """Whether a comma parts digits in it: points alone may part those of versions or addresses."""
    return is_text(column.type) and bool(pc.any(pc.match_substring_regex(column, r"\d,\d")).as_py())


def holds(column: pa.Array, gap: str) -> bool:
    """Whether a raw column has a cell that says so, as a text or as a number."""
    own = frozenset({gap})
    if without_own_gaps(column, own).null_count > column.null_count:
        return True
    if not is_text(column.type) or not numbers_among(own):
        return False
    numbers = numbers_of(pc.utf8_trim_whitespace(column).cast(pa.large_string())).values
    return bool(pc.any(pc.is_in(numbers, pa.array(numbers_among(own), pa.float64()))).as_py())


def notation_of(field: Field, column: pa.Array, gaps: frozenset[str] = frozenset()) -> Judged:
    """How the values of a column are written whose kind is said already."""
    column = without_own_gaps(column, gaps)
    if field.kind == "time" and field.notation == "epoch":
        return _epochs(column) or Judged("time", "epoch")
    if field.notation is not None or field.kind not in ("number", "time"):
        return Judged(field.kind, field.notation)
    if field.kind == "number":
        if not is_text(column.type):
            return Judged("number")
        text = without_gaps(column, gaps_for("number")).drop_null()
        units = _mixed_units(text) if len(text) else ""
        return _numbers(text) or Judged("number", None, units, is_open=bool(units))
    if is_text(column.type):
        text = without_gaps(column, gaps_for("time")).drop_null()
        return _times(text, is_asked=True) or Judged("time")
    return _time_codes(column) or _epochs(column) or Judged("time")


def are_months(column: pa.Array) -> bool:
    """Whether numbers, or texts of some, are months such as 202412 and no counter.

    All are months of a year, and from one year to the next they go on as within a year: 202412 is
    followed by 202501, quarters by the next one's.
    """
    codes = np.unique(np.asarray(number_column(column).values.drop_null()))
    least, greatest = YEAR_MONTHS
    years, of_year = np.divmod(codes, 100)
    is_month = (codes >= least) & (codes <= greatest) & np.isin(of_year, np.arange(1, 13))
    if not is_month.all():
        return False
    apart, is_new_year = np.diff(12 * years + of_year), np.diff(years) > 0
    return bool(np.isin(apart[is_new_year], apart[~is_new_year]).any())


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is that of texts."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def is_list(kind: pa.DataType) -> bool:
    """Whether a type is that of lists of texts, or of nothing but empty ones."""
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    return is_text(kind.value_type) or pa.types.is_null(kind.value_type)


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
    return _times(text, is_asked=False) or Judged("category", detail=_mixed(text))


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
        return _pointed(text)
    trimmed = pc.utf8_trim_whitespace(text).cast(pa.large_string())
    point, comma = numbers_of(trimmed), numbers_of(trimmed, "decimal_comma")
    num_point, num_comma = (len(text) - of.values.null_count for of in (point, comma))
    is_comma = num_comma > num_point
    best, count = (comma, num_comma) if is_comma else (point, num_point)
    if count < (1.0 - MAX_TEXT_IN_NUMBERS) * len(text) or not len(text):
        return None
    units = {unit for unit in pc.unique(best.units.drop_null()).to_pylist() if unit}
    if len(units) > 1:
        return None
    if num_comma == num_point:
        bare = pc.replace_substring_regex(trimmed, r"^\D+|\D+$", "")
        pointed = _pointed(bare)
        if pointed.detail:
            return pointed
        if pc.all(pc.match_substring_regex(bare, _GROUPED)).as_py():
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
        notes.append(f"{example!r} is read as {_shown(values[place])} (decimal {decimal}){unit}")
    rest = np.flatnonzero(np.asarray(values.is_null()))
    if len(rest):
        example = text[int(rest[0])].as_py()
        notes.append(
            f"{len(rest)} of {len(text)} are no numbers, such as {example!r}: bad rows, unless "
            "data.gaps names it"
        )
    return "; ".join(notes)


def _pointed(text: pa.Array) -> Judged:
    """Plain numbers, of which a point may part groups of digits: `16.081` beside `726`.

    Where all that have a point have three digits behind it, and others are below 1000, it does more
    likely than not; where none is without a point nobody can tell, and decimals are usual.
    """
    text = pc.utf8_trim_whitespace(text)
    pointed = pc.match_substring_regex(text, _POINTED)
    others = text.filter(pc.invert(pointed))
    is_grouped = pc.all(pc.match_substring_regex(others, _BELOW_1000)).as_py() is not False
    num_pointed = pc.sum(pointed.cast(pa.int64())).as_py()
    if num_pointed < MIN_POINTED or not is_grouped:
        return Judged("number")
    example = text.filter(pointed)[0].as_py()
    value = _shown(numbers_of(pa.array([example], pa.large_string()), "decimal_comma").values[0])
    if len(others) and num_pointed >= MANY_POINTED:
        detail = (
            f"{example!r} beside {others[0].as_py()!r} may be {value}, or have three decimals: say "
            "which, with data.types=COLUMN:number(decimal_comma) or (decimal_point)"
        )
        return Judged("number", None, detail, is_open=True)
    detail = (
        f"{example!r} is read with three decimals; if it is {value}, say "
        "data.types=COLUMN:number(decimal_comma)"
    )
    return Judged("number", None, detail)


def _shown(value: pa.Scalar) -> str:
    """A number in full: a few digits would not show what was read."""
    return f"{value.as_py():.15g}"


def _mixed(text: pa.Array) -> str:
    """What is odd of a category that mostly looks like numbers."""
    units = _mixed_units(text)
    numbers = numbers_of(pc.utf8_trim_whitespace(text).cast(pa.large_string())).values
    share = 1.0 - numbers.null_count / len(text)
    if units or share < MIN_NUMBERS_IN_TEXT:
        return units
    counted = pc.value_counts(text.filter(numbers.is_null())).to_pylist()
    others = sorted(counted, key=lambda entry: -entry["counts"])[:3]
    shown = ", ".join(repr(entry["values"]) for entry in others)
    return (
        f"{share:.0%} of its texts are numbers, others such as {shown}: names all of them, unless "
        "data.gaps names what stands for no value"
    )


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
    if not is_asked and _share(text, PLAIN_NUMBER) > 1.0 - MIN_TIMES:
        return None
    some = text.slice(0, 200)
    counted = pc.value_counts(text)
    words, counts = counted.field("values").to_pylist(), np.asarray(counted.field("counts"))

    def share(notation: Notation | None, column: pa.Array) -> float:
        typed = time_column(column, notation)
        return 1.0 - typed.values.null_count / len(column)

    if share(None, some) >= MIN_TIMES and share(None, text) >= MIN_TIMES:
        if pc.all(pc.match_substring_regex(text, PLAIN_NUMBER)).as_py():
            numbers = text.cast(pa.float64())
            return _time_codes(numbers) or _epochs(numbers)
        return Judged("time", None, _told(text, words)) if is_asked or _varied(words) else None
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
    detail = f"times such as {words[0]!r}, {best.replace('_', ' ')}"
    years = _told(text, words, best)
    return Judged("time", best, f"{detail}; {years}" if years else detail)


def _told(text: pa.Array, words: list[str], notation: Notation | None = None) -> str:
    """What is not written in times, and read all the same."""
    if _share(text, _TWO_DIGIT_YEAR) >= MIN_TIMES:
        read = moment_of(words[0], notation)
        shown = f", {words[0]!r} is {read.wall.date()}" if read is not None else ""
        return f"years of two digits are of 1950 to 2049{shown}"
    if is_month(words[0].strip()):
        return f"months such as {words[0]!r}, as their first day"
    return ""


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
        ("year_month", *YEAR_MONTHS),
        ("year", 1900, 2100),
    )
    for notation, least, greatest in codes:
        if values[0] >= least and values[-1] <= greatest:
            if all(moment_of(value, notation) is not None for value in values.tolist()):
                return Judged("time", notation, f"{int(values[0])} is read as a date")
            return None
    return _excel(values)


def _epochs(column: pa.Array) -> Judged | None:
    """Numbers since 1970 in one unit for all of them, told by the largest."""
    if is_text(column.type):
        if not pc.all(pc.match_substring_regex(column, PLAIN_NUMBER)).as_py():
            return None
        column = column.cast(pa.float64())
    if not pa.types.is_integer(column.type) and not pa.types.is_floating(column.type):
        return None
    values = np.abs(np.asarray(column.drop_null().cast(pa.float64(), safe=False)))
    if not len(values):
        return None
    divisors = np.array([epoch_divisor(value) for value in values.tolist()])
    units, counts = np.unique(divisors, return_counts=True)
    names: dict[int, Notation] = {unit: name for name, unit in EPOCH_UNITS.items()}
    what = {1: "seconds", 10**3: "milliseconds", 10**6: "microseconds", 10**9: "nanoseconds"}
    largest = int(units[-1])
    smaller = values[divisors < largest]
    if not len(smaller) or values[divisors == largest].min() < MIN_UNIT_GAP * smaller.max():
        return Judged("time", names[largest], f"{what[largest]} since 1970")  # some lie near 1970
    usual = int(units[counts.argmax()])
    rest = 1.0 - float(counts.max()) / len(values)
    detail = f"{what[usual]} since 1970, but for {rest:.0%} that by their size are of another unit"
    if rest <= MAX_OTHER_UNITS:
        return Judged("time", names[usual], detail)
    question = f"{detail}: say which, with data.types=COLUMN:time({names[usual]})"
    return Judged("time", None, question, is_open=True)


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
        return judgement  # said, or told by its values
    text = pc.utf8_trim_whitespace(without_gaps(column, gaps_for("number")).drop_null())
    grouped = pc.match_substring_regex(text, _GROUPED)
    whole = pc.match_substring_regex(text, r"^[+-]?\d+$")
    if not pc.any(grouped).as_py() or not pc.all(pc.or_(grouped, whole)).as_py():
        return judgement
    example = text.filter(grouped)[0].as_py()
    value = numbers_of(pa.array([example], pa.large_string()), "decimal_comma").values[0]
    detail = f"{example!r} is read as {_shown(value)} (decimal , as in other columns)"
    return Judged("number", "decimal_comma", detail)


def with_notation(field: Field, judgement: Judged) -> Field:
    """The field as its values are written."""
    return dataclasses.replace(field, notation=judgement.notation)
