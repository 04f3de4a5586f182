"""No connection may reach an address that is not public, whatever a source or a server says."""

import asyncio
import ipaddress
import socket
import sys

import pytest
import uvloop
from aiohttp import web
from aiohttp.abc import AbstractResolver

from spt_core.continuous.fetch.fetcher import Fetched, Fetcher, FetchPolicy, Request
from spt_core.continuous.fetch.guard import ForbiddenAddressError, Guard, forbidden_kind
from spt_core.continuous.url import malformed_url
from spt_core.errors import InputError
from tests.unit.continuous.forbidden import ENCODED, FORBIDDEN, LITERALS, PUBLIC

# The operator opened 127.0.0.1 and its ports for the server that redirects; relative ones go there.
REDIRECTS = [
    url
    for url in [*LITERALS, *ENCODED]
    if "://" in url
    and url.strip() == url != "http://"
    and url.isascii()
    and url.isprintable()
    and "//127.0.0.1/" not in url
    and "//127.0.0.1:" not in url
    and "public.example:" not in url
]


class Names(AbstractResolver):
    """A resolver that knows some names; a list of lists gives another answer each time."""

    def __init__(self, **names):
        self.names, self.num_asked = names, 0

    async def resolve(self, host, port=0, family=socket.AF_INET):
        answers = self.names[host.partition(".")[0]]
        turn = answers[min(self.num_asked, len(answers) - 1)] if answers else []
        self.num_asked += 1
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
            for address in turn
        ]

    async def close(self):
        pass


@pytest.fixture(
    params=[asyncio.SelectorEventLoop, pytest.param(uvloop.Loop, marks=pytest.mark.slow)],
    ids=["asyncio", "uvloop"],
)
def connected(request, monkeypatch):
    """Every address that a socket is connected to; only our own server is really reached."""
    seen = []

    class Recording(request.param):
        async def sock_connect(self, sock, address):
            seen.append(address[0])
            if address[0] != "127.0.0.1":
                raise OSError("the test goes no further")
            await super().sock_connect(sock, address)

    monkeypatch.setattr(sys.modules[__name__], "new_loop", Recording)
    return seen


new_loop = asyncio.new_event_loop


