"""One poll of one source: what to ask, what came back, and what that leaves of the source.

(ledger's Source, feed's Source) -> guarded fetch, page by page -> SourceResult, never an exception
for what a server does. Items of a degraded answer are kept, its validators and cursor are not, so
the source is asked again as before; a cursor holds only after the last page. A walk through pages
that was cut off leaves its moment as the cursor: the next one goes on beyond what came since then.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import math
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from spt_core.continuous import ledger
from spt_core.continuous.feeds.documents import parse_in_loop
from spt_core.continuous.feeds.kinds import request
from spt_core.continuous.feeds.pool import ParserPool
from spt_core.continuous.feeds.source import Source
from spt_core.continuous.feeds.values import Item, Parsed, Poll, PollHints
from spt_core.continuous.fetch.fetcher import Fetched, Fetcher, Request, origin
from spt_core.continuous.fetch.schedule import MovedTo, next_check, redirect_seen

MAX_PAGES = 50
ADOPTED = -1  # a redirect's count once its target is asked instead of the URL
FORGET_AFTER = 3  # failures in a row of an adopted target, until the URL itself is asked again
_TROUBLES = {
    "missing": "it is missing",
    "rate_limited": "it limits how often it is asked",
    "no_answer": "it does not answer",
    "refused": "it must not be asked",
    "failed": "it answers with an error",
}
_NO_TARGET: dict[str, Any] = {"redirect_target": "", "redirect_seen": 0.0, "redirect_count": 0}
Unknown = Callable[[ledger.SourceResult, float], Awaitable[ledger.SourceResult]]
_CUT = "cut:"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What one poll brought: the first page's answer, the items of all pages, and what is wrong."""

    fetched: Fetched
    trouble: str = ""
    items: tuple[Item, ...] = ()
    cursor: str | None = None
    hints: PollHints | None = None


class Polled(NamedTuple):
    """What became of a poll, in one word, and what is to be ingested of it."""

    outcome: str
    result: ledger.SourceResult


class Poller:
    """Asks sources.

    `unknown` takes out of an answer the items that were known before a moment: when none is left, a
    walk through pages ends.
    """

    def __init__(
        self, fetcher: Fetcher, pool: ParserPool, *, secrets: Mapping[str, str], unknown: Unknown
    ) -> None:
        self._fetcher, self._pool = fetcher, pool
        self._secrets, self._unknown = secrets, unknown

    async def poll(
        self,
        row: ledger.Source,
        source: Source,
        now: datetime.datetime,
        num_items_last_week: float | None,
    ) -> Polled:
        """The source as it is to be from now on, and its items."""
        reading = await self._read(row, source, now)
        result = ledger.SourceResult(
            source=after(row, source, reading, now, num_items_last_week),
            items=ledger_items(source.id, reading.items),
        )
        is_degraded = bool(reading.trouble) and reading.fetched.outcome == "changed"
        return Polled("degraded" if is_degraded else reading.fetched.outcome, result)

    async def _read(self, row: ledger.Source, source: Source, now: datetime.datetime) -> Reading:
        planned = request(source, row.cursor, now)
        asked = _request(row, source, planned.url, self._secrets.get(source.id, ""))
        async with self._fetcher.fetch(asked) as fetched:
            if fetched.outcome in ("not_modified", "unchanged"):
                return Reading(fetched=fetched)
            if fetched.outcome != "changed":
                return Reading(fetched=fetched, trouble=_trouble(fetched))
            planned = dataclasses.replace(planned, url=fetched.url)
            page = await parse_in_loop(
                fetched.body, fetched.content_type, source, planned, self._pool
            )
        fetched = dataclasses.replace(fetched, body=b"")
        first = Reading(
            fetched=fetched,
            trouble=page.reason,
            items=page.items,
            cursor=page.cursor,
            hints=page.hints,
        )
        return await self._rest(first, page, row, source, planned)

    async def _rest(
        self, reading: Reading, page: Parsed, row: ledger.Source, source: Source, planned: Poll
    ) -> Reading:
        """The reading with the pages that follow: all of a window, else as long as one has news."""
        for _ in range(MAX_PAGES - 1):
            if page.next_page is None or page.state != "OK":
                return reading
            if not _has_window(source) and not await self._goes_on(row, page):
                return reading
            answer = await self._page(page.next_page, source, planned)
            if isinstance(answer, str):
                return dataclasses.replace(
                    reading, trouble=f"a further page: {answer}", cursor=None
                )
            page = answer
            reading = dataclasses.replace(
                reading,
                trouble=page.reason,
                items=(*reading.items, *page.items),
                cursor=page.cursor,
            )
        more = (
            f"it has more than {MAX_PAGES} pages of news, older ones are not read: give it a window"
        )
        return dataclasses.replace(reading, trouble=more, cursor=None)

    async def _goes_on(self, row: ledger.Source, page: Parsed) -> bool:
        """Whether an older page may hold what is not known; nobody asked for what was before."""
        if not row.body_sha:
            return False
        items = ledger_items(row.source_id, page.items)
        before_s = float(row.cursor.removeprefix(_CUT)) if _was_cut(row) else math.inf
        left = await self._unknown(ledger.SourceResult(source=row, items=items), before_s)
        return bool(left.items)

    async def _page(self, url: str, source: Source, planned: Poll) -> Parsed | str:
        secrets = _secret(source, self._secrets.get(source.id, ""), url)
        asked = Request(url=url, secret_headers=secrets)
        async with self._fetcher.fetch(asked) as fetched:
            if fetched.outcome != "changed":
                return _trouble(fetched)
            planned = dataclasses.replace(planned, url=fetched.url)
            return await parse_in_loop(
                fetched.body, fetched.content_type, source, planned, self._pool
            )


