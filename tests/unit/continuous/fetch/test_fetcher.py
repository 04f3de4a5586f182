"""Fetching from a server on loopback: what is sent, what is kept, what is refused."""

import asyncio
import dataclasses
import functools
import gzip
import time
import zlib

import pytest
from aiohttp import web

from spt_core.continuous.fetch.fetcher import Fetcher, FetchPolicy, Request
from spt_core.continuous.fetch.guard import Guard
from spt_core.continuous.fetch.hosts import HostLimits
from spt_core.errors import InputError

POLICY = FetchPolicy(guard=Guard(allow_networks=("127.0.0.0/8",)), host_pause_s=0.0, deadline_s=3.0)


def exchange(answer, *requests, policy=POLICY):
    """Outcomes of requests (functions of the server's URL), one after the other, and the asked."""
    asked = []

    async def handle(http):
        asked.append(http)
        made = answer(http)
        return await made if asyncio.iscoroutine(made) else made

    async def run():
        runner = web.ServerRunner(web.Server(handle))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, reuse_address=True).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/feed"
        outcomes = []
        async with Fetcher(policy) as fetcher:
            for request in requests or (lambda url: Request(url=url),):
                async with fetcher.fetch(request(url)) as fetched:
                    outcomes.append(fetched)
        await runner.cleanup()
        return outcomes

    return asyncio.run(run()), asked


def test_validators_are_kept_and_sent_back_verbatim():
    def answer(http):
        if http.headers.get("If-None-Match") == 'W/"a b"':
            return web.Response(status=304)
        headers = {"ETag": 'W/"a b"', "Last-Modified": "yesterday, or so", "Cache-Control": "x"}
        return web.Response(body=b"<rss/>", headers=headers)

    def again(url):
        return Request(url=url, etag='W/"a b"', last_modified="yesterday, or so")

    (first, second), asked = exchange(answer, lambda url: Request(url=url), again)
    assert (first.outcome, first.etag) == ("changed", 'W/"a b"')
    assert (first.last_modified, first.cache_control) == ("yesterday, or so", "x")
    assert (second.outcome, second.status) == ("not_modified", 304)
    assert asked[1].headers["If-Modified-Since"] == "yesterday, or so"
    assert asked[0].headers["User-Agent"] == POLICY.user_agent
    assert asked[0].headers["Accept-Encoding"] == "gzip, deflate"
    assert "Cookie" not in asked[1].headers


def test_a_validator_that_is_not_printable_ascii_is_neither_kept_nor_sent():
    def answer(http):
        return web.Response(body=b"x", headers={"ETag": '"caf\u00e9"'})

    (fetched,), asked = exchange(answer, lambda url: Request(url=url, etag='"a\r\nX-Evil: 1"'))
    assert fetched.etag == ""
    assert "If-None-Match" not in asked[0].headers
    assert "X-Evil" not in asked[0].headers


def test_the_same_body_is_unchanged_and_comes_without_its_bytes():
    def answer(http):
        return web.Response(body=b"same")

    (first,), _ = exchange(answer)
    (second,), _ = exchange(answer, lambda url: Request(url=url, body_sha=first.body_sha))
    assert (second.outcome, second.body) == ("unchanged", b"")
    assert second.body_sha == first.body_sha


def raw_deflate(content):
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(content) + engine.flush()


BODY = b"<rss>" + b"some words " * 1000 + b"</rss>"
packed = functools.partial(gzip.compress, mtime=0)  # the same bytes in every process


@pytest.mark.parametrize(
    ("encoding", "sent"),
    [
        ("gzip", packed(BODY)),
        ("gzip", packed(BODY[:500]) + packed(BODY[500:])),
        ("gzip", packed(BODY) + b"\0" * 30),
        ("deflate", zlib.compress(BODY)),
        ("deflate", raw_deflate(BODY)),
        ("identity", BODY),
    ],
    ids=lambda v: v if isinstance(v, str) else f"{len(v)} bytes",
)
def test_compressed_bodies_are_unpacked(encoding, sent):
    def answer(http):
        return web.Response(body=sent, headers={"Content-Encoding": encoding})

    (fetched,), _ = exchange(answer)
    assert (fetched.outcome, fetched.body) == ("changed", BODY)


