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
from spt_core.continuous.feeds.values import Parsed, Poll

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


def request(source: Source, cursor: str, now: datetime.datetime) -> Poll:
    """What to ask a source that was last polled up to the cursor."""
    return FEED_KINDS[source.kind].request(source, cursor, now)


def parse(body: bytes, content_type: str, source: Source, poll: Poll) -> Parsed:
    """What a source's answer holds; NotStrictError where only the tolerant parser can tell."""
    return FEED_KINDS[source.kind].parse(body, content_type, source, poll)
