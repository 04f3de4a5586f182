"""JSON APIs with declared field paths and time windows, and JSON Feed: bytes -> Parsed."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson

from spt_core.continuous.feeds.identity import items_of
from spt_core.continuous.feeds.source import JsonLayout, Source, TimeWindow
from spt_core.continuous.feeds.text import html_title
from spt_core.continuous.feeds.values import (
    MAX_BODY_BYTES,
    MAX_ITEMS,
    DocumentKind,
    Entry,
    Parsed,
    Poll,
    degraded,
)
from spt_core.task import IndustryType

JSON_FEED = JsonLayout(
    items="items",
    id="id",
    title="title",
    url="url",
    text=("content_html", "content_text", "summary"),
    published="date_published",
    updated="date_modified",
    categories=("tags",),
)
FEDERAL_REGISTER = JsonLayout(
    items="results",
    id="document_number",
    title="title",
    url="html_url",
    text=("abstract",),
    published="publication_date",
    categories=("type", "agencies.name"),
    total="count",
    next_page="next_page_url",
)
REGULATIONS_GOV = JsonLayout(
    items="data",
    id="id",
    title="attributes.title",
    url="https://www.regulations.gov/document/{id}",
    text=("attributes.summary",),
    html=True,
    published="attributes.postedDate",
    updated="attributes.lastModifiedDate",
    categories=("attributes.documentType", "attributes.agencyId", "attributes.docketId"),
    total="meta.totalElements",
)
OPENFDA_ENFORCEMENT = JsonLayout(
    items="results",
    id="recall_number",
    title="product_description",
    text=("reason_for_recall", "code_info", "distribution_pattern"),
    published="report_date",
    categories=("classification", "product_type", "recalling_firm"),
    total="meta.results.total",
)
FDA_ENFORCEMENT_LINES = JsonLayout(
    id="",
    title="product-description",
    text=("reason-for-recall", "code-info", "distribution-pattern"),
    published="report-date",
    categories=("classification", "product-type", "recalling-firm"),
)
NVD = JsonLayout(
    items="vulnerabilities",
    id="cve.id",
    title="cve.id",
    url="https://nvd.nist.gov/vuln/detail/{cve.id}",
    text=("cve.descriptions[lang=en].value",),
    published="cve.published",
    updated="cve.lastModified",
    categories=("cve.vulnStatus", "cve.weaknesses.description.value"),
    total="totalResults",
    offset_param="startIndex",
)
CONGRESS_BILLS = JsonLayout(
    items="bills",
    id="url",
    title="title",
    url="url",
    text=("latestAction.text",),
    published="latestAction.actionDate",
    updated="updateDateIncludingText",
    categories=("type", "originChamber"),
    total="pagination.count",
    next_page="pagination.next",
)
CISA_KEV = JsonLayout(
    items="vulnerabilities",
    id="cveID",
    title="vulnerabilityName",
    url="https://nvd.nist.gov/vuln/detail/{cveID}",
    text=("shortDescription", "requiredAction"),
    published="dateAdded",
    categories=("vendorProject", "product"),
    total="count",
)
KNOWN_LAYOUTS: tuple[JsonLayout, ...] = (
    FEDERAL_REGISTER,
    REGULATIONS_GOV,
    OPENFDA_ENFORCEMENT,
    NVD,
    CISA_KEV,
    CONGRESS_BILLS,
    FDA_ENFORCEMENT_LINES,
)

_UTC = datetime.UTC
_FILTER = re.compile(r"(.*)\[([\w-]+)=([^\]]*)\]")
_TEMPLATE = re.compile(r"\{([^{}]+)\}")
_MAX_FOUND = 200


def federal_register(
    source_id: str, *, name: str, industry: IndustryType, agency: str, term: str | None = None
) -> Source:
    """The newest documents of an agency, by its slug at federalregister.gov, that hold the term."""
    terms = [] if term is None else [("conditions[term]", term)]
    agencies = [("conditions[agencies][]", agency)]
    query = urlencode([("per_page", 100), ("order", "newest"), *terms, *agencies])
    return Source(
        id=source_id,
        name=name,
        industry=industry,
        kind="json_api",
        url=f"https://www.federalregister.gov/api/v1/documents.json?{query}",
        json=FEDERAL_REGISTER,
    )


def request(source: Source, cursor: str, now: datetime.datetime) -> Poll:
    """The URL of the window since the cursor (a UTC time), and the cursor after it."""
    window = source.json.window if source.json else None
    if window is None:
        return Poll(url=source.url, known=cursor, next_cursor=cursor)
    start, end = _span(window, cursor, now.astimezone(_UTC))
    parameters = {window.start_param: start.strftime(window.time_format)}
    if window.end_param:
        parameters[window.end_param] = end.strftime(window.time_format)
    return Poll(
        url=_with_parameters(source.url, parameters), known=cursor, next_cursor=end.isoformat()
    )


def parse(body: bytes, content_type: str, source: Source, poll: Poll) -> Parsed:
    """The items of an API's answer; DEGRADED where it is not of the declared layout."""
    del content_type  # JSON is UTF-8, and types lie
    assert source.json is not None
    layout = source.json
    content = read(body)
    if isinstance(content, Parsed):
        return content
    return parse_content("json_api", content, layout, source, poll)