def run_on_loop(coroutine):
    """What the coroutine returns on a loop of the test's kind."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(coroutine)


def policy(*networks):
    return FetchPolicy(guard=Guard(allow_networks=networks), host_pause_s=0.0, deadline_s=5.0)


def ask(url, *, names=None, networks=(), request=None):
    """The outcome of one request."""

    async def run():
        async with (
            Fetcher(policy(*networks), resolver=names or Names(public=[["8.8.8.8"]])) as fetcher,
            fetcher.fetch(request or Request(url=url)) as fetched,
        ):
            return fetched

    return run_on_loop(run())


def ask_server(answer, *, path="/", names=None, request=None):
    """The outcome of a request to a server on loopback, with what it was asked."""
    asked = []

    async def handle(http):
        asked.append(http)
        return answer(http)

    async def run():
        server = web.Server(handle)
        runner = web.ServerRunner(server)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        url = f"http://home.example:{port}{path}"
        known = names or Names(home=[["127.0.0.1"]], other=[["127.0.0.1"]], public=[["8.8.8.8"]])
        wanted = request(url) if request else Request(url=url)
        try:
            async with (
                Fetcher(policy("127.0.0.1/32"), resolver=known) as fetcher,
                fetcher.fetch(wanted) as fetched,
            ):
                return fetched
        finally:
            await runner.cleanup()

    return run_on_loop(run()), asked


@pytest.mark.parametrize("url", [*LITERALS, *ENCODED])
def test_a_forbidden_or_disguised_url_is_never_connected(url, connected):
    assert ask(url).outcome == "refused"
    assert connected == []


@pytest.mark.parametrize("address", FORBIDDEN)
def test_a_name_with_a_forbidden_record_is_never_connected(address, connected):
    for answer in ([address], ["8.8.8.8", address], [address, "8.8.8.8"]):
        fetched = ask("http://name.example/", names=Names(name=[answer]))
        assert fetched.outcome == "refused", fetched
    assert connected == []


@pytest.mark.parametrize("address", FORBIDDEN)
def test_the_last_check_refuses_a_socket_for_a_forbidden_address(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(ForbiddenAddressError, match="refused"):
        Guard().open_socket((family, socket.SOCK_STREAM, 0, "", (address, 80)))


@pytest.mark.parametrize("target", REDIRECTS)
def test_a_redirect_to_a_forbidden_url_is_not_followed(target, connected):
    def redirect(http):
        return web.Response(status=302, headers={"Location": target})

    fetched, asked = ask_server(redirect)
    assert fetched.outcome == "refused", fetched
    assert connected == ["127.0.0.1"]
    assert len(asked) == 1


def test_a_name_that_changes_its_answer_is_refused_at_the_second(connected):
    def redirect(http):
        return web.Response(status=302, headers={"Location": "http://turning.example/"})

    names = Names(home=[["127.0.0.1"]], turning=[["10.0.0.1"]])
    fetched, _ = ask_server(redirect, names=names)
    assert fetched.outcome == "refused"
    assert connected == ["127.0.0.1"]


def test_an_answer_that_turns_after_the_check_is_refused_at_the_socket(connected, monkeypatch):
    monkeypatch.setattr(
        "spt_core.continuous.fetch.fetcher.GuardedResolver", lambda inner, guard: inner
    )  # as if the name had been checked and then turned
    for address in ("127.0.0.1", "169.254.169.254", "::1", "fd00:ec2::254"):
        fetched = ask("http://name.example/", names=Names(name=[[address, address]]))
        assert fetched.outcome == "refused", fetched
    assert connected == []


def test_the_operator_opens_one_network_and_no_other(connected):
    fetched, _ = ask_server(lambda http: web.Response(text="hello"))
    assert fetched.outcome == "changed"
    assert ask("http://127.0.0.2/", networks=("127.0.0.1/32",)).outcome == "refused"
    assert ask("http://[::1]/", networks=("127.0.0.0/8",)).outcome == "refused"
    assert set(connected) == {"127.0.0.1"}


def test_the_proxies_of_the_environment_are_not_used(connected, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    assert ask("http://public.example/").outcome == "no_answer"
    assert connected == ["8.8.8.8"]


def test_secrets_go_to_the_first_origin_only():
    def redirect(http):
        if http.path == "/":
            other = f"http://other.example:{http.url.port}/feed"
            return web.Response(status=302, headers={"Location": other})
        return web.Response(text="feed")

    def with_secret(url):
        return Request(url=url, secret_headers={"X-Api-Key": "s3cret"}, etag='"e"')

    fetched, asked = ask_server(redirect, request=with_secret)
    assert fetched.outcome == "changed"
    assert [http.headers.get("X-Api-Key") for http in asked] == ["s3cret", None]
    assert [http.headers.get("If-None-Match") for http in asked] == ['"e"', '"e"']


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_connected(address, connected):
    assert not forbidden_kind(ipaddress.ip_address(address))
    assert ask("http://public.example/", names=Names(public=[[address]])).outcome == "no_answer"
    assert connected == [address]


def test_https_is_never_left_for_http(monkeypatch):
    async def redirected(fetcher, request, url, large):
        return Fetched(outcome="failed", url=url, status=301), "http://public.example/feed"

    monkeypatch.setattr(Fetcher, "_ask", redirected)
    fetched = ask("https://public.example/")
    assert fetched.outcome == "refused"
    assert "from https to" in fetched.reason


def test_a_network_that_is_none_is_a_mistake_of_the_operator():
    with pytest.raises(InputError, match="allow_networks must hold networks"):
        Guard(allow_networks=("localhost",))


@pytest.mark.parametrize(
    "url",
    ["http://public.example/", "https://a.b-c.example:8443/x?y=%20#z", "http://xn--e1.example"],
)
def test_an_ordinary_url_is_fine(url):
    assert malformed_url(url) == ""
