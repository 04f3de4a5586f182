"""Counting item-like elements in raw bytes, without a parser that may lose some."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ITEM = rb"/?(?:[a-z_][\w.-]{0,40}:)?(?:item|entry)(?=[\s/>])"
_SECTIONS = {b"!--": b"-->", b"![CDATA[": b"]]>"}


def count_markers(body: bytes, *, limit: int) -> int:
    """How many `<item` or `<entry` tags open outside comments and CDATA; stops above the limit.

    A comment or CDATA section that never ends hides nothing: what follows it is counted.
    """
    return _scan(body, limit)[0]


def last_item_is_open(body: bytes) -> bool:
    """Whether the last item-like element of the document is never closed."""
    return _scan(body, len(body))[1]


def _scan(body: bytes, limit: int) -> tuple[int, bool]:
    num_markers, position, is_open = 0, 0, False
    sections = dict(_SECTIONS)
    pattern = _pattern(sections)
    while match := pattern.search(body, position):
        position = match.end()
        close = sections.get(match[1].upper())
        if close is not None:
            end = body.find(close, position)
            if end < 0:  # this kind of section never ends from here on: look for it no more
                del sections[match[1].upper()]
                pattern = _pattern(sections)
            else:
                position = end + 3
        elif match[1].startswith(b"/"):
            is_open = False
        else:
            num_markers += 1
            is_open = not _is_empty_tag(body, position)
            if num_markers > limit:
                break
    return num_markers, is_open


def _pattern(sections: Iterable[bytes]) -> re.Pattern[bytes]:
    alternatives = [_ITEM, *(re.escape(start) for start in sections)]
    return re.compile(b"<(" + b"|".join(alternatives) + b")", re.IGNORECASE)


def _is_empty_tag(body: bytes, position: int) -> bool:
    end = body.find(b">", position, position + 2000)
    return end > 0 and body[end - 1 : end] == b"/"