def parse_json_feed(content: Any, source: Source, poll: Poll) -> Parsed:
    """The items of a JSON Feed that came from a source of feeds."""
    version = str(content.get("version")) if isinstance(content, dict) else ""
    is_feed = "jsonfeed.org/version" in version or version.startswith("1")
    if not is_feed:
        return degraded("unknown", f"JSON came, but no JSON Feed{_error_said(content)}")
    return parse_content("json_feed", content, JSON_FEED, source, poll)


def parse_content(
    kind: DocumentKind, content: Any, layout: JsonLayout, source: Source, poll: Poll
) -> Parsed:
    """The items of an answer that was read already."""
    entries = _list(content, layout)
    total = one(content, layout.total) if layout.total else ""
    if entries is None:
        if total == "0" and layout.window is not None:
            return Parsed(kind=kind, cursor=poll.next_cursor)
        at = f"at {layout.items!r}" if layout.items else "of items"
        return degraded(kind, f"the answer has no list {at}{_error_said(content)}")
    if len(entries) > MAX_ITEMS:
        return degraded(kind, f"more than {MAX_ITEMS:,} items", markers=len(entries))
    if not entries and layout.window is None:
        return degraded(kind, "the answer has no entries")
    usable = [item for item in entries if isinstance(item, dict) and _is_usable(item, layout)]
    items = items_of(
        [_entry(item, layout) for item in usable], base=poll.url, identity=source.identity
    )
    problem = ""
    if len(usable) < len(entries):
        problem = f"{len(entries)} entries are there, {len(usable)} have an id or a title"
    next_page = _next_page(content, layout, poll, len(entries), total)
    if next_page is not None and source.json and _origin(next_page) != _origin(source.url):
        problem, next_page = f"its next page is on another host: {next_page[:100]}", None
    return Parsed(
        kind=kind,
        items=items,
        markers=len(entries),
        state="DEGRADED" if problem else "OK",
        reason=problem,
        cursor=None if problem else poll.next_cursor,
        next_page=next_page,
    )


def read(body: bytes) -> Any:
    """The JSON value, JSON lines as a list; or a degraded Parsed that says why there is none."""
    if len(body) > MAX_BODY_BYTES:
        return degraded("unknown", f"the document is larger than {MAX_BODY_BYTES // 2**20} MB")
    body = body.removeprefix(b"\xef\xbb\xbf").strip()
    if not body:
        return degraded("empty", "the body is empty")
    if body[:1] == b"<":
        title = html_title(body)
        return degraded("html", f"a page{f' ({title!r})' if title else ''} came instead of JSON")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        lines = [line for line in body.split(b"\n") if line.strip()]
        if 1 < len(lines) <= MAX_ITEMS and lines[0].rstrip().endswith(b"}"):
            return [_line(line) for line in lines]
        return degraded("unknown", f"it is not JSON: {str(error)[:100]}")


def fits(layout: JsonLayout, content: Any) -> bool:
    """Whether an answer looks like this layout: its first item has an id and a title."""
    entries = _list(content, layout)
    first = entries[0] if entries else None
    return isinstance(first, dict) and all(
        one(first, path) for path in (layout.id, layout.title) if path
    )


