"""Which publication an entry is, and whether it changed: entries -> items.

The key is the guid, else the canonical link, else title and date; a source may say otherwise. A key
that several different entries of one document share is made longer (link, then title and date,
then content) until it tells them apart: court feeds give all entries of a docket one guid. Such a
key depends on its document's other entries; a source known for it should say "guid+link" or
"content".
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, get_args
from urllib.parse import urljoin, urlsplit

from spt_core.continuous.feeds.text import one_line, plain_text, tidied
from spt_core.continuous.feeds.values import Entry, Item

Identity = Literal["auto", "guid", "link", "guid+link", "title+date", "content"]
IDENTITIES: tuple[str, ...] = get_args(Identity)
MAX_KEY_LENGTH = 400

# Parameters that say where a reader came from or which session he has, never which page it is.
_TRACKING = re.compile(
    r"(utm_\w+|fbclid|gclid|dclid|msclkid|yclid|mc_cid|mc_eid|_hsenc|_hsmi|mkt_tok|wt_mc|xtor|"
    r"igshid|ref_src|cmpid|s_cid|at_(medium|campaign)|phpsessid|jsessionid|aspsessionid\w*|"
    r"sessionid|session_id|cfid|cftoken)",
    re.IGNORECASE,
)
_PLAIN_URL = re.compile(r"(https?://[a-z0-9.-]+[a-z0-9]/[^?#;\s]*)(?:\?([^#;\s]*))?")
_SESSION_PATH = re.compile(r";jsessionid=[^/?#;]*", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def canonical_url(url: str, base: str = "") -> str:
    """The address without tracking, session and default parts, absolute where `base` allows."""
    url = one_line(url)
    plain = _PLAIN_URL.fullmatch(url)
    if plain:  # as most are
        query = _without_tracking(plain[2] or "")
        return f"{plain[1]}?{query}" if query else plain[1]
    try:
        parts = urlsplit(urljoin(base, url) if base else url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:  # a bracket or port that is none: the text itself is what there is
        return url
    if parts.scheme not in _DEFAULT_PORTS or not host:
        return url
    if ":" in host:
        host = f"[{host}]"
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        host = f"{host}:{port}"
    query = _without_tracking(parts.query)
    path = _SESSION_PATH.sub("", parts.path) or "/"
    fragment = "" if _TRACKING.match(parts.fragment) else parts.fragment
    return f"{parts.scheme}://{host}{path}{'?' + query if query else ''}" + (
        f"#{fragment}" if fragment else ""
    )


def _without_tracking(query: str) -> str:
    """The query without parameters of tracking and sessions, all else as it was written."""
    if not query:
        return ""
    kept = (part for part in query.split("&") if not _TRACKING.fullmatch(part.partition("=")[0]))
    return "&".join(kept)


def items_of(
    entries: Iterable[Entry], *, base: str = "", identity: Identity = "auto"
) -> tuple[Item, ...]:
    """Items with plain text, keys and content hashes, in the document's order, repeats included."""
    plain = [_plain(entry, base) for entry in entries]
    shas = [_sha(entry.title, entry.text, entry.link, *entry.categories) for entry in plain]
    keys = _distinct_keys(plain, shas, identity)
    return tuple(
        Item(
            key=key,
            content_sha=sha,
            url=entry.link,
            title=entry.title,
            text=entry.text,
            published_raw=entry.published,
            updated_raw=entry.updated,
            categories=entry.categories,
        )
        for key, sha, entry in zip(keys, shas, plain, strict=True)
    )


def _plain(entry: Entry, base: str) -> Entry:
    return Entry(
        guid=one_line(entry.guid),
        link=canonical_url(entry.link, base) if entry.link else "",
        title=one_line(entry.title) if "title" in entry.plain else _line(entry.title),
        text=tidied(entry.text) if "text" in entry.plain else plain_text(entry.text),
        published=_line(entry.published)[:200],
        updated=_line(entry.updated)[:200],
        categories=tuple(dict.fromkeys(c for c in map(_line, entry.categories) if c)),
    )


def _line(markup: str) -> str:
    """The text of markup in one line."""
    return plain_text(markup).replace("\n", " ")


def _distinct_keys(plain: Sequence[Entry], shas: Sequence[str], identity: Identity) -> list[str]:
    """A key for each entry; entries that differ in content or date never share one."""
    keys = [_key(entry, sha, identity) for entry, sha in zip(plain, shas, strict=True)]
    for step in range(3):
        if len(set(keys)) == len(keys):
            break
        sharers: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for key, sha, entry in zip(keys, shas, plain, strict=True):
            sharers[key].add((sha, entry.published))
        keys = [
            f"{key}|{_longer(entry, sha, step)}" if len(sharers[key]) > 1 else key
            for key, entry, sha in zip(keys, plain, shas, strict=True)
        ]
    return keys


def _longer(entry: Entry, sha: str, step: int) -> str:
    return (_short(entry.link), _short(f"{entry.title}|{entry.published}"), sha[:16])[step]


def _key(entry: Entry, sha: str, identity: Identity) -> str:
    link = f"link:{_short(_without_scheme(entry.link))}" if entry.link else ""
    guid = f"guid:{_short(entry.guid)}" if entry.guid else ""
    dated = f"title:{_short(f'{entry.title}|{entry.published}')}" if entry.title else ""
    match identity:
        case "link":
            chosen = link or guid
        case "title+date":
            chosen = dated
        case "content":
            chosen = f"content:{_sha(entry.guid, sha, entry.published)[:32]}"
        case "guid+link":
            chosen = f"{guid}|{link}" if guid and link else guid or link
        case _:
            chosen = guid or link
    return chosen or dated or f"content:{sha[:32]}"


def _without_scheme(url: str) -> str:
    return url.partition("://")[2] or url  # a site that moves to https has no new publications


def _short(text: str) -> str:
    if len(text) <= MAX_KEY_LENGTH:
        return text
    return f"{text[:80]}...{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _sha(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).hexdigest()
