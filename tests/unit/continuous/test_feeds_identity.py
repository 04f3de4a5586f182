import pytest

from spt_core.continuous.feeds.identity import canonical_url, items_of
from spt_core.continuous.feeds.values import Entry


def keys(*entries, **given):
    return [item.key for item in items_of(entries, **given)]


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("HTTP://Www.A.example:80/x?utm_source=r&b=1&fbclid=2", "http://www.a.example/x?b=1"),
        ("https://a.example/x;jsessionid=0A9?id=3", "https://a.example/x?id=3"),
        ("https://a.example/x?PHPSESSID=1", "https://a.example/x"),
        ("https://a.example/x#part-2", "https://a.example/x#part-2"),
        ("../y?q=a+b%20c", "https://base.example/y?q=a+b%20c"),
        ("https://a.example", "https://a.example/"),
        ("mailto:x@a.example", "mailto:x@a.example"),
        ("http://[bad", "http://[bad"),
    ],
)
def test_a_canonical_url_has_no_tracking_session_or_default_parts(url, canonical):
    assert canonical_url(url, "https://base.example/feeds/f.xml") == canonical


def test_the_key_is_the_guid_else_the_link_else_title_and_date():
    assert keys(
        Entry(guid=" g1 ", link="https://a.example/1", title="T"),
        Entry(link="http://a.example/2?utm_medium=x", title="T"),
        Entry(title="T", published="2026-03-03"),
        Entry(text="only a text"),
    )[:3] == ["guid:g1", "link:a.example/2", "title:T|2026-03-03"]


@pytest.mark.parametrize(
    ("identity", "key"),
    [
        ("guid", "guid:g"),
        ("link", "link:a.example/1"),
        ("guid+link", "guid:g|link:a.example/1"),
        ("title+date", "title:T|d"),
    ],
)
def test_a_source_may_say_what_identifies_its_entries(identity, key):
    entry = Entry(guid="g", link="https://a.example/1", title="T", published="d")
    assert keys(entry, identity=identity) == [key]


def test_different_entries_with_one_guid_get_different_keys():
    shared = [
        Entry(guid="g", link="https://a.example/1", title="A"),
        Entry(guid="g", link="https://a.example/2", title="A"),
        Entry(guid="g", link="https://a.example/2", title="B", published="1"),
        Entry(guid="g", link="https://a.example/2", title="B", published="1", text="x"),
        Entry(guid="h", link="https://a.example/2"),
    ]
    found = keys(*shared)
    assert len(set(found)) == len(shared)
    assert found[-1] == "guid:h"


def test_an_entry_that_is_repeated_keeps_one_key():
    entry = Entry(guid="g", link="https://a.example/1", title="A")
    assert keys(entry, entry) == ["guid:g", "guid:g"]


def test_the_content_hash_tells_a_revision_and_ignores_dates():
    first, dated, changed = (
        items_of([Entry(guid="g", title="T", text=text, published=date)])[0]
        for text, date in (("a", "1"), ("a", "2"), ("b", "1"))
    )
    assert first.content_sha == dated.content_sha != changed.content_sha
    assert first.key == changed.key


def test_a_key_stays_short():
    assert len(keys(Entry(guid="x" * 100_000))[0]) < 200
