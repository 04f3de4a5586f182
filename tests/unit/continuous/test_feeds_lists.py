"""JSON APIs and pages without a feed."""

import dataclasses
import datetime
import json

import pytest

from spt_core.continuous.feeds import html_list, json_api
from spt_core.continuous.feeds.kinds import FEED_KINDS
from spt_core.continuous.feeds.source import (
    KINDS,
    JsonLayout,
    LinkList,
    Source,
    TimeWindow,
    source_from_json,
)
from spt_core.continuous.feeds.values import Poll
from spt_core.errors import InputError
from spt_core.task import IndustryType

NOW = datetime.datetime(2026, 3, 3, tzinfo=datetime.UTC)
LAYOUT = JsonLayout(
    items="data.rows",
    id="id",
    title="title",
    url="https://api.example/doc/{id}",
    text=("notes[lang=en].value",),
    categories=("agencies.name",),
    next_page="next",
)


def source(kind="json_api", **given):
    given = {"json": LAYOUT} | given if kind == "json_api" else given
    return Source(
        id="s",
        name="S",
        industry=IndustryType.TECHNOLOGY,
        kind=kind,
        url="https://api.example/v1?size=2",
        **given,
    )


def parse_json(content, of=None, poll=None):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    of = of or source()
    return json_api.parse(body, "", of, poll or Poll(url=of.url, next_cursor="later"))


ROW = {
    "id": 7,
    "title": "Rule <b>seven</b>",
    "notes": [{"lang": "es", "value": "no"}, {"lang": "en", "value": "yes"}],
    "agencies": [{"name": "SEC"}, {"name": "CFTC"}],
}


def test_texts_of_an_api_are_markup_only_where_its_layout_says_so():
    of = source()
    of = dataclasses.replace(of, json=dataclasses.replace(of.json, html=True))
    (item,) = parse_json({"data": {"rows": [ROW]}}, of=of).items
    assert item.title == "Rule seven"
    row = {**ROW, "title": "versions <v2.3 of <script>"}
    (item,) = parse_json({"data": {"rows": [row]}}).items
    assert item.title == "versions <v2.3 of <script>"


def test_declared_paths_make_items():
    parsed = parse_json({"data": {"rows": [ROW]}, "next": "https://api.example/v1?page=2"})
    (item,) = parsed.items
    assert (parsed.state, parsed.markers, parsed.cursor) == ("OK", 1, "later")
    assert parsed.next_page == "https://api.example/v1?page=2"
    assert (item.key, item.title, item.text) == ("guid:7", "Rule <b>seven</b>", "yes")
    assert item.url == "https://api.example/doc/7"
    assert item.categories == ("SEC", "CFTC")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ({"data": {}}, "no list at 'data.rows'"),
        ({"errors": [{"title": "Invalid filter"}]}, "Invalid filter"),
        ({"error": {"message": "API_KEY_MISSING"}}, "API_KEY_MISSING"),
        ({"data": {"rows": []}}, "no entries"),
        ({"data": {"rows": [ROW, {}, 3]}}, "3 entries are there, 1 have an id or a title"),
        ({"data": {"rows": [ROW]}, "next": "https://evil.example/"}, "on another host"),
        (b"<html><title>Blocked</title>", "'Blocked'"),
        (b"", "empty"),
        (b"[" * 100_000, "not JSON"),
        (b'{"data": ', "not JSON"),
    ],
)
def test_another_answer_is_degraded_and_moves_no_cursor(content, word):
    parsed = parse_json(content)
    assert parsed.state == "DEGRADED"
    assert word in parsed.reason
    assert parsed.cursor is None


def test_an_empty_window_is_no_news_and_no_fault():
    windowed = source(json=dataclasses.replace(LAYOUT, window=TimeWindow(start_param="from")))
    parsed = parse_json({"data": {"rows": []}}, windowed)
    assert (parsed.state, parsed.items, parsed.cursor) == ("OK", (), "later")


def test_windows_overlap_and_never_reach_beyond_now():
    window = TimeWindow(
        start_param="from", end_param="to", time_format="%Y-%m-%d", overlap_s=86_400
    )
    windowed = source(json=dataclasses.replace(LAYOUT, window=window))
    first = json_api.request(windowed, "", NOW)
    assert first.url == "https://api.example/v1?size=2&from=2026-02-24&to=2026-03-03"
    second = json_api.request(windowed, first.next_cursor, NOW + datetime.timedelta(days=2))
    assert second.url.endswith("from=2026-03-02&to=2026-03-05")
    jumped = json_api.request(windowed, "2036-01-01T00:00:00+00:00", NOW)
    assert jumped.url.endswith("from=2026-03-02&to=2026-03-03")
    old = json_api.request(windowed, "2020-01-01T00:00:00+00:00", NOW)
    assert old.url.endswith("from=2019-12-31&to=2020-04-28")
    assert old.next_cursor.startswith("2020-04-28")


