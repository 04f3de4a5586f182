"""Entries and polling hints in a parsed RSS or Atom tree: elements -> Entry, PollHints."""

from __future__ import annotations

import base64
import functools
import html
from collections.abc import Iterator
from urllib.parse import urljoin

from lxml import etree

from spt_core.continuous.feeds.values import Entry, PollHints

_ATOM_1 = "http://www.w3.org/2005/Atom"
_ATOM = frozenset({"http://www.w3.org/2005/atom", "http://purl.org/atom/ns#"})
_RSS = frozenset(
    {
        "",
        "http://purl.org/rss/1.0/",
        "http://purl.org/net/rss1.1#",
        "http://my.netscape.com/rdf/simple/0.9/",
        "http://channel.netscape.com/rdf/simple/0.9/",
        "http://backend.userland.com/rss",
        "http://backend.userland.com/rss2",
        "http://backend.userland.com/rss091",
        "http://blogs.law.harvard.edu/tech/rss",
        "http://cyber.law.harvard.edu/rss/rss.html",
    }
)
CORE = _ATOM | _RSS
_DC = "http://purl.org/dc/elements/1.1/"
_DCTERMS = "http://purl.org/dc/terms/"
_SYNDICATION = "{http://purl.org/rss/1.0/modules/syndication/}"
_XHTML = "http://www.w3.org/1999/xhtml"
_RDF_ABOUT = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}about"

# (namespace, local name) -> field and rank; the lowest rank that has a text wins.
_FOREIGN = {
    (_DC, "title"): ("title", 1),
    ("http://search.yahoo.com/mrss/", "title"): ("title", 2),
    ("http://www.itunes.com/dtds/podcast-1.0.dtd", "title"): ("title", 2),
    ("http://purl.org/rss/1.0/modules/content/", "encoded"): ("text", 0),
    (_XHTML, "body"): ("text", 1),
    (_XHTML, "div"): ("text", 1),
    (_DC, "description"): ("text", 3),
    (_DCTERMS, "abstract"): ("text", 3),
    ("http://www.itunes.com/dtds/podcast-1.0.dtd", "summary"): ("text", 4),
    ("http://search.yahoo.com/mrss/", "description"): ("text", 4),
    (_DC, "date"): ("published", 1),
    (_DCTERMS, "issued"): ("published", 1),
    (_DCTERMS, "created"): ("published", 2),
    (_DCTERMS, "modified"): ("updated", 1),
    (_DC, "identifier"): ("guid", 2),
    (_DC, "subject"): ("category", 0),
}
_CORE_FIELDS = {
    "title": ("title", 0),
    "guid": ("guid", 0),
    "id": ("guid", 0),
    "link": ("link", 0),
    "content": ("text", 0),
    "description": ("text", 2),
    "summary": ("text", 2),
    "pubdate": ("published", 0),
    "published": ("published", 0),
    "issued": ("published", 1),
    "created": ("published", 2),
    "updated": ("updated", 0),
    "modified": ("updated", 0),
    "category": ("category", 0),
}


def item_elements(root: etree.ElementBase) -> Iterator[etree.ElementBase]:
    """Every item or entry of a feed namespace; one inside another is one more publication."""
    for element in root.iter("{*}item", "{*}entry"):
        if is_core(str(element.tag)):
            yield element


def holds_every_marker(root: etree.ElementBase, markers: int) -> bool:
    """Whether the tree holds every marker: what is no item is foreign."""
    return sum(1 for _ in root.iter("{*}item", "{*}entry")) == markers


@functools.lru_cache(maxsize=1024)
def is_core(tag: str) -> bool:
    """Whether a tag is in a namespace of feeds."""
    return (etree.QName(tag).namespace or "").lower() in CORE


@functools.lru_cache(maxsize=4096)
def _field(tag: str) -> tuple[str, int] | None:
    name = etree.QName(tag)
    if (name.namespace or "").lower() in CORE:
        return _CORE_FIELDS.get(name.localname.lower())
    return _FOREIGN.get((name.namespace or "", name.localname))


