"""Numbers, times and gaps as people write them: one meaning in files, in batches and in requests.

text + Notation -> a number, or a moment with its offset from UTC; or it says that nothing is there

A Notation is of a whole column and part of its Field: `1.234` and `01/02/2024` mean nothing alone.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Notation = Literal[
    "decimal_comma",
    "decimal_point",  # what numbers have anyway, said where it could be groups of digits
    "day_first",
    "month_first",
    "compact",  # 20241231, 20241231235959
    "year_month",  # 202412
    "year",
    "excel",  # days since 1899-12-30
    "epoch",  # the unit of each number by its size
    "epoch_s",
    "epoch_ms",
    "epoch_us",
    "epoch_ns",
]
EPOCH_UNITS: Mapping[Notation, int] = {
    "epoch_s": 1,
    "epoch_ms": 10**3,
    "epoch_us": 10**6,
    "epoch_ns": 10**9,
}
FLOAT32_MAX = float(np.finfo(np.float32).max)  # models compute in float32

# Nothing is there, whatever the column: no name, code or class is written like this.
GAPS = frozenset({"", "?", "N/A", "n/a", "#N/A", "#NA", "NaN", "nan", "-nan", "NaT", "<NA>", "\\N"})
# Nothing is there in a column of numbers, times or yes and no; elsewhere it may be a name.
GAPS_AMONG_VALUES = GAPS | {
    "NA",
    "na",
    "NULL",
    "null",
    "Null",
    "None",
    "none",
    "nil",
    "-",
    "--",
    ".",
}

TRUE_TEXTS = frozenset({"true", "yes", "y", "t", "ja", "j", "oui", "si", "sí", "1", "1.0"})
FALSE_TEXTS = frozenset({"false", "no", "n", "f", "nein", "non", "0", "0.0"})
PLAIN_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"

# A time of day without a date is kept on this date; its weekday counts as missing.
NO_DATE = datetime.date(1, 1, 1)
# What systems write where there is no date: the first and last of SQL Server, Excel, SAP and more.
NO_DATES = frozenset(
    {
        datetime.date(1753, 1, 1),
        datetime.date(1899, 12, 30),
        datetime.date(1899, 12, 31),
        datetime.date(1900, 1, 1),
        datetime.date(2999, 12, 31),
        datetime.date(9999, 12, 31),
    }
)
_MIDNIGHT = datetime.time()
_EXCEL_START = datetime.datetime(1899, 12, 30)

_SPACE = "[ \t\u00a0\u2007\u2009\u202f]"
_SIGN, _MINUS = "[+\\-\u2212\u2013]", "[\\-\u2212\u2013]"
CURRENCIES = (
    "AED|AUD|BGN|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EUR|GBP|HKD|HUF|IDR|ILS|INR|JPY|KRW|MXN|MYR|NOK|"
    "NZD|PHP|PLN|RON|RUB|SAR|SEK|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR"
)
_SYMBOLS = "US\\$|R\\$|[$\u20ac\u00a3\u00a5\u20b9\u20a9\u20bd\u0e3f\u20ab\u20ba]|kr|z\u0142"
_UNIT = f"{_SYMBOLS}|{CURRENCIES}"


def _pattern(decimal: str, groups: str) -> str:
    """A number with a currency or percent sign, groups of digits, accounting's brackets.

    Groups never begin with a zero: `0,952` is a fraction, `030 361` a telephone. For RE2 and for
    Python's re alike.
    """
    group = f"[{groups}'\u2019 \u00a0\u2007\u2009\u202f]"
    # India parts lakhs and crores by two digits, with commas; points by two part versions.
    inner = "\\d{2,3}" if groups == "," else "\\d{3}"
    return (
        f"^(?P<open>\\()?{_SPACE}*(?P<sign1>{_SIGN})?{_SPACE}*(?P<unit1>{_UNIT})?{_SPACE}*"
        f"(?P<sign2>{_SIGN})?{_SPACE}*"
        f"(?:(?P<whole>[1-9]\\d{{0,2}}(?:{group}{inner})*{group}\\d{{3}}|\\d+)"
        f"(?P<part>{decimal}\\d*)?|(?P<only>{decimal}\\d+))"
        f"(?P<exponent>[eE][+\\-]?\\d+)?{_SPACE}*(?P<unit2>%|\u2030|{_UNIT})?{_SPACE}*"
        f"(?P<sign3>{_MINUS})?{_SPACE}*(?P<close>\\))?$"
    )


_NUMBERS: Mapping[bool, str] = {False: _pattern("\\.", ","), True: _pattern(",", ".")}
_COMPILED = {is_comma: re.compile(pattern) for is_comma, pattern in _NUMBERS.items()}
_PLAIN = re.compile(PLAIN_NUMBER)


def number_of(text: str, notation: Notation | None = None) -> float | None:
    """The number that a text without spaces around it stands for, None if for none."""
    is_comma = notation == "decimal_comma"
    if not is_comma and _PLAIN.match(text):
        return float(text)
    match = _COMPILED[is_comma].match(text)
    if match is None or bool(match["open"]) != bool(match["close"]):
        return None
    whole = re.sub(r"\D", "", match["whole"] or "")
    part = (match["part"] or match["only"] or "").replace(",", ".")
    value = float(f"{whole}{part}{match['exponent'] or ''}")
    signs = f"{match['sign1'] or ''}{match['sign2'] or ''}{match['sign3'] or ''}"
    is_negative = bool(match["open"]) or any(sign in "-\u2212\u2013" for sign in signs)
    return -value if is_negative else value


class Numbers(NamedTuple):
    """float64 values of texts, null where one is no number, and the units beside them."""

    values: pa.Array
    units: pa.Array


def numbers_of(text: pa.Array, notation: Notation | None = None) -> Numbers:
    """`number_of` of a whole column of large_string."""
    groups = pc.extract_regex(text, _NUMBERS[notation == "decimal_comma"])

    def part(name: str) -> pa.Array:
        return pc.fill_null(pc.struct_field(groups, name), "")

    def joined(*names: str) -> pa.Array:
        separator = pa.scalar("", text.type)
        return pc.binary_join_element_wise(*(part(name) for name in names), separator)

    fits = pc.and_(
        groups.is_valid(), pc.equal(pc.equal(part("open"), ""), pc.equal(part("close"), ""))
    )
    whole = pc.replace_substring_regex(part("whole"), r"\D", "")
    rest = pc.replace_substring(joined("part", "only"), ",", ".")
    digits = pc.binary_join_element_wise(whole, rest, part("exponent"), pa.scalar("", text.type))
    digits = pc.if_else(fits, digits, pa.scalar(None, digits.type))
    signs = joined("sign1", "sign2", "sign3")
    is_negative = pc.or_(pc.match_substring_regex(signs, _MINUS), pc.not_equal(part("open"), ""))
    values = pc.cast(digits, pa.float64())
    values = pc.if_else(is_negative, pc.negate(values), values)
    return Numbers(values, joined("unit1", "unit2"))


class Moment(NamedTuple):
    """Wall-clock time as written, and its offset from UTC in microseconds, if that is written."""

    wall: datetime.datetime
    offset_us: int = 0

    @property
    def is_gap(self) -> bool:
        """Whether it is one of the dates that stand for none."""
        date = self.wall.date()
        return date in NO_DATES and (date.year > 2900 or self.wall.time() == _MIDNIGHT)


_TIME = (
    r"(?:(?:[ T,]|, )\s*(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)"
    r"(?:[.,](?P<fraction>\d{1,9}))?)?(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?)?"
)
_YEAR_FIRST = re.compile(r"(?P<year>\d{4})[./\- ](?P<a>\d{1,2})[./\- ](?P<b>\d{1,2})" + _TIME)
_YEAR_LAST = re.compile(r"(?P<a>\d{1,2})[./\- ](?P<b>\d{1,2})[./\- ](?P<year>\d{4}|\d\d)" + _TIME)
_DAY_NAMED = re.compile(
    r"(?P<day>\d{1,2})(?:st|nd|rd|th)?[ .\-/]*(?P<month>[A-Za-z]{3,9})\.?[ .,\-/]*"
    r"(?P<year>\d{4}|\d\d)" + _TIME
)
_MONTH_NAMED = re.compile(
    r"(?P<month>[A-Za-z]{3,9})\.?[ \-](?P<day>\d{1,2})(?:st|nd|rd|th)?,?[ \-](?P<year>\d{4})"
    + _TIME
)
_DIGITS = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?")
# Of other years such texts are codes: 4711-03, 10-4500.
_ANY_YEAR = r"(?P<year>(?:19|20)\d\d)"
_MONTH_YEAR = re.compile(rf"(?P<month>[A-Za-z]{{3,9}}\.?|\d\d?)[ ./\-] ?{_ANY_YEAR}")
_YEAR_MONTH = re.compile(rf"{_ANY_YEAR}[ ./\-](?P<month>[A-Za-z]{{3,9}}\.?|\d\d?)")
_ZONE = re.compile(r"\s*(?:(?P<utc>Z|UTC|GMT)|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?)$")
_MONTHS = {
    name: number
    for number, names in enumerate(
        ("january", "february", "march", "april", "may", "june", "july", "august", "september",
         "october", "november", "december"), 1
    )
    for name in (names, names[:3])
} | {"sept": 9}  # fmt: skip


def moment_of(value: str | float, notation: Notation | None = None) -> Moment | None:
    """The moment that a text or a number stands for, None if for none.

    Takes ISO 8601, times of day such as "03:00" or "03:00_local", dates with names of months or the
    year first, months of a year ("Dec-2015", "12/2015", "2015-12": their first day), others as the
    notation says; seconds (or milli-, micro-, nanoseconds) since 1970.
    """
    if not isinstance(value, str):
        return _moment_of_number(value, notation)
    text = value.removesuffix("_local").strip()
    if text.isdigit() and text.isascii() or _PLAIN.match(text):
        return _moment_of_digits(text, notation)
    try:
        if len(text) <= 8 and ":" in text:
            return Moment(datetime.datetime.combine(NO_DATE, datetime.time.fromisoformat(text)))
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return _moment_of_words(text, notation)
    return zoned_moment(moment)


def zoned_moment(moment: datetime.datetime) -> Moment:
    """Its wall-clock time and its offset from UTC, 0 where it knows none."""
    offset = moment.utcoffset()
    return Moment(moment.replace(tzinfo=None), 0 if offset is None else _micros(offset))


def epoch_divisor(magnitude: float) -> int:
    """How many of a number's units make a second: 1 to 1e9, judged by its size (years to 5138)."""
    for limit, divisor in ((1e11, 1), (1e14, 10**3), (1e17, 10**6)):
        if magnitude < limit:
            return divisor
    return 10**9


