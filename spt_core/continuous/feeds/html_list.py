"""Pages that list publications and have no feed: the set of their links, page by page.

The page's links are compared with those of the last poll. A page with too few of them, or with too
many new ones, has changed its form (or is not the page): DEGRADED, never "everything is new".
"""

from __future__ import annotations

import datetime
import re
from urllib.parse import urljoin

from lxml import etree
from lxml.cssselect import CSSSelector

from spt_core.continuous.feeds.identity import canonical_url, items_of
from spt_core.continuous.feeds.source import Source
from spt_core.continuous.feeds.text import charset, html_title, one_line, readable_bytes
from spt_core.continuous.feeds.values import (
    MAX_BODY_BYTES,
    MAX_ITEMS,
    Entry,
    Parsed,
    Poll,
    degraded,
)


def request(source: Source, cursor: str, now: datetime.datetime) -> Poll:
    """The page; the cursor is the links of the last poll, one a line."""
    del now
    return Poll(url=source.url, known=cursor)


def parse(body: bytes, content_type: str, source: Source, poll: Poll) -> Parsed:
    """The page's publications as items, or DEGRADED with the reason."""
    assert source.links is not None
    if len(body) > MAX_BODY_BYTES:
        return degraded("unknown", f"the document is larger than {MAX_BODY_BYTES // 2**20} MB")
    body = readable_bytes(body)
    if not body.strip():
        return degraded("empty", "the body is empty")
    elements = _elements(body, content_type, source.links.css)
    if len(elements) > MAX_ITEMS:
        return degraded("html_list", f"more than {MAX_ITEMS:,} links", markers=len(elements))
    titles = _titles_by_url(elements, source.links.url_pattern, poll.url)
    problem = _problem(source, set(titles), poll.known)
    if problem:
        title = html_title(body)
        shown = f" (the page is titled {title!r})" if title else ""
        return degraded("html_list", problem + shown, markers=len(elements))
    entries = [Entry(link=url, title=title) for url, title in titles.items()]
    return Parsed(
        kind="html_list",
        items=items_of(entries, base=poll.url, identity="link"),
        markers=len(elements),
        cursor="\n".join(sorted(titles)),
    )


def _elements(body: bytes, content_type: str, css: str) -> list[etree.ElementBase]:
    parser = etree.HTMLParser(
        encoding=_known_encoding(charset(content_type)),
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError:  # not one element in it
        return []
    return CSSSelector(css, translator="html")(root) if root is not None else []


def _known_encoding(name: str) -> str | None:
    try:
        "".encode(name)
    except LookupError:
        return None
    return name or None


def _titles_by_url(
    elements: list[etree.ElementBase], url_pattern: str, base: str
) -> dict[str, str]:
    pattern = re.compile(url_pattern)
    titles: dict[str, str] = {}
    for element in elements:
        href = (element.get("href") or "").strip()
        try:
            url = canonical_url(urljoin(base, href))
        except ValueError:
            continue
        if not href or not url.startswith(("http://", "https://")) or not pattern.search(url):
            continue
        title = one_line("".join(element.itertext())) or one_line(element.get("title") or "")
        if len(title) > len(titles.get(url, "")) or url not in titles:
            titles[url] = title
    return titles


def _problem(source: Source, urls: set[str], cursor: str) -> str:
    assert source.links is not None
    if len(urls) < source.links.min_links:
        return f"{len(urls)} links match, at least {source.links.min_links} are expected"
    before = set(cursor.split("\n")) if cursor else set[str]()
    churn = len(urls - before) / len(urls)
    if before and churn > source.links.max_churn:
        limit = f"more than max_churn ({source.links.max_churn:.0%})"
        return (
            f"{churn:.0%} of its links are new, {limit}: if they are right, raise it for one poll"
        )
    return ""