@pytest.mark.parametrize(
    ("encoding", "sent", "reason"),
    [
        ("gzip", packed(b"\0" * 20 * 2**20), "more than 200 times its size"),
        ("gzip", packed(packed(BODY))[:-9], "cut off"),
        ("gzip", b"no gzip at all", "damaged"),
        ("br", b"xxxx", "'br' was not asked for"),
        ("gzip, gzip", packed(packed(BODY)), "not asked for"),
        ("", b"x" * (9 * 2**20), "bytes large"),
    ],
    ids=lambda v: v if isinstance(v, str) else f"{len(v)} bytes",
)
def test_a_body_beyond_its_caps_or_not_asked_for_is_refused(encoding, sent, reason):
    def answer(http):
        return web.Response(body=sent, headers={"Content-Encoding": encoding} if encoding else {})

    (fetched,), _ = exchange(answer)
    assert (fetched.outcome, fetched.body) == ("refused", b"")
    assert reason in fetched.reason


def test_a_body_without_a_length_ends_at_the_cap():
    async def answer(http):
        response = web.StreamResponse()
        await response.prepare(http)
        try:
            while True:
                await response.write(b"x" * 2**20)
        except ConnectionError:
            return response

    (fetched,), _ = exchange(answer)
    assert fetched.outcome == "refused"
    assert "more than 8 MB" in fetched.reason


def test_a_server_that_never_ends_its_answer_meets_the_deadline():
    async def answer(http):
        response = web.StreamResponse()
        await response.prepare(http)
        for _ in range(100):
            await response.write(b"x")
            await asyncio.sleep(0.05)
        return response

    start = time.monotonic()
    (fetched,), _ = exchange(answer, policy=dataclasses.replace(POLICY, deadline_s=0.3))
    assert (fetched.outcome, fetched.reason) == ("no_answer", "no whole answer within 0.3 s")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (429, "rate_limited"),
        (503, "rate_limited"),
        (404, "missing"),
        (410, "missing"),
        (403, "failed"),
        (500, "failed"),
        (206, "failed"),
        (204, "failed"),
    ],
)
def test_every_status_has_its_outcome(status, outcome):
    def answer(http):
        return web.Response(status=status, headers={"Retry-After": "77"})

    (fetched,), _ = exchange(answer)
    assert (fetched.outcome, fetched.status, fetched.retry_after) == (outcome, status, "77")


@pytest.mark.parametrize(
    ("statuses", "moved_to"),
    [((301,), "/new?n=1"), ((308, 301), "/new?n=2"), ((302,), ""), ((301, 307), "/new?n=1")],
)
def test_only_a_chain_of_permanent_redirects_names_a_new_address(statuses, moved_to):
    def answer(http):
        number = int(http.query.get("n", 0))
        if number == len(statuses):
            return web.Response(body=b"here")
        return web.Response(status=statuses[number], headers={"Location": f"/new?n={number + 1}"})

    (fetched,), _ = exchange(answer)
    assert fetched.outcome == "changed"
    assert fetched.url.endswith(f"/new?n={len(statuses)}")
    assert fetched.moved_to.endswith(moved_to)
    assert bool(fetched.moved_to) == bool(moved_to)


def test_a_redirect_without_end_is_refused():
    def answer(http):
        return web.Response(status=302, headers={"Location": "/feed"})

    (fetched,), asked = exchange(answer)
    assert (fetched.outcome, fetched.reason) == ("refused", "more than 5 redirects")
    assert len(asked) == 6


def test_cookies_are_not_kept():
    def answer(http):
        return web.Response(body=b"x", headers={"Set-Cookie": "a=b"})

    _, asked = exchange(answer, lambda url: Request(url=url), lambda url: Request(url=url))
    assert "Cookie" not in asked[1].headers


def test_a_host_is_asked_by_few_at_a_time_with_pauses():
    busy, most, starts = 0, 0, []

    async def visit(limits):
        nonlocal busy, most
        async with limits.turn("a.example"):
            starts.append(time.monotonic())
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(0.1)
            busy -= 1

    async def run():
        limits = HostLimits(at_a_time=2, pause_s=0.05)
        await asyncio.gather(*(visit(limits) for _ in range(6)))

    asyncio.run(run())
    assert most == 2
    assert starts[-1] - starts[0] > 4.5 * 0.05  # of five pauses; a busy machine notes a start late


def test_a_user_agent_must_be_a_header():
    with pytest.raises(InputError, match="user_agent must be printable ASCII"):
        FetchPolicy(user_agent="a\r\nb")
