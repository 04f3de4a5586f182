"""The process that reads what the strict parser refuses, or what is too large for an event loop.

It is started and killed by `pool.py`; it limits its own memory and, per document, its CPU time.
A request is two lengths, JSON and the document; an answer is messages of a length and JSON each:
the facts, then the items in portions that the other side reads without stopping its event loop.
"""

from __future__ import annotations

import dataclasses
import io
import resource
import struct
import sys
import warnings
from typing import Any, BinaryIO

import feedparser
import orjson

from spt_core.continuous.feeds.identity import Identity, items_of
from spt_core.continuous.feeds.kinds import parse
from spt_core.continuous.feeds.markers import last_item_is_open
from spt_core.continuous.feeds.pool import ITEMS_PER_MESSAGE, READY
from spt_core.continuous.feeds.rss import NotStrictError, Prepared, prepare
from spt_core.continuous.feeds.source import Source, source_from_json
from spt_core.continuous.feeds.values import DocumentKind, Entry, Parsed, Poll, degraded
from spt_core.continuous.feeds.xml_items import hints_of

MEMORY_BYTES = 512 * 2**20
CPU_SECONDS = 4
_CLOSED = (b"</rss>", b"</feed>", b"</rdf>", b"</channel>", b":rdf>", b":feed>", b"</entry>")


def parse_any(body: bytes, content_type: str, source: Source, poll: Poll) -> Parsed:
    """What a source's answer holds, well-formed or not."""
    try:
        return parse(body, content_type, source, poll)
    except NotStrictError as why:
        return _parse_tolerant(body, content_type, poll.url, source.identity, str(why))


def _parse_tolerant(
    body: bytes, content_type: str, base: str, identity: Identity, why: str
) -> Parsed:
    prepared = prepare(body)
    if isinstance(prepared, Parsed):
        return prepared
    headers = {"content-type": content_type or "application/xml", "content-location": base}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        feed: Any = feedparser.parse(
            io.BytesIO(body),  # bytes alone would be taken for the name of a file
            response_headers=headers,
            sanitize_html=False,  # every tag is stripped afterwards
            resolve_relative_uris=False,
        )
    entries = [_entry(entry) for entry in feed.entries]
    kind = _kind(str(feed.get("version") or ""))
    if not entries:
        if prepared.markers == 0 and kind != "unknown":
            return degraded(kind, "the feed has no entries")
        return degraded(kind, f"no entry could be read ({why})", markers=prepared.markers)
    problem = ""
    if not _is_closed(prepared):
        if last_item_is_open(prepared.body):
            entries = entries[:-1]  # its identity may be cut off too
        problem = f"the document is cut off; {len(entries)} whole entries were read"
    elif len(entries) < prepared.markers:
        problem = f"{prepared.markers} entries are there, {len(entries)} could be read ({why})"
    said: Any = feed.feed
    return Parsed(
        kind=kind,
        items=items_of(entries, base=base, identity=identity),
        markers=prepared.markers,
        state="DEGRADED" if problem else "OK",
        reason=problem,
        hints=hints_of(
            ttl_minutes=str(said.get("ttl") or ""),
            period=str(said.get("sy_updateperiod") or ""),
            frequency=str(said.get("sy_updatefrequency") or ""),
        ),
    )


def _is_closed(prepared: Prepared) -> bool:
    tail = prepared.body.rstrip()[-4000:].lower()
    return any(end in tail for end in _CLOSED)


def _kind(version: str) -> DocumentKind:
    if version.startswith("atom"):
        return "atom"
    if version.startswith("cdf"):
        return "cdf"
    if version.startswith("rss"):
        return "rdf" if version in {"rss090", "rss10"} else "rss"
    return "unknown"


def _entry(entry: Any) -> Entry:
    contents = [str(part.get("value") or "") for part in entry.get("content") or []]
    summary = str(entry.get("summary") or "")
    guid = str(entry.get("id") or "")
    return Entry(
        guid=guid,
        link=str(entry.get("link") or "") or (guid if guid.startswith("http") else ""),
        title=str(entry.get("title") or ""),
        text=next((text for text in contents if text.strip()), summary),
        published=str(_own(entry, "published") or _own(entry, "created") or ""),
        updated=str(_own(entry, "updated") or ""),
        categories=tuple(str(tag.get("term") or "") for tag in entry.get("tags") or []),
    )


def _own(entry: Any, name: str) -> Any:
    return dict.get(entry, name)  # feedparser's own lookup answers `updated` with `published`


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer documents until the pipe closes."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    answers.write(READY)
    answers.flush()
    while head := requests.read(8):
        size, body_size = struct.unpack(">II", head)
        request = orjson.loads(requests.read(size))
        body = requests.read(body_size)
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime) + 1 + CPU_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        answer = _answer(request, body)
        items = answer.pop("items", [])
        starts = range(0, len(items), ITEMS_PER_MESSAGE)
        _write(answers, {**answer, "num_messages": len(starts)})
        for start in starts:
            _write(answers, items[start : start + ITEMS_PER_MESSAGE])
        answers.flush()


def _write(answers: BinaryIO, message: Any) -> None:
    content = orjson.dumps(message)  # dataclasses too
    answers.write(struct.pack(">I", len(content)) + content)


def _answer(request: dict[str, Any], body: bytes) -> dict[str, Any]:
    try:
        source, poll = source_from_json(request["source"]), Poll(**request["poll"])
        parsed = parse_any(body, request["content_type"], source, poll)
    except MemoryError:
        return {"failure": f"it needs more than {MEMORY_BYTES // 2**20} MB of memory"}
    except RecursionError:
        return {"failure": "it is nested too deeply"}
    except Exception as error:  # noqa: BLE001  # a stranger's parser on a stranger's document
        return {"failure": f"{type(error).__name__}: {str(error)[:200]}"}
    facts = {field.name: getattr(parsed, field.name) for field in dataclasses.fields(parsed)}
    hints = parsed.hints
    return {**facts, "hints": [hints.ttl_s, sorted(hints.skip_hours), sorted(hints.skip_days)]}


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
