"""What an answer leaves of a source: validators, cursor, next check, trouble, redirects."""

import asyncio
import dataclasses
import datetime
import math

import pytest
from aiohttp import web

from spt_core.continuous.feeds.json_api import NVD
from spt_core.continuous.feeds.pool import ParserPool
from spt_core.continuous.feeds.source import LinkList, TimeWindow
from spt_core.continuous.feeds.values import Item
from spt_core.continuous.fetch.fetcher import Fetcher
from spt_core.continuous.poll import ADOPTED, Poller, broken, is_adopted, ledger_items
from spt_core.continuous.registration import source_row
from tests.watching import Site, options, rss

pytestmark = pytest.mark.slow  # servers on loopback and parser processes

NOW = datetime.datetime(2026, 3, 3, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


async def poll(site, source, row, *, now=NOW, known=(), weekly=None, secrets=None):
    async def unknown(result, before_s):
        assert before_s == math.inf
        items = tuple(i for i in result.items if i.title not in known)
        return dataclasses.replace(result, items=items)

    policy = options("unused").policy
    async with Fetcher(policy) as fetcher:
        poller = Poller(fetcher, POOL, secrets=secrets or {}, unknown=unknown)
        return await poller.poll(row, source, now, weekly)


POOL = ParserPool(size=1)  # no process is started for documents that are small and well-formed


def polls(work):
    """Run the test's coroutine with a site that is up."""

    async def run():
        async with Site().up() as site:
            return await work(site)

    return asyncio.run(run())


def test_an_answer_brings_validators_items_and_the_next_check():
    async def work(site):
        site.bodies["a"] = rss("one", "two")
        source = site.source("a")
        outcome, first = await poll(site, source, source_row(source), weekly=14.0)
        again = await poll(site, source, first.source, now=NOW + DAY)
        return outcome, first, again

    outcome, first, (then, second) = polls(work)
    assert (outcome, then) == ("changed", "not_modified")
    assert [item.title for item in first.items] == ["one", "two"]
    assert first.items[0].categories == '["Rule"]'
    row = first.source
    assert (row.state, row.errors, row.trouble, bool(row.etag)) == ("OK", 0, "", True)
    assert row.checked_at == NOW.timestamp()
    assert 6 * 3600 <= row.next_check - row.checked_at <= 6.6 * 3600
    assert row.next_reason == "6 h by its rate (14 items a week)"
    assert (second.items, second.source.etag, second.source.body_sha) == (
        (),
        row.etag,
        row.body_sha,
    )


def test_a_degraded_answer_keeps_its_items_and_the_old_validators():
    async def work(site):
        site.bodies["a"] = rss("one")
        source = site.source("a")
        _, first = await poll(site, source, source_row(source))
        site.bodies["a"] = rss("one", "two", "three")[:-60]
        return first, await poll(site, source, first.source)

    first, (outcome, second) = polls(work)
    assert outcome == "degraded"
    assert "one" in [item.title for item in second.items]
    kept = ("etag", "last_modified", "body_sha", "cursor")
    assert [getattr(second.source, k) for k in kept] == [getattr(first.source, k) for k in kept]
    assert (second.source.state, second.source.errors) == ("DEGRADED", 1)
    assert second.source.trouble in second.source.next_reason


def test_a_page_of_links_keeps_the_links_and_refuses_another_form():
    def page(*names):
        return "".join(f'<a href="/rules/{name}">{name}</a>' for name in names).encode()

    async def work(site):
        site.bodies["a"] = page("1", "2", "3")
        links = LinkList(url_pattern="/rules/", max_churn=0.5)
        source = site.source("a", kind="html_list", links=links)
        _, first = await poll(site, source, source_row(source))
        site.bodies["a"] = page("4", "5", "6")
        return first.source, await poll(site, source, first.source)

    first, (outcome, second) = polls(work)
    assert len(first.cursor.split("\n")) == 3
    assert (outcome, second.source.cursor) == ("degraded", first.cursor)
    assert "100% of its links are new" in second.source.trouble


def nvd(site):
    window = TimeWindow(start_param="from", end_param="to")
    return site.source("api", kind="json_api", json=dataclasses.replace(NVD, window=window))


def pages(total, *, broken_from=None):
    def answer(request):
        start = int(request.query.get("startIndex", "0"))
        if broken_from is not None and start >= broken_from:
            return web.Response(status=500)
        found = [{"cve": {"id": f"CVE-{n}"}} for n in range(start, min(start + 2, total))]
        return web.json_response({"totalResults": total, "vulnerabilities": found})

    return answer


def test_the_cursor_of_a_window_holds_after_its_last_page():
    async def work(site):
        site.others["api"] = pages(5)
        source = nvd(site)
        return await poll(site, source, source_row(source))

    _, whole = polls(work)
    assert [item.title for item in whole.items] == [f"CVE-{n}" for n in range(5)]
    assert whole.source.cursor == NOW.isoformat()


def test_a_page_that_fails_keeps_the_items_and_not_the_cursor():
    async def work(site):
        site.others["api"] = pages(5, broken_from=2)
        source = nvd(site)
        return await poll(site, source, source_row(source))

    _, part = polls(work)
    assert [item.title for item in part.items] == ["CVE-0", "CVE-1"]
    assert (part.source.cursor, part.source.state) == ("", "DEGRADED")
    assert "a further page: it answers with an error: HTTP 500" in part.source.trouble


@pytest.mark.parametrize(
    ("sha", "known", "asked"), [("", (), 1), ("x", (), 3), ("x", ("CVE-2", "CVE-3"), 2)]
)
def test_older_pages_are_asked_as_long_as_a_page_has_news(sha, known, asked):
    async def work(site):
        site.others["api"] = pages(6)
        source = site.source("api", kind="json_api", json=NVD)
        row = dataclasses.replace(source_row(source), body_sha=sha)
        await poll(site, source, row, known=known)
        return len(site.asked)

    assert polls(work) == asked


def moved(target):
    return lambda _: web.Response(status=301, headers={"Location": target})


def test_a_permanent_redirect_is_adopted_after_two_days_and_forgotten_when_it_fails():
    async def work(site):
        site.bodies["new"] = rss("one")
        site.others["a"] = moved("/new")
        source, rows = site.source("a"), []
        row = source_row(source)
        for day in range(4):
            _, result = await poll(site, source, row, now=NOW + day * DAY)
            row = result.source
            rows.append(row)
        site.asked.clear()
        del site.bodies["new"]
        for day in range(4, 8):
            row = (await poll(site, source, row, now=NOW + day * DAY))[1].source
        return rows, row, site.asked

    rows, last, asked = polls(work)
    assert [row.redirect_count for row in rows] == [1, 2, ADOPTED, ADOPTED]
    assert is_adopted(rows[3])
    assert rows[3].url.endswith("/a")
    assert asked == ["new", "new", "new", "a", "new"]
    assert (last.redirect_target, last.redirect_count) == ("", 0)


def test_what_a_feed_says_about_polling_holds_while_it_does_not_change():
    async def work(site):
        site.bodies["a"] = rss("one").replace(b"<channel>", b"<channel><ttl>600</ttl>")
        source = site.source("a")
        _, first = await poll(site, source, source_row(source))
        return (await poll(site, source, first.source))[1].source

    assert polls(work).next_reason == "the feed asks for 10 h"


def test_a_key_goes_to_the_source_that_wants_it():
    async def work(site):
        seen = []
        site.others["a"] = lambda request: (
            seen.append(request.headers.get("X-Key")) or web.Response()
        )
        source = site.source("a", secret_header="X-Key")
        await poll(site, source, source_row(source), secrets={"a": "secret", "b": "other"})
        return seen

    assert polls(work) == ["secret"]


def test_a_key_stays_with_its_own_origin_wherever_the_source_moves():
    seen = []

    def note(request):
        seen.append(request.headers.get("X-Key"))
        return web.Response(body=rss("one"))

    async def work(site):
        async with Site().up() as other:
            other.others["new"] = note
            site.others["a"] = moved(f"http://127.0.0.1:{other.port}/new")
            source = site.source("a", secret_header="X-Key")
            row = source_row(source)
            for day in range(5):
                _, result = await poll(
                    site, source, row, now=NOW + day * DAY, secrets={"a": "secret"}
                )
                row = result.source
            assert is_adopted(row)

    polls(work)
    assert seen == [None] * 5


def test_items_are_made_fit_for_the_database():
    items = [
        Item(key="1", content_sha="a", title="nul\0 and \udc80 half"),
        Item(key="1", content_sha="b", title="the same key on the next page"),
    ]
    (kept,) = ledger_items("s", items)
    assert (kept.title, kept.content_sha) == ("nul and ? half", "a")


def test_a_fault_of_ours_leaves_the_source_as_it_was_but_for_the_reason():
    async def work(site):
        source = site.source("a")
        row = dataclasses.replace(source_row(source), etag='"1"', cursor="c")
        return broken(row, "our own fault: KeyError", NOW).source

    row = polls(work)
    assert (row.etag, row.cursor, row.state, row.errors) == ('"1"', "c", "DEGRADED", 1)
    assert "our own fault: KeyError" in row.next_reason
