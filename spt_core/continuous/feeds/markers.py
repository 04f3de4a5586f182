"""Counting item-like elements in raw bytes, without a parser that may lose some."""

from __future__ import annotations

import re

_INTERESTING = re.compile(
    rb"<(?:(!--)|(!\[CDATA\[)|/?(?:[a-z_][\w.-]{0,40}:)?(?:item|entry)(?=[\s/>]))", re.IGNORECASE
)


def count_markers(body: bytes, *, limit: int) -> int:
    """How many `<item` or `<entry` tags open outside comments and CDATA; stops above the limit.

    A comment or CDATA section that never ends hides nothing: what follows it is counted.
    """
    return _scan(body, limit)[0]


def last_item_is_open(body: bytes) -> bool:
    """Whether the last item-like element of the document is never closed."""
    return _scan(body, len(body))[1]


def _scan(body: bytes, limit: int) -> tuple[int, bool]:
    num_found, position, is_open = 0, 0, False
    endless: set[bytes] = set()
    while found := _INTERESTING.search(body, position):
        position = found.end()
        if found[1] or found[2]:
            close = b"-->" if found[1] else b"]]>"
            end = -1 if close in endless else body.find(close, position)
            if end < 0:
                endless.add(close)
            else:
                position = end + 3
        elif found[0].startswith(b"</"):
            is_open = False
        else:
            num_found += 1
            is_open = not _is_empty_tag(body, position)
            if num_found > limit:
                break
    return num_found, is_open


def _is_empty_tag(body: bytes, position: int) -> bool:
    end = body.find(b">", position, position + 2000)
    return end > 0 and body[end - 1 : end] == b"/"
