"""The strict fast path for RSS 0.9x, 1.0, 2.0 and Atom 0.3, 1.0: well-formed bytes -> Parsed.

Whatever is not well-formed, declares entities or is no feed that this module knows raises
NotStrictError: `tolerant.py` then reads the document in a process that may be killed. Nothing is
ever recovered here, so nothing is lost here without a word.
"""

from __future__ import annotations

import datetime
import re
from typing import NamedTuple

from lxml import etree

from spt_core.continuous.feeds import json_api
from spt_core.continuous.feeds.identity import Identity, items_of
from spt_core.continuous.feeds.markers import count_markers
from spt_core.continuous.feeds.source import Source
from spt_core.continuous.feeds.text import (
    charset,
    declared_encoding,
    html_title,
    readable_bytes,
    starts_json,
)
from spt_core.continuous.feeds.values import (
    MAX_BODY_BYTES,
    MAX_ITEMS,
    DocumentKind,
    Parsed,
    Poll,
    degraded,
)
from spt_core.continuous.feeds.xml_items import (
    CORE,
    entry_of,
    feed_hints,
    holds_every_marker,
    item_elements,
)

_FEED_ROOTS = {"rss", "rdf", "feed", "channel"}  # channel: CDF, which the other parser reads
_HTML = re.compile(rb"<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_DOCTYPE = re.compile(rb"<!DOCTYPE\s", re.IGNORECASE)
_PLAIN_DOCTYPE = re.compile(rb"<!DOCTYPE\s[^\[<>]{0,500}>", re.IGNORECASE)

_LATIN_1 = {"iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "latin-1", "l1", "us-ascii", "ascii"}
_UNSAFE_ENTITY = re.compile(rb"<!ENTITY\s[^>]{0,2000}?(?:&(?!#)|%|SYSTEM|PUBLIC)", re.IGNORECASE)
_MAX_SUBSET_BYTES = 10_000


class NotStrictError(Exception):
    """The document must be read by the tolerant parser; the sentence says why."""


class Prepared(NamedTuple):
    """A document that may be parsed: cleaned bytes and the raw count of item-like elements."""

    body: bytes
    markers: int


def request(source: Source, cursor: str, now: datetime.datetime) -> Poll:
    """The feed itself: it has no cursor."""
    del cursor, now
    return Poll(url=source.url)


def parse(body: bytes, content_type: str, source: Source, poll: Poll) -> Parsed:
    """What a feed's answer holds, JSON Feed included; NotStrictError as in `parse_strict`."""
    if starts_json(body):
        content = json_api.read(body)
        if isinstance(content, Parsed):
            return content
        return json_api.parse_json_feed(content, source, poll)
    return parse_strict(body, content_type, base=poll.url, identity=source.identity)


def prepare(body: bytes) -> Prepared | Parsed:
    """Cleaned bytes with their marker count, or the reason why no parser should see them."""
    if len(body) > MAX_BODY_BYTES:
        size = MAX_BODY_BYTES // 2**20
        return degraded("unknown", f"the document is larger than {size} MB")
    body = readable_bytes(body).lstrip()
    if not body:
        return degraded("empty", "the body is empty")
    markers = count_markers(body, limit=MAX_ITEMS)
    if markers > MAX_ITEMS:
        return degraded("xml", f"the document has more than {MAX_ITEMS:,} items", markers=markers)
    if markers == 0 and _HTML.match(body, _prolog_end(body)):
        title = html_title(body)
        shown = f" ({title!r})" if title else ""
        return degraded("html", f"a web page{shown} came instead of a feed")
    if _declares_unsafe_entities(body):
        reason = "it declares entities that hold entities or files, which is refused"
        return degraded("xml", reason, markers=markers)
    return Prepared(body, markers)


def parse_strict(
    body: bytes, content_type: str = "", *, base: str = "", identity: Identity = "auto"
) -> Parsed:
    """What a well-formed feed holds; NotStrictError where only a tolerant parser can tell."""
    prepared = prepare(body)
    if isinstance(prepared, Parsed):
        return prepared
    root = _root(prepared.body, content_type)
    kind = _kind(root)
    elements = list(item_elements(root))
    name = etree.QName(root).localname[:40]
    if not elements and name.lower() not in _FEED_ROOTS:
        reason = f"the document is XML but no feed: its root is <{name}>"
        return degraded("xml", reason, markers=prepared.markers)
    if len(elements) < prepared.markers and not holds_every_marker(root, prepared.markers):
        raise NotStrictError(
            f"{prepared.markers} item elements, {len(elements)} in the parsed document"
        )
    if not elements:
        if prepared.markers:
            raise NotStrictError("its items are in an unknown namespace")
        return degraded(kind, "the feed has no entries")
    based = b"xml:base" in prepared.body
    entries = [entry_of(element, based=based) for element in elements]
    return Parsed(
        kind=kind,
        items=items_of(entries, base=base, identity=identity),
        markers=prepared.markers,
        hints=feed_hints(root),
    )


def _root(body: bytes, content_type: str) -> etree.ElementBase:
    start = _prolog_end(body)
    if _DOCTYPE.match(body, start):
        plain = _PLAIN_DOCTYPE.match(body, start)
        if plain is None:
            raise NotStrictError("it declares entities or elements of its own")
        body = body[:start] + body[plain.end() :]
    declared = declared_encoding(body) or charset(content_type).lower()
    # Who says ISO 8859-1 writes windows-1252, which has letters where the other has controls
    # (WHATWG, Encoding, 4.2); other declarations are the parser's to read.
    encoding = "windows-1252" if declared in _LATIN_1 else None
    if encoding is None and not declared_encoding(body):
        encoding = declared or None
    try:
        parser = etree.XMLParser(
            encoding=encoding,
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
            recover=False,
            remove_comments=True,
            remove_pis=True,
        )
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, LookupError, ValueError) as error:
        raise NotStrictError(f"it is not well-formed: {str(error)[:200]}") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise NotStrictError("it has a document type definition")
    return root


def _declares_unsafe_entities(body: bytes) -> bool:
    start = _prolog_end(body)
    if not _DOCTYPE.match(body, start) or _PLAIN_DOCTYPE.match(body, start):
        return False
    subset = body[start : start + _MAX_SUBSET_BYTES]
    return b"]" not in subset or _UNSAFE_ENTITY.search(subset) is not None


def _prolog_end(body: bytes) -> int:
    """Where the first tag or type declaration begins, after instructions and comments."""
    position = 0
    while True:
        while body[position : position + 1].isspace():
            position += 1
        for opening, closing in ((b"<?", b"?>"), (b"<!--", b"-->")):
            if body.startswith(opening, position):
                end = body.find(closing, position)
                break
        else:
            return position
        if end < 0:
            return position
        position = end + len(closing)


def _kind(root: etree.ElementBase) -> DocumentKind:
    name = etree.QName(root)
    namespace = (name.namespace or "").lower()
    match name.localname.lower():
        case "rss":
            return "rss"
        case "rdf":
            return "rdf"
        case "feed" | "entry" if namespace in CORE:
            return "atom"
        case _:
            return "xml"
