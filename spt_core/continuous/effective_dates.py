"""On which day a publication says that it takes effect: text -> dates, with the words."""

from __future__ import annotations

import calendar
import datetime
import re
from collections.abc import Sequence
from typing import NamedTuple

_MONTHS = tuple(calendar.month_name)[1:]
# Whole names and their short forms alone: "December" and "Dec.", never "Decision".
_MONTH = "|".join(
    rf"{name}|{name[:4]}\b|{name[:3]}\b" if name == "September" else rf"{name}|{name[:3]}\b"
    for name in _MONTHS
)
_WEEKDAY = rf"(?:(?:{'|'.join(calendar.day_name)}),? )?(?:the )?"
_ORDINAL = r"(?:st|nd|rd|th)?"
_DATE = (
    rf"{_WEEKDAY}(?:(?P<m1>{_MONTH})\.? (?P<d1>\d{{1,2}}){_ORDINAL},? (?P<y1>\d{{4}})"
    rf"|(?P<d2>\d{{1,2}}){_ORDINAL}(?: day of| of)? (?P<m2>{_MONTH})\.?,? (?P<y2>\d{{4}})"
    r"|(?P<y3>\d{4})-(?P<m3>\d{2})-(?P<d3>\d{2})"
    r"|(?P<m4>\d{1,2})/(?P<d4>\d{1,2})/(?P<y4>\d{4})"  # American authorities write slashes,
    r"|(?P<d5>\d{1,2})\.(?P<m5>\d{1,2})\.(?P<y5>\d{4}))\b"  # European ones write dots
)
_WHAT = r"(?: (?:for|of|of the|of this|for the|for this)(?: (?!is\b|are\b)[\w-]+){1,6})?"
_SAYING = re.compile(
    r"(?<!no longer )(?<!not )(?<!previously )\b(?:"
    rf"(?:effective|compliance|application|implementation) dates?{_WHAT}"
    r"(?: (?:is|are|will be|shall be|of|as of|on|from))*"
    r"|effective(?: (?:is|as of|on|from|beginning|starting|on or after|no earlier than))*"
    r"|(?:takes?|taking|took|goes?|going|went|came?|comes?|coming|enter(?:s|ed|ing)?) "
    r"(?:into )?(?:effect|force|operation)(?: (?:on|from|as of|on or after))?"
    r"|in (?:force|effect) (?:from|as of|on|since)"
    r"|appl(?:y|ies|icable) (?:from|as of|on|as from)|mandatory (?:from|as of|on)"
    r")[: ]{1,3}" + _DATE,
    re.IGNORECASE,
)
LONGEST_TEXT = 100_000


class Effective(NamedTuple):
    """An ISO date, and the words of the text that it stands in."""

    date: str
    phrase: str


def effective_dates(text: str) -> list[Effective]:
    """The dates that the text says something takes effect on, each once, earliest first."""
    phrase_by_date: dict[str, str] = {}
    for match in _SAYING.finditer(" ".join(text[:LONGEST_TEXT].split())):
        date = _date(match)
        if date is not None:
            phrase_by_date.setdefault(date, match.group())
    return [Effective(date, phrase_by_date[date]) for date in sorted(phrase_by_date)]


def to_come(dates: Sequence[Effective], now_s: float) -> list[str]:
    """Those of the dates that are later than the moment."""
    today = datetime.datetime.fromtimestamp(now_s, datetime.UTC).date().isoformat()
    return sorted({one.date for one in dates if one.date > today})


def moment_of(date: str) -> float:
    """The first second of an ISO date, or the moment of an ISO time; UTC where it says nothing."""
    moment = datetime.datetime.fromisoformat(date)
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def _date(match: re.Match[str]) -> str | None:
    for number in "12345":
        year, month, day = (match[f"{part}{number}"] for part in "ymd")
        if year is not None and month is not None and day is not None:
            index = month if month.isdigit() else str(_number(month))
            try:
                return datetime.date(int(year), int(index), int(day)).isoformat()
            except ValueError:  # 31 June
                return None
    return None


def _number(month: str) -> int:
    return 1 + next(
        n for n, name in enumerate(_MONTHS) if name.lower().startswith(month.lower()[:3])
    )
