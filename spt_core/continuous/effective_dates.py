"""On which day a publication says that it takes effect: text -> dates, with the words."""

from __future__ import annotations

import calendar
import datetime
import re
from collections.abc import Sequence
from typing import NamedTuple

_MONTHS = tuple(calendar.month_name)[1:]
_MONTH = "|".join(f"{name[:3]}[a-z]*" for name in _MONTHS)
_DATE = (
    rf"(?:(?P<m1>{_MONTH})\.? (?P<d1>\d{{1,2}}),? (?P<y1>\d{{4}})"
    rf"|(?P<d2>\d{{1,2}}) (?P<m2>{_MONTH})\.? (?P<y2>\d{{4}})"
    r"|(?P<y3>\d{4})-(?P<m3>\d{2})-(?P<d3>\d{2}))"
)
_SAYING = re.compile(
    r"\b(?:effective(?: date)?(?: (?:is|as of|on|from))?"
    r"|(?:takes?|taking|came?|comes?|enters?|entering) (?:into )?(?:effect|force)(?: (?:on|from))?"
    r"|appl(?:y|ies|icable) (?:from|as of|on)|compliance date(?: is)?)[: ]{1,3}" + _DATE,
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
    for number in "123":
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
