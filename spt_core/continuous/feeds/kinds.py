"""Every kind of source and its two pure halves: which URL to ask, and what came back.

`parse(body, content_type, source, poll)` raises nothing for what a document holds but
NotStrictError: the same document then goes to `ParserPool.parse`, which reads it elsewhere.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import NamedTuple

from spt_core.continuous.feeds import html_list, json_api, rss
from spt_core.continuous.feeds.source import Kind, Source
from spt_core.continuous.feeds.text import starts_json
from spt_core.continuous.feeds.values import Parsed, Poll
from spt_core.task import IndustryType

Request = Callable[[Source, str, datetime.datetime], Poll]
Parse = Callable[[bytes, str, Source, Poll], Parsed]


class FeedKind(NamedTuple):
    """How a kind of source is polled: (source, cursor, now) -> Poll, and its body -> Parsed."""

    request: Request
    parse: Parse


FEED_KINDS: dict[Kind, FeedKind] = {
    "rss": FeedKind(rss.request, rss.parse),
    "html_list": FeedKind(html_list.request, html_list.parse),
    "json_api": FeedKind(json_api.request, json_api.parse),
}


ON_DISK = Source(
    id="document",
    name="a document of which nothing but its bytes is known",
    industry=IndustryType.TECHNOLOGY,
    kind="rss",
    url="https://document.invalid/",
)


def request(source: Source, cursor: str, now: datetime.datetime) -> Poll:
    """What to ask a source that was last polled up to the cursor."""
    return FEED_KINDS[source.kind].request(source, cursor, now)


def parse(body: bytes, content_type: str, source: Source, poll: Poll) -> Parsed:
    """What a source's answer holds; NotStrictError where only the tolerant parser can tell."""
    if source == ON_DISK and starts_json(body):
        return _parse_any_json(body, poll)
    return FEED_KINDS[source.kind].parse(body, content_type, source, poll)


def _parse_any_json(body: bytes, poll: Poll) -> Parsed:
    """The items of an answer that looks like one of the known APIs, or of a JSON Feed."""
    content = json_api.read(body)
    if isinstance(content, Parsed):
        return content
    for layout in json_api.KNOWN_LAYOUTS:
        if json_api.fits(layout, content):
            return json_api.parse_content("json_api", content, layout, ON_DISK, poll)
    return json_api.parse_json_feed(content, ON_DISK, poll)