def test_pages_by_offset_end_with_the_total():
    layout = JsonLayout(items="rows", id="id", title="id", total="total", offset_param="start")
    paged = source(json=layout)
    content = {"rows": [{"id": 1}, {"id": 2}], "total": 5}
    first = parse_json(content, paged)
    assert first.next_page == "https://api.example/v1?size=2&start=2"
    last = parse_json(content, paged, Poll(url="https://api.example/v1?start=3"))
    assert last.next_page is None


def test_json_lines_are_a_list_and_a_bad_line_is_told():
    lines = source(json=JsonLayout(id="id", title="t"))
    good = b'{"id": 1, "t": "a"}\n{"id": 2, "t": "b"}\n'
    assert len(parse_json(good, lines).items) == 2
    assert parse_json(good + b'{"id": \n', lines).state == "DEGRADED"


PAGE = "<html><title>Rules</title><body><nav><a href='/home'>Home</a></nav><main>{}</main></html>"


def links(*numbers):
    return PAGE.format("".join(f"<a href='/rules/{n}?utm_source=x'>Rule {n}</a>" for n in numbers))


def parse_page(html, known="", **selector):
    chosen = {"css": "main a", "url_pattern": "/rules/", "min_links": 2, "max_churn": 0.5}
    page = source("html_list", links=LinkList(**chosen | selector))
    poll = Poll(url="https://api.example/list", known=known)
    return html_list.parse(html.encode(), "text/html", page, poll)


def test_a_page_is_the_set_of_its_canonical_links():
    parsed = parse_page(links(1, 2, 2, 3))
    assert [item.url for item in parsed.items] == [
        f"https://api.example/rules/{n}" for n in (1, 2, 3)
    ]
    assert [item.title for item in parsed.items] == ["Rule 1", "Rule 2", "Rule 3"]
    assert parsed.cursor == "\n".join(f"https://api.example/rules/{n}" for n in (1, 2, 3))
    later = parse_page(links(2, 3, 4), known=parsed.cursor)
    assert later.state == "OK"


@pytest.mark.parametrize(
    ("html", "word"),
    [
        (links(), "0 links match, at least 2 are expected"),
        (links(1), "1 links match"),
        (links(*range(50, 60)), "100% of its links are new, more than max_churn (50%)"),
        ("", "empty"),
        ("<<<<<", "0 links match"),
        ("<html><title>Access denied</title></html>", "'Access denied'"),
    ],
)
def test_a_page_that_changed_its_form_is_degraded_never_all_new(html, word):
    parsed = parse_page(html, known=parse_page(links(1, 2, 3)).cursor)
    assert (parsed.state, parsed.items, parsed.cursor) == ("DEGRADED", (), None)
    assert word in parsed.reason


def test_every_kind_of_source_has_its_two_halves():
    assert set(FEED_KINDS) == set(KINDS)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"kind": "html_list"}, "links must be given"),
        (
            {"kind": "rss", "links": LinkList()},
            "links must be given for kind html_list and no other",
        ),
        ({"kind": "json_api", "json": None}, "json must be given"),
        ({"identity": "name"}, "identity must be one of auto"),
        ({"interval_s": 5.0}, "interval_s must be at least 60"),
        ({"secret_header": "X Key"}, "secret_header must be a header"),
    ],
)
def test_a_source_that_cannot_be_polled_is_refused(given, sentence):
    with pytest.raises(InputError, match=sentence):
        source(**given)


def test_a_bad_selector_is_refused():
    for given in ({"css": "a["}, {"url_pattern": "("}, {"min_links": 0}, {"max_churn": 0.0}):
        with pytest.raises(InputError, match="must be"):
            LinkList(**given)


def test_a_source_goes_to_json_and_back():
    window = TimeWindow(start_param="from")
    for made in (
        source(json=dataclasses.replace(LAYOUT, window=window)),
        source("html_list", links=LinkList()),
        source("rss"),
    ):
        assert source_from_json(json.loads(json.dumps(made.to_json()))) == made