def after(
    row: ledger.Source,
    source: Source,
    reading: Reading,
    now: datetime.datetime,
    num_items_last_week: float | None,
) -> ledger.Source:
    """The source's row once the reading is kept."""
    fetched, trouble = reading.fetched, reading.trouble
    errors = row.errors + 1 if trouble else 0
    hints = reading.hints if reading.hints is not None and not trouble else None
    planned = next_check(
        now,
        dataclasses.replace(fetched, reason=trouble) if trouble else fetched,
        hints=_hints(row.hints) if hints is None else hints,
        interval_s=source.interval_s,
        num_items_last_week=num_items_last_week,
        num_errors=errors,
        jitter=_jitter(row),
    )
    changes: dict[str, Any] = {
        "next_check": planned.at.timestamp(),
        "next_reason": planned.reason,
        "errors": errors,
        "state": "DEGRADED" if trouble else "OK",
        "trouble": trouble[:500],
        "checked_at": now.timestamp(),
    }
    if trouble:
        changes |= _NO_TARGET if errors >= FORGET_AFTER else {}
        is_cut = fetched.outcome == "changed" and _is_walked(source) and row.body_sha != ""
        if is_cut and not _was_cut(row):
            changes["cursor"] = f"{_CUT}{now.timestamp()}"
        return dataclasses.replace(row, **changes)
    is_same = fetched.outcome == "not_modified"
    cursor = row.cursor if reading.cursor is None else reading.cursor
    if fetched.outcome == "changed" and _was_cut(row):
        cursor = ""  # what had been cut off is made up for
    changes |= _moved(row, fetched.moved_to, now)
    changes |= {
        "etag": fetched.etag or (row.etag if is_same else ""),
        "last_modified": fetched.last_modified or (row.last_modified if is_same else ""),
        "body_sha": fetched.body_sha or row.body_sha,
        "cursor": cursor,
        "hints": row.hints if hints is None else _hints_json(hints),
    }
    return dataclasses.replace(row, **changes)


def broken(row: ledger.Source, sentence: str, now: datetime.datetime) -> ledger.SourceResult:
    """The result of a poll that our own side could not finish: nothing is kept but the reason."""
    fetched = Fetched(outcome="failed", url=row.url, reason=sentence)
    planned = next_check(now, fetched, num_errors=row.errors + 1)
    source = dataclasses.replace(
        row,
        next_check=planned.at.timestamp(),
        next_reason=planned.reason,
        errors=row.errors + 1,
        state="DEGRADED",
        trouble=sentence[:500],
        checked_at=now.timestamp(),
    )
    return ledger.SourceResult(source=source)