def entry_of(element: etree.ElementBase, *, based: bool) -> Entry:
    """The raw parts of an item element; `based` where the document uses xml:base."""
    texts: dict[str, tuple[int, str]] = {}
    plain: set[str] = set()
    links: list[tuple[int, str]] = []
    categories: list[str] = []
    permalink = ""
    for child in element:
        tag = child.tag
        field = _field(tag) if isinstance(tag, str) else None
        if field is None:
            continue
        name, rank = field
        if name == "category":
            categories.append(child.get("term") or child.text or child.get("label") or "")
        elif name == "link":
            href = child.get("href") or child.text or ""
            if href.strip():
                place = child.base if based else None  # the document's own base comes later
                links.append((_link_rank(child), urljoin(place, href.strip()) if place else href))
        else:
            text = _markup(child)
            if text.strip() and (name not in texts or rank < texts[name][0]):
                texts[name] = rank, text
                (plain.add if _is_plain(child) else plain.discard)(name)
            if name == "guid" and child.get("isPermaLink", "true").lower() != "false":
                permalink = text.strip()
    guid = texts.get("guid", (0, ""))[1] or element.get(_RDF_ABOUT) or ""
    link = min(links, key=lambda pair: pair[0])[1] if links else ""
    if not link and permalink.startswith(("http://", "https://")):
        link = permalink
    return Entry(
        guid=guid,
        link=link,
        title=texts.get("title", (0, ""))[1],
        text=texts.get("text", (0, ""))[1],
        published=texts.get("published", (0, ""))[1],
        updated=texts.get("updated", (0, ""))[1],
        categories=tuple(categories),
        plain=frozenset(plain),
    )


def _is_plain(element: etree.ElementBase) -> bool:
    """Whether Atom (RFC 4287, 3.1.1) says that an element holds text, not markup."""
    if len(element) or etree.QName(element).namespace != _ATOM_1:
        return False
    return element.get("type", "text").lower() in ("text", "text/plain")


def _link_rank(link: etree.ElementBase) -> int:
    href, kind = link.get("href"), link.get("type", "text/html")
    if href is None:
        return 0  # the text of an RSS link
    if link.get("rel", "alternate").lower() != "alternate":
        return 4 if link.get("rel", "").lower() in {"self", "edit", "replies"} else 3
    return 1 if "html" in kind else 2


def _markup(element: etree.ElementBase) -> str:
    if len(element) == 0:
        text = element.text or ""
        return _from_base64(text) if element.get("mode") == "base64" else text
    inside = (etree.tostring(child, encoding="unicode", with_tail=True) for child in element)
    return html.escape(element.text or "", quote=False) + "".join(inside)


def _from_base64(text: str) -> str:
    """What Atom 0.3 may pack; the text itself where it is nothing of the kind."""
    try:
        return base64.b64decode(text, validate=False).decode()
    except ValueError:
        return text


def feed_hints(root: etree.ElementBase) -> PollHints:
    """What the feed says about when to come back."""
    channel = root.find("{*}channel")
    place = root if channel is None else channel
    hours = place.find("{*}skipHours")
    days = place.find("{*}skipDays")
    return hints_of(
        ttl_minutes=place.findtext("{*}ttl") or "",
        period=place.findtext(f"{_SYNDICATION}updatePeriod") or "",
        frequency=place.findtext(f"{_SYNDICATION}updateFrequency") or "",
        skip_hours=[] if hours is None else [h.text or "" for h in hours][:48],
        skip_days=[] if days is None else [d.text or "" for d in days][:14],
    )


_PERIODS = {
    "hourly": 3600.0,
    "daily": 86400.0,
    "weekly": 604800.0,
    "monthly": 2592000.0,
    "yearly": 31536000.0,
}
_DAYS = {"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"}


def hints_of(
    *,
    ttl_minutes: str = "",
    period: str = "",
    frequency: str = "",
    skip_hours: list[str] | None = None,
    skip_days: list[str] | None = None,
) -> PollHints:
    """Polling hints from a feed's own words; what is no number or no day says nothing."""
    ttl = _number(ttl_minutes) * 60.0
    if period.strip().lower() in _PERIODS:
        times = _number(frequency) or 1.0
        ttl = max(ttl, _PERIODS[period.strip().lower()] / times)
    hours = {int(_number(hour)) % 24 for hour in skip_hours or [] if hour.strip().isdigit()}
    days = {day.strip().lower() for day in skip_days or []} & _DAYS
    return PollHints(ttl_s=ttl, skip_hours=frozenset(hours), skip_days=frozenset(days))


def _number(text: str) -> float:
    text = text.strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0.0