def find_all(value: Any, path: str) -> list[str]:
    """The texts at a dotted path, lists walked through."""
    return [text for text in _texts(_walk(value, path.split("."))) if text][:_MAX_FOUND]


def one(value: Any, path: str) -> str:
    """The first text at a path, or the template filled in; empty where a part is missing."""
    if not path:
        return ""
    if "{" not in path:
        return next(iter(find_all(value, path)), "")
    parts = {name: one(value, name) for name in _TEMPLATE.findall(path)}
    return _TEMPLATE.sub(lambda m: parts[m[1]], path) if all(parts.values()) else ""


def _list(content: Any, layout: JsonLayout) -> list[Any] | None:
    value = content
    for name in layout.items.split(".") if layout.items else ():
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, dict) and layout.items and one(value, layout.id):
        return [value]  # an API that answers a single thing without its list
    return value if isinstance(value, list) else None


def _is_usable(item: Mapping[str, Any], layout: JsonLayout) -> bool:
    if layout is JSON_FEED:  # its titles are optional
        return any(one(item, path) for path in (layout.id, layout.url, layout.title, *layout.text))
    return bool(one(item, layout.id) or one(item, layout.title))


def _entry(item: Mapping[str, Any], layout: JsonLayout) -> Entry:
    texts = {path: "\n".join(find_all(item, path)) for path in layout.text}
    plain = frozenset[str]() if layout.html else frozenset({"title", "text"})
    if layout is JSON_FEED:
        path = next((path for path, text in texts.items() if text), layout.text[0])
        texts = {path: texts[path]}
        plain = plain - {"text"} if path == "content_html" else plain
    return Entry(
        guid=one(item, layout.id),
        link=one(item, layout.url),
        title=one(item, layout.title),
        text="\n".join(text for text in texts.values() if text),
        published=one(item, layout.published),
        updated=one(item, layout.updated),
        categories=tuple(text for path in layout.categories for text in find_all(item, path)),
        plain=plain,
    )


def _next_page(
    content: Any, layout: JsonLayout, poll: Poll, num_entries: int, total: str
) -> str | None:
    if layout.next_page:
        return one(content, layout.next_page) or None
    if not layout.offset_param or not total.isdigit() or not num_entries:
        return None
    asked = dict(parse_qsl(urlsplit(poll.url).query)).get(layout.offset_param, "0")
    after = (int(asked) if asked.isdigit() else 0) + num_entries
    if after >= int(total):
        return None
    return _with_parameters(poll.url, {layout.offset_param: str(after)})


def _span(
    window: TimeWindow, cursor: str, now: datetime.datetime
) -> tuple[datetime.datetime, datetime.datetime]:
    def seconds(number: float) -> datetime.timedelta:
        return datetime.timedelta(seconds=number)

    if cursor:  # a cursor after now: the clock jumped
        start = min(datetime.datetime.fromisoformat(cursor), now) - seconds(window.overlap_s)
    else:
        start = now - seconds(window.first_span_s)
    return start, min(now, start + seconds(window.max_span_s))


def _with_parameters(url: str, parameters: Mapping[str, str]) -> str:
    parts = urlsplit(url)
    kept = [p for p in parse_qsl(parts.query, keep_blank_values=True) if p[0] not in parameters]
    return parts._replace(query=urlencode([*kept, *parameters.items()])).geturl()


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _line(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None  # counted as an entry without id: the document is degraded


def _error_said(content: Any) -> str:
    """What an API's error answer says, for the message."""
    if not isinstance(content, dict):
        return ""
    paths = ("errors.title", "error.message", "errors.detail", "message", "error", "errors")
    said = next((text for text in (one(content, path) for path in paths) if text), "")
    return f"; it says: {said[:120]}" if said else ""


def _walk(value: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for element in value[:_MAX_FOUND]:
            yield from _walk(element, path)
    elif not path:
        yield value
    elif isinstance(value, dict):
        name, rest = path[0], path[1:]
        filtered = _FILTER.fullmatch(name)
        if filtered is None:
            yield from _walk(value.get(name), rest)
            return
        elements = value.get(filtered[1])
        for element in elements if isinstance(elements, list) else ():
            if isinstance(element, dict) and str(element.get(filtered[2])) == filtered[3]:
                yield from _walk(element, rest)


def _texts(values: Iterator[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield str(value)
