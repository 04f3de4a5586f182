"""One place that publishes, as an industry's FEEDS and the TOML file name it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

import cssselect

from spt_core.continuous.feeds.identity import IDENTITIES, Identity
from spt_core.continuous.url import malformed_url
from spt_core.errors import InputError
from spt_core.plain import from_plain
from spt_core.task import IndustryType

Kind = Literal["rss", "html_list", "json_api"]
KINDS: tuple[str, ...] = get_args(Kind)

_ID = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
_SHORTEST_INTERVAL_S = 60.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LinkList:
    """How to find publications on a page without a feed.

    `css` chooses the links, `url_pattern` (searched in the absolute address) those that are
    publications. Fewer than `min_links`, or a larger share of unknown ones than `max_churn`, means
    that the page changed its form.
    """

    css: str = "a[href]"
    url_pattern: str = ""
    min_links: int = 1
    max_churn: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a selector that could never work."""
        try:
            cssselect.parse(self.css)
        except cssselect.SelectorError as error:
            raise InputError(
                f"css must be a CSS selector, however: {self.css!r}: {error}"
            ) from error
        try:
            re.compile(self.url_pattern)
        except re.error as error:
            raise InputError(
                f"url_pattern must be a regular expression, however: {self.url_pattern!r}: {error}"
            ) from error
        if self.min_links < 1:
            raise InputError(f"min_links must be at least 1, however: {self.min_links}")
        if not 0 < self.max_churn <= 1:
            raise InputError(f"max_churn must be in (0, 1], however: {self.max_churn}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TimeWindow:
    """Asking an API for what changed since the last poll, with an overlap.

    The parameters take times of `time_format` (UTC). Without a cursor the first poll goes back
    `first_span_s`; no poll spans more than `max_span_s`.
    """

    start_param: str
    end_param: str = ""
    time_format: str = "%Y-%m-%dT%H:%M:%S.000"
    overlap_s: float = 86_400.0
    first_span_s: float = 7 * 86_400.0
    max_span_s: float = 119 * 86_400.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class JsonLayout:
    """Where things are in an API's answer: dotted paths; lists are walked through.

    `descriptions[lang=en].value` takes the elements whose `lang` is `en`; a path with braces is a
    template (`https://host/{id}`). `items` empty means that the answer itself is the list, `id`
    empty that entries have none.
    `next_page` is the path of the next page's URL; or else `offset_param` with `total`. `html` says
    that titles and texts are HTML; else they are text, where a < is a <.
    """

    items: str = ""
    id: str
    title: str
    url: str = ""
    text: tuple[str, ...] = ()
    published: str = ""
    updated: str = ""
    categories: tuple[str, ...] = ()
    total: str = ""
    next_page: str = ""
    offset_param: str = ""
    window: TimeWindow | None = None
    html: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A source of publications and how to read it.

    `interval_s` replaces the adaptive interval. A `secret_header` (its value is the operator's, and
    goes to the URL's own origin only) is what an API wants for its key.
    """

    id: str
    name: str
    industry: IndustryType
    kind: Kind
    url: str
    identity: Identity = "auto"
    interval_s: float | None = None
    secret_header: str = ""
    links: LinkList | None = None
    json: JsonLayout | None = None

    def __post_init__(self) -> None:
        """Refuse a source that could never be polled."""
        where = f"source {self.id!r}"
        if not _ID.fullmatch(self.id):
            raise InputError(
                "id must be lower-case letters, digits and underscores, at most 64, however: "
                f"{self.id!r}"
            )
        if self.kind not in KINDS:
            raise InputError(f"kind must be one of {_listed(KINDS)}, however: {self.kind!r}")
        if self.identity not in IDENTITIES:
            raise InputError(
                f"identity must be one of {_listed(IDENTITIES)}, however: {self.identity!r}"
            )
        problem = malformed_url(self.url)
        if problem:
            raise InputError(f"url must be one that can be asked, however: {self.url!r}: {problem}")
        if self.interval_s is not None and self.interval_s < _SHORTEST_INTERVAL_S:
            raise InputError(
                f"interval_s must be at least {_SHORTEST_INTERVAL_S:.0f}, however: "
                f"{self.interval_s}"
            )
        if self.secret_header and not _HEADER.fullmatch(self.secret_header):
            raise InputError(f"secret_header must be a header, however: {self.secret_header!r}")
        if (self.links is not None) != (self.kind == "html_list"):
            raise InputError(f"{where}: links must be given for kind html_list and no other kind")
        if (self.json is not None) != (self.kind == "json_api"):
            raise InputError(f"{where}: json must be given for kind json_api and no other kind")

    def to_json(self) -> dict[str, Any]:
        """The source as plain JSON."""
        return dataclasses.asdict(self)


def source_from_json(content: Mapping[str, Any]) -> Source:
    """The source that `Source.to_json` wrote."""
    return from_plain(Source, content)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)
