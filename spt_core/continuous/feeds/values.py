"""What a document turns into: bytes -> Parsed(kind, items, markers, state).

A DEGRADED document is never "nothing new": its items, if any, may be ingested, but what it lacks is
unknown, so the source keeps its old validators and is asked again.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

State = Literal["OK", "DEGRADED"]
DocumentKind = Literal[
    "rss",
    "rdf",
    "atom",
    "cdf",
    "json_feed",
    "json_api",
    "html_list",
    "html",
    "xml",
    "empty",
    "unknown",
]

MAX_BODY_BYTES = 16 * 2**20
MAX_ITEMS = 20_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One publication, as its source tells it; every text is plain, without any tag.

    `key` is its identity within the source, `content_sha` tells a revision. Dates are what the
    source wrote: they are shown, never trusted.
    """

    key: str
    content_sha: str
    url: str = ""
    title: str = ""
    text: str = ""
    published_raw: str = ""
    updated_raw: str = ""
    categories: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The item as plain JSON."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PollHints:
    """What a feed says about when to come back: seconds, hours of the day and days in GMT."""

    ttl_s: float = 0.0
    skip_hours: frozenset[int] = frozenset()
    skip_days: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """What was made of one document.

    `markers` counts item-like elements in the raw bytes, whatever became of them. `cursor` is what
    the next poll hands in (None: unchanged); `next_page` is asked before the cursor is kept.
    """

    kind: DocumentKind
    items: tuple[Item, ...] = ()
    markers: int = 0
    state: State = "OK"
    reason: str = ""
    hints: PollHints = PollHints()
    cursor: str | None = None
    next_page: str | None = None

    def __post_init__(self) -> None:
        """A degraded document says why."""
        assert (self.state == "OK") == (not self.reason), self


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Poll:
    """One question to a source: the URL (after redirects, when its body is parsed), the cursor that
    is known and the one that holds when this answer, all its pages included, has been kept.
    """

    url: str
    known: str = ""
    next_cursor: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An item-like element before it has an identity: raw strings, markup included.

    `plain` names those of title and text that hold no markup by their format: there < is a <.
    """

    guid: str = ""
    link: str = ""
    title: str = ""
    text: str = ""
    published: str = ""
    updated: str = ""
    categories: tuple[str, ...] = ()
    plain: frozenset[str] = frozenset()


def degraded(kind: DocumentKind, reason: str, *, markers: int = 0) -> Parsed:
    """A document of which nothing could be used, and why."""
    return Parsed(kind=kind, markers=markers, state="DEGRADED", reason=reason)
