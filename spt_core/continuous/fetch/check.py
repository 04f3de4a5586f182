"""Trying sources once and saying what is wrong with each, in words for people."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from aiohttp.abc import AbstractResolver

from spt_core.continuous.feeds.documents import parse_in_loop
from spt_core.continuous.feeds.kinds import request
from spt_core.continuous.feeds.pool import ParserPool
from spt_core.continuous.feeds.source import Source
from spt_core.continuous.feeds.values import Parsed, Poll, PollHints
from spt_core.continuous.fetch.fetcher import Fetched, Fetcher, FetchPolicy, Request
from spt_core.continuous.fetch.schedule import next_check

Verdict = Literal[
    "ok",
    "moved",
    "missing",
    "web page",
    "rate limited",
    "no answer",
    "refused",
    "failed",
    "degraded",
]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one try of a source showed; `advice` says what to do where something is wrong."""

    id: str
    url: str
    verdict: Verdict
    status: int
    num_items: int
    reason: str
    advice: str
    next_reason: str

    def to_json(self) -> dict[str, Any]:
        """The finding as plain JSON."""
        return dataclasses.asdict(self)


_ADVICE: dict[Verdict, str] = {
    "missing": "look for the feed's new address on the publisher's site",
    "web page": "the site blocks programs or has no feed here: name a contact in fetch.user_agent, "
    "or use kind html_list",
    "rate limited": "ask less often: set interval_s, and name a contact in fetch.user_agent",
    "no answer": "check the host's name and that this machine may reach it",
    "refused": "a source must be a public http(s) address; a network of your own is opened with "
    "--allow-network",
    "failed": "the server refused: some want a contact in fetch.user_agent or a key",
    "degraded": "look at the document with `python -m jobs.watch parse`",
}


async def check_sources(
    sources: Sequence[Source],
    policy: FetchPolicy,
    *,
    now: datetime.datetime,
    secrets: Mapping[str, str],
    resolver: AbstractResolver | None = None,
) -> list[Finding]:
    """What is wrong with each source, all asked at once, in their order; `secrets` by source id."""
    with ParserPool() as pool:
        async with Fetcher(policy, resolver=resolver) as fetcher:
            checks = (
                _check(source, fetcher, pool, now, secrets.get(source.id, "")) for source in sources
            )
            return list(await asyncio.gather(*checks))


async def _check(
    source: Source, fetcher: Fetcher, pool: ParserPool, now: datetime.datetime, secret: str
) -> Finding:
    poll = request(source, "", now)
    headers = {source.secret_header: secret} if source.secret_header and secret else {}
    async with fetcher.fetch(Request(url=poll.url, secret_headers=headers)) as fetched:
        parsed = await _parsed(fetched, source, poll, pool)
    verdict, reason = _verdict(fetched, parsed)
    advice = _ADVICE.get(verdict, "")
    if verdict == "moved":
        advice = f"set url to {fetched.moved_to}"
    if source.secret_header and (not secret or fetched.status in (401, 403)):
        advice = "; ".join(part for part in (advice, _about_key(source, secret)) if part)
    hints = parsed.hints if parsed else PollHints()
    planned = next_check(now, fetched, hints=hints, interval_s=source.interval_s, jitter=0.0)
    return Finding(
        id=source.id,
        url=source.url,
        verdict=verdict,
        status=fetched.status,
        num_items=len(parsed.items) if parsed else 0,
        reason=reason,
        advice=advice,
        next_reason=planned.reason,
    )


async def _parsed(fetched: Fetched, source: Source, poll: Poll, pool: ParserPool) -> Parsed | None:
    if fetched.outcome != "changed":
        return None
    poll = dataclasses.replace(poll, url=fetched.url)
    return await parse_in_loop(fetched.body, fetched.content_type, source, poll, pool)


def _about_key(source: Source, secret: str) -> str:
    variable = f"SPT_SECRET_{source.id.upper()}"
    if secret:
        return f"it refuses the key in {variable}, sent as {source.secret_header}: renew it"
    return (
        f"it wants its key in the header {source.secret_header}, and none was sent: set {variable}"
    )


def _verdict(fetched: Fetched, parsed: Parsed | None) -> tuple[Verdict, str]:
    if parsed is None:
        names: dict[str, Verdict] = {
            "missing": "missing",
            "rate_limited": "rate limited",
            "no_answer": "no answer",
            "refused": "refused",
        }
        return names.get(fetched.outcome, "failed"), fetched.reason
    if parsed.state == "DEGRADED":
        return "web page" if parsed.kind == "html" else "degraded", parsed.reason
    if fetched.moved_to:
        return "moved", f"it moved for good to {fetched.moved_to}"
    return "ok", ""
