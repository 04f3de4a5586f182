"""When to ask a source again and why, as pure functions of what it said and when.

The longest of all wishes wins (interval, feed ttl, Cache-Control, Expires, Retry-After), then a
cap: a bad header must not silence a source for a year. What a feed skips comes last.
"""

from __future__ import annotations

import dataclasses
import datetime
import email.utils
import re

from spt_core.continuous.feeds.values import PollHints
from spt_core.continuous.fetch.fetcher import Fetched

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
SHORTEST_S = 15 * 60.0
LONGEST_S = DAY_S
LONGEST_SKIP_S = 3 * DAY_S
UNKNOWN_S = HOUR_S
ADOPT_AFTER_S = 2 * DAY_S

_UTC = datetime.UTC
_MAX_AGE = re.compile(r"(?:^|[\s,;])max-age\s*=\s*\"?(\d{1,10})", re.IGNORECASE)
_NO_CACHE = re.compile(r"(?:^|[\s,;])no-(?:cache|store)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NextCheck:
    """When a source is asked again, and the reason for people."""

    at: datetime.datetime
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MovedTo:
    """A permanent redirect that was seen and is not adopted yet."""

    target: str
    first_seen: datetime.datetime
    num_seen: int = 1


def adaptive_interval(num_items_last_week: float | None) -> float:
    """Seconds between checks of a source with so many items a week: half their usual distance."""
    if num_items_last_week is None:
        return UNKNOWN_S
    distance = 7 * DAY_S / max(num_items_last_week, 0.01)
    return min(max(distance / 2, SHORTEST_S), LONGEST_S)


def next_check(
    now: datetime.datetime,
    fetched: Fetched,
    *,
    hints: PollHints = PollHints(),  # noqa: B008  # frozen
    interval_s: float | None = None,
    num_items_last_week: float | None = None,
    num_errors: int = 0,
    jitter: float = 0.5,
) -> NextCheck:
    """When to ask again; `num_errors` counts failures in a row, `jitter` in [0, 1) spreads them."""
    if interval_s is not None:
        wishes = [(interval_s, f"its interval is {_span(interval_s)}")]
    else:
        seconds = adaptive_interval(num_items_last_week)
        rate = (
            "its rate is not known yet"
            if num_items_last_week is None
            else f"{num_items_last_week:g} items a week"
        )
        wishes = [(seconds, f"{_span(seconds)} by its rate ({rate})")]
    if num_errors:
        seconds = min(wishes[0][0] * 2.0 ** min(num_errors, 10), LONGEST_S)
        wishes.append((seconds, f"{num_errors} failures in a row: {fetched.reason or 'no answer'}"))
    if hints.ttl_s:
        wishes.append((hints.ttl_s, f"the feed asks for {_span(hints.ttl_s)}"))
    wishes += _header_wishes(now, fetched)
    wait, reason = max(wishes, key=lambda wish: wish[0])
    wait *= 1 + 0.1 * jitter
    cap = max(LONGEST_S, interval_s or 0.0)
    if wait > cap:
        wait, reason = cap, f"{reason}, capped at {_span(cap)}"
    at, skipped = _after_skips(now + datetime.timedelta(seconds=wait), hints)
    return NextCheck(at=at, reason=f"{reason}{skipped}")


def redirect_seen(
    before: MovedTo | None, target: str, now: datetime.datetime
) -> tuple[MovedTo | None, bool]:
    """What to remember of a permanent redirect, and whether its target may replace the URL now.

    Call it only after the target's body was parsed as OK; another target, or none, starts again.
    """
    if not target:
        return None, False
    if before is None or before.target != target or before.first_seen > now:
        return MovedTo(target=target, first_seen=now), False
    seen = dataclasses.replace(before, num_seen=before.num_seen + 1)
    age_s = (now - seen.first_seen).total_seconds()
    return seen, seen.num_seen >= 3 and age_s >= ADOPT_AFTER_S


def retry_after_s(text: str, now: datetime.datetime) -> float:
    """Seconds that a Retry-After header asks for: a number or a date; 0 for anything else."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    return _until(text, now)


def _header_wishes(now: datetime.datetime, fetched: Fetched) -> list[tuple[float, str]]:
    wishes: list[tuple[float, str]] = []
    if fetched.status in (429, 503):
        seconds = retry_after_s(fetched.retry_after, now)
        asked = f"Retry-After {_span(seconds)}" if seconds else "no Retry-After"
        wishes.append((max(seconds, HOUR_S), f"HTTP {fetched.status}, {asked}"))
        return wishes
    age = _MAX_AGE.search(fetched.cache_control)
    if age:
        wishes.append((float(age[1]), f"Cache-Control max-age {_span(float(age[1]))}"))
    elif fetched.expires and not _NO_CACHE.search(fetched.cache_control):
        seconds = _until(fetched.expires, _date(fetched.date) or now)
        wishes.append((seconds, f"Expires in {_span(seconds)}"))
    return wishes


def _until(text: str, now: datetime.datetime) -> float:
    date = _date(text)
    return max(0.0, (date - now).total_seconds()) if date is not None else 0.0


def _date(text: str) -> datetime.datetime | None:
    try:
        date = email.utils.parsedate_to_datetime(text[:100])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=_UTC)


def _after_skips(at: datetime.datetime, hints: PollHints) -> tuple[datetime.datetime, str]:
    """The first time that no skipHours or skipDays forbid; the wish itself if all do."""
    if not hints.skip_hours and not hints.skip_days:
        return at, ""
    moved = at.astimezone(_UTC)
    while (moved - at).total_seconds() <= LONGEST_SKIP_S:
        if moved.hour not in hints.skip_hours and f"{moved:%A}".lower() not in hints.skip_days:
            return moved, "" if moved == at else ", moved out of the feed's skipHours and skipDays"
        moved = (moved + datetime.timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
    return at, ", its skipHours and skipDays leave no time and are ignored"


def _span(seconds: float) -> str:
    for unit, size in (("d", DAY_S), ("h", HOUR_S), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
