import time

import psutil
import pytest

from spt_core.continuous.feeds.documents import parse_document, parse_unknown
from spt_core.continuous.feeds.kinds import ON_DISK, parse
from spt_core.continuous.feeds.pool import ParserPool
from spt_core.continuous.feeds.rss import NotStrictError, parse_strict
from spt_core.continuous.feeds.values import Poll
from tests.feed_documents import NUM_ITEMS, feed, hostile

BASE = "https://regulator.example/news/feed.xml"


@pytest.fixture(scope="module")
def pool():
    with ParserPool(size=1) as made:
        yield made


def strict(body, content_type="", **given):
    return parse_strict(
        body if isinstance(body, bytes) else body.encode(), content_type, base=BASE, **given
    )


def test_rss_2_gives_items_with_plain_text_and_raw_dates():
    parsed = strict(
        "<rss version='2.0'><channel><ttl>90</ttl><item><title>Rule &lt;b&gt;7&lt;/b&gt;</title>"
        "<link>/rules/7?utm_source=rss&amp;id=7</link><guid isPermaLink='false'>r7</guid>"
        "<pubDate>Tue, 3 Mar 2026 10:00 EST</pubDate><category>AML</category>"
        "<description>&lt;p&gt;One &amp;amp; two&lt;/p&gt;&lt;script&gt;x()&lt;/script&gt;"
        "</description></item></channel></rss>"
    )
    (item,) = parsed.items
    assert (parsed.kind, parsed.state, parsed.markers, parsed.hints.ttl_s) == (
        "rss",
        "OK",
        1,
        5400.0,
    )
    assert (item.key, item.title, item.text) == ("guid:r7", "Rule 7", "One & two")
    assert item.url == "https://regulator.example/rules/7?id=7"
    assert item.published_raw == "Tue, 3 Mar 2026 10:00 EST"
    assert item.categories == ("AML",)


def test_atom_1_prefers_the_alternate_link_and_resolves_xml_base():
    parsed = strict(
        '<feed xmlns="http://www.w3.org/2005/Atom" xml:base="https://other.example/a/"><entry>'
        '<id>urn:1</id><link rel="self" href="x"/><link rel="alternate" href="page"/>'
        '<title type="html">A &amp;lt; B</title><updated>2026-03-03</updated>'
        '<content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>a</p><p>b</p></div>'
        "</content></entry></feed>"
    )
    (item,) = parsed.items
    assert (parsed.kind, item.key, item.url) == (
        "atom",
        "guid:urn:1",
        "https://other.example/a/page",
    )
    assert (item.title, item.text, item.updated_raw) == ("A < B", "a\nb", "2026-03-03")


def test_rss_1_takes_rdf_about_and_dublin_core():
    parsed = strict(
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        'xmlns="http://purl.org/rss/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel/>'
        '<item rdf:about="https://a.example/1"><title>T</title><link>https://a.example/1</link>'
        "<dc:date>2026-03-03</dc:date></item></rdf:RDF>"
    )
    (item,) = parsed.items
    assert (parsed.kind, item.key, item.published_raw) == (
        "rdf",
        "guid:https://a.example/1",
        "2026-03-03",
    )


@pytest.mark.parametrize(
    ("body", "kind", "word"),
    [
        (b"", "empty", "empty"),
        (b" \r\n", "empty", "empty"),
        (b"<!DOCTYPE html><html><title>Denied</title></html>", "html", "'Denied'"),
        (b"<?xml version='1.0'?><!-- c --><HTML></HTML>", "html", "web page"),
        (b"<rss><channel/></rss>", "rss", "no entries"),
        (b"<FEDREG/>", "xml", "<FEDREG>"),
        (b"<rss>" + b" " * 17 * 2**20, "unknown", "larger than 16 MB"),
        (b"<rss>" + b"<item/>" * 20_001, "xml", "more than 20,000 items"),
        (b'<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><rss/>', "xml", "refused"),
    ],
)
def test_what_is_no_feed_is_degraded_with_its_reason(body, kind, word):
    parsed = strict(body)
    assert (parsed.state, parsed.kind, parsed.items) == ("DEGRADED", kind, ())
    assert word in parsed.reason