def _moment_of_digits(text: str, notation: Notation | None) -> Moment | None:
    if notation in (None, "compact") and len(text) in (8, 12, 14) and text.isdigit():
        dated = _dated(text)
        if dated is not None or notation == "compact":
            return dated
    return _moment_of_number(float(text), notation)


def _dated(text: str) -> Moment | None:
    """20241231, 202412312359 or 20241231235959."""
    match = _DIGITS.fullmatch(text)
    if match is None or not 1900 <= int(match[1]) <= 2100 and int(match[1]) != 9999:
        return None
    parts = [int(part) for part in match.groups() if part is not None]
    try:
        return Moment(datetime.datetime(*parts))  # pyright: ignore[reportArgumentType]: six at most
    except ValueError:
        return None


def _moment_of_number(value: float, notation: Notation | None) -> Moment | None:
    if not abs(value) < 4e18:
        return None
    try:
        match notation:
            case "compact":
                return _dated(str(int(value)))
            case "year_month":
                return Moment(datetime.datetime(int(value) // 100, int(value) % 100, 1))
            case "year":
                return Moment(datetime.datetime(int(value), 1, 1))
            case "excel":
                return Moment(_EXCEL_START + datetime.timedelta(days=value))
            case _:
                unit = EPOCH_UNITS.get(notation) if notation is not None else None
                seconds = value / (unit or epoch_divisor(abs(value)))
                return Moment(datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds))
    except (ValueError, OverflowError):
        return None


@functools.lru_cache(maxsize=4096)  # columns of dates repeat them
def _moment_of_words(text: str, notation: Notation | None) -> Moment | None:
    zone = _ZONE.search(text)
    offset = 0
    if zone is not None and (zone["utc"] or ":" in text):
        text = text[: zone.start()]
        if zone["sign"]:
            minutes = 60 * int(zone["hours"]) + int(zone["minutes"] or 0)
            offset = (1 if zone["sign"] == "+" else -1) * minutes * 60_000_000
    for pattern in (_YEAR_FIRST, _YEAR_LAST, _DAY_NAMED, _MONTH_NAMED):
        match = pattern.fullmatch(text)
        if match is not None:
            wall = _wall(match, pattern, notation)
            return None if wall is None else Moment(wall, offset)
    for pattern in (_MONTH_YEAR, _YEAR_MONTH):
        match = pattern.fullmatch(text)
        if match is not None:
            return _first_of_month(match)
    return None


def is_month(text: str) -> bool:
    """Whether a text names a month of a year alone."""
    return any(pattern.fullmatch(text) for pattern in (_MONTH_YEAR, _YEAR_MONTH))


def _first_of_month(match: re.Match[str]) -> Moment | None:
    word = match["month"].rstrip(".")
    month = int(word) if word.isdigit() else _MONTHS.get(word.lower(), 0)
    try:
        return Moment(datetime.datetime(int(match["year"]), month, 1))
    except ValueError:
        return None


def _wall(
    match: re.Match[str], pattern: re.Pattern[str], notation: Notation | None
) -> datetime.datetime | None:
    year = int(match["year"])
    if len(match["year"]) == 2:  # as RFC 5280 reads it (4.1.2.5.1)
        year += 1900 if year >= 50 else 2000
    if pattern in (_DAY_NAMED, _MONTH_NAMED):
        month, day = _MONTHS.get(match["month"].lower(), 0), int(match["day"])
    elif pattern is _YEAR_FIRST:
        month, day = int(match["a"]), int(match["b"])
    elif notation in ("day_first", "month_first"):
        day, month = int(match["a"]), int(match["b"])
        if notation == "month_first":
            day, month = month, day
    else:
        return None
    hour = int(match["hour"] or 0)
    if match["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if match["half"] in "pP" else 0)
    micros = int((match["fraction"] or "0").ljust(6, "0")[:6])
    try:
        return datetime.datetime(
            year, month, day, hour, int(match["minute"] or 0), int(match["second"] or 0), micros
        )
    except ValueError:
        return None


def _micros(offset: datetime.timedelta) -> int:
    return offset // datetime.timedelta(microseconds=1)


def gaps_for(kind: str, more: frozenset[str] = frozenset()) -> frozenset[str]:
    """The texts that say that a field of a kind has no value; `more` are the corpus's own."""
    return (GAPS if kind in ("category", "entity") else GAPS_AMONG_VALUES) | more


def numbers_among(gaps: frozenset[str]) -> tuple[float, ...]:
    """The gaps that are numbers: in a column of numbers 999 and 999.0 say the same."""
    values = (number_of(gap) for gap in gaps)
    return tuple(sorted(value for value in values if value is not None))


def is_gap(text: pa.Array, gaps: frozenset[str]) -> NDArray[np.bool_]:
    """Which texts say that nothing is there."""
    encoded = text.dictionary_encode()
    words = pc.utf8_trim_whitespace(encoded.dictionary)
    stands = pc.is_in(words, value_set=pa.array(sorted(gaps), words.type))
    if not pc.any(stands).as_py():
        return np.zeros(len(text), bool)
    return np.asarray(pc.fill_null(stands.take(encoded.indices), False))