def ledger_items(source_id: str, items: Sequence[Item]) -> tuple[ledger.Item, ...]:
    """The items as the ledger keeps them; of two with one key (a page moved) the first."""
    by_key: dict[str, ledger.Item] = {}
    for item in items:
        key = _clean(item.key)
        if key not in by_key:
            by_key[key] = ledger.Item(
                source_id=source_id,
                item_key=key,
                content_sha=item.content_sha,
                url=_clean(item.url),
                title=_clean(item.title),
                published_raw=_clean(item.published_raw),
                text=_clean(item.text),
                categories=_clean(json.dumps(item.categories)) if item.categories else "",
            )
    return tuple(by_key.values())


def is_adopted(row: ledger.Source) -> bool:
    """Whether a permanent redirect's target is asked instead of the source's URL."""
    return row.redirect_count == ADOPTED


def _request(row: ledger.Source, source: Source, url: str, secret: str) -> Request:
    if _has_window(source):  # each window is another question
        return Request(url=url, secret_headers=_secret(source, secret, url))
    url = row.redirect_target if is_adopted(row) else url
    return Request(
        url=url,
        etag=row.etag,
        last_modified=row.last_modified,
        body_sha=row.body_sha,
        secret_headers=_secret(source, secret, url),
    )


def _secret(source: Source, secret: str, url: str) -> Mapping[str, str]:
    """The source's key, for its own origin alone: not for where it redirects or links to."""
    is_own = origin(url) == origin(source.url)
    return {source.secret_header: secret} if source.secret_header and secret and is_own else {}


def _has_window(source: Source) -> bool:
    return source.json is not None and source.json.window is not None


def _is_walked(source: Source) -> bool:
    """Whether its pages are read from the newest on until nothing is new."""
    return source.json is not None and source.json.window is None


def _was_cut(row: ledger.Source) -> bool:
    return row.cursor.startswith(_CUT)


def _trouble(fetched: Fetched) -> str:
    return f"{_TROUBLES[fetched.outcome]}: {fetched.reason}"


def _moved(row: ledger.Source, target: str, now: datetime.datetime) -> dict[str, Any]:
    """What is to be remembered of a permanent redirect, whose target was read as usual."""
    if is_adopted(row) and not target:
        return {}
    before = None
    if row.redirect_target and not is_adopted(row):
        first = datetime.datetime.fromtimestamp(row.redirect_seen, datetime.UTC)
        before = MovedTo(target=row.redirect_target, first_seen=first, num_seen=row.redirect_count)
    seen, is_to_adopt = redirect_seen(before, target, now)
    if seen is None:
        return _NO_TARGET
    return {
        "redirect_target": seen.target,
        "redirect_seen": seen.first_seen.timestamp(),
        "redirect_count": ADOPTED if is_to_adopt else seen.num_seen,
    }


@functools.lru_cache(maxsize=256)  # most feeds say the same
def _hints(text: str) -> PollHints:
    if not text:
        return PollHints()
    content = json.loads(text)
    return PollHints(
        ttl_s=content["ttl_s"],
        skip_hours=frozenset(content["skip_hours"]),
        skip_days=frozenset(content["skip_days"]),
    )


def _hints_json(hints: PollHints) -> str:
    if hints == PollHints():
        return ""
    return json.dumps(
        {
            "ttl_s": hints.ttl_s,
            "skip_hours": sorted(hints.skip_hours),
            "skip_days": sorted(hints.skip_days),
        }
    )


def _jitter(row: ledger.Source) -> float:
    """A share of its own for each source and poll, the same when it is computed again."""
    return zlib.crc32(f"{row.source_id} {row.checked_at}".encode()) % 1000 / 1000


def _clean(text: str) -> str:
    """The text without what no database could hold."""
    if text.isascii():
        return text.replace("\0", "") if "\0" in text else text
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