@pytest.mark.parametrize("junk", [b"\0", b"\x08", b"\x1b"])
def test_control_bytes_cost_no_item(junk):
    parsed = strict(feed().replace(b"Rule 7<", b"Rule" + junk + b" 7<"))
    assert (len(parsed.items), parsed.state) == (NUM_ITEMS, "OK")
    assert parsed.items[7].title == "Rule 7"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32-le", "iso-8859-1"])
def test_encodings_are_read_as_declared_or_marked(encoding):
    body = feed(prolog=f'<?xml version="1.0" encoding="{encoding}"?>').decode()
    parsed = strict(body.replace("Rule 7", "Règle 7").encode(encoding))
    assert parsed.items[7].title == "Règle 7"


def test_the_charset_of_the_header_counts_without_a_declaration():
    body = feed(prolog="").decode().replace("Rule 7", "Règle 7").encode("iso-8859-1")
    assert strict(body, "text/xml; charset=iso-8859-1").items[7].title == "Règle 7"


def test_what_is_not_well_formed_goes_to_the_tolerant_parser(pool):
    body = feed().replace(b"Rule 5<", b"Rule & 5&nbsp;<")
    with pytest.raises(NotStrictError):
        strict(body)
    parsed = parse_document(body, "", ON_DISK, Poll(url=BASE), pool)
    assert (len(parsed.items), parsed.state) == (NUM_ITEMS, "OK")


def test_a_document_that_is_cut_off_keeps_its_whole_entries_and_says_so(pool):
    parsed = parse_unknown(feed()[:-700], pool)
    assert parsed.state == "DEGRADED"
    assert "cut off" in parsed.reason
    assert [item.key for item in parsed.items] == [
        f"guid:urn:rule:{n}" for n in range(len(parsed.items))
    ]
    assert 15 < len(parsed.items) < NUM_ITEMS


def test_a_lying_count_is_settled_or_told(pool):
    body = feed().replace(b"Rule 3<", b"<![CDATA[Rule 3<")  # swallows what follows
    parsed = parse_unknown(body, pool)
    assert (parsed.state, parsed.markers) == ("DEGRADED", NUM_ITEMS)
    assert "25 entries are there" in parsed.reason


def test_markers_in_comments_and_cdata_are_no_items():
    extra = b"<!-- <item> --><![CDATA[<item>]]>"
    parsed = strict(feed().replace(b"Text of rule 3", extra))
    assert (parsed.markers, len(parsed.items), parsed.state) == (NUM_ITEMS, NUM_ITEMS, "OK")


def until_all_are_ready(pool):
    deadline = time.monotonic() + 60
    while not all(worker.is_ready() for worker in pool._idle):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_parser_process_that_hangs_is_killed_and_replaced():
    others = set(psutil.Process().children())
    with ParserPool(size=1, wall_s=1.0) as pool:
        pool.parse(feed(), "", ON_DISK, Poll(url=BASE))
        until_all_are_ready(pool)
        for process in set(psutil.Process().children()) - others:
            process.suspend()
        answers = [pool.parse(feed(), "", ON_DISK, Poll(url=BASE)) for _ in range(3)]
    assert (answers[0].state, answers[-1].state) == ("DEGRADED", "OK")
    assert "not finished in time" in answers[0].reason


def test_json_feed_is_read_like_any_feed():
    item = b'{"id": "1", "content_html": "<b>x"}'
    body = b'{"version": "https://jsonfeed.org/version/1", "items": [' + item + b"]}"
    parsed = parse(body, "application/json", ON_DISK, Poll(url=BASE))
    assert (parsed.kind, parsed.state, parsed.items[0].text) == ("json_feed", "OK", "x")


@pytest.mark.parametrize("document", [*hostile()], ids=lambda document: document.name)
def test_a_hostile_document_gives_its_items_or_says_degraded(document, pool):
    parsed = parse_unknown(document.body, pool)
    assert parsed.state == "DEGRADED" or document.expected in (None, len(parsed.items))
    text = " ".join(f"{item.title} {item.text}" for item in parsed.items)
    assert "<script" not in text
    assert "root:" not in text
