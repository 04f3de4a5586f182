"""Asking a URL that a stranger wrote, by HTTP, with every guard: Request -> Fetched, never raises.

What the server says is kept verbatim (validators, caching headers); what it means for the next
check is `fetch_schedule.next_check`. Redirects are followed by hand, each hop checked anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Literal, NamedTuple
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from spt_core.continuous.feeds.values import MAX_BODY_BYTES
from spt_core.continuous.fetch.body import (
    ACCEPT_ENCODING,
    LARGE_BYTES,
    BodyRefusedError,
    read_body,
)
from spt_core.continuous.fetch.guard import ForbiddenAddressError, Guard, GuardedResolver
from spt_core.continuous.fetch.hosts import HostLimits
from spt_core.errors import InputError

Outcome = Literal[
    "changed",
    "unchanged",
    "not_modified",
    "rate_limited",
    "missing",
    "failed",
    "refused",
    "no_answer",
]

DEFAULT_USER_AGENT = "spt-watch/0.1 (regulatory updates; no contact configured)"
_ACCEPT = (
    "application/atom+xml, application/rss+xml, application/feed+json, application/xml;q=0.9, "
    "application/json;q=0.9, text/html;q=0.6, */*;q=0.3"
)
_MAX_VALIDATOR = 1024
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_REDIRECTS = {301, 302, 303, 307, 308}
_PERMANENT = {301, 308}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FetchPolicy:
    """What the operator decides about all requests."""

    guard: Guard = Guard()
    user_agent: str = DEFAULT_USER_AGENT
    deadline_s: float = 30.0
    wire_bytes: int = 8 * 2**20
    body_bytes: int = MAX_BODY_BYTES
    ratio: int = 200
    max_redirects: int = 5
    max_connections: int = 64
    max_large_bodies: int = 3
    host_at_a_time: int = 2
    host_pause_s: float = 0.2

    def __post_init__(self) -> None:
        """Refuse a User-Agent that is no header."""
        if not _PRINTABLE.fullmatch(self.user_agent):
            raise InputError(f"user_agent must be printable ASCII, however: {self.user_agent!r}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What to ask, and what is known of the last answer (verbatim, as it was sent)."""

    url: str
    etag: str = ""
    last_modified: str = ""
    body_sha: str = ""
    secret_headers: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """What became of a request.

    `changed` has a body; `unchanged` had the one that is known; `not_modified` is a 304. Validators
    are the answer's own, to be stored with the items or not at all. `moved_to` is where a chain of
    permanent redirects led. `reason` is for people.
    """

    outcome: Outcome
    url: str
    status: int = 0
    reason: str = ""
    body: bytes = b""
    body_sha: str = ""
    content_type: str = ""
    etag: str = ""
    last_modified: str = ""
    cache_control: str = ""
    expires: str = ""
    date: str = ""
    retry_after: str = ""
    moved_to: str = ""


class Fetcher:
    """A session of guarded requests; open it with `async with`, and use it from one event loop."""

    def __init__(self, policy: FetchPolicy, *, resolver: AbstractResolver | None = None) -> None:
        self._policy = policy
        self._resolver = resolver
        self._hosts = HostLimits(at_a_time=policy.host_at_a_time, pause_s=policy.host_pause_s)
        self._places = asyncio.Semaphore(policy.max_connections)
        self._large = asyncio.Semaphore(policy.max_large_bodies)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Fetcher:
        guard = self._policy.guard
        resolver = self._resolver or aiohttp.ThreadedResolver()
        connector = aiohttp.TCPConnector(
            resolver=GuardedResolver(resolver, guard),
            socket_factory=guard.open_socket,
            use_dns_cache=False,  # a name is asked for at each connection, which is what is guarded
            limit=0,  # places are given out before
            keepalive_timeout=1.0,  # for the next page; a poll comes back after minutes
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            headers={"User-Agent": self._policy.user_agent, "Accept-Encoding": ACCEPT_ENCODING},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    @contextlib.asynccontextmanager
    async def fetch(self, request: Request) -> AsyncGenerator[Fetched]:
        """The answer, redirects followed; whatever goes wrong is in the outcome, never raised.

        Only a few large bodies are in memory at a time: one keeps its place until the `async with`
        ends, so parse it inside.
        """
        large = _LargePlace(self._large)
        try:
            yield await self._follow(request, large)
        finally:
            large.release()

    async def _follow(self, request: Request, large: _LargePlace) -> Fetched:
        url, is_permanent, moved_to = request.url, True, ""
        for _ in range(self._policy.max_redirects + 1):
            problem = self._policy.guard.url_problem(url)
            if problem:
                return _refused(url, f"{url[:200]!r} must not be asked: {problem}")
            fetched, location = await self._ask(request, url, large)
            if location is None:
                return dataclasses.replace(fetched, moved_to=moved_to) if moved_to else fetched
            target = _joined(url, location)
            if url.lower().startswith("https:") and target.lower().startswith("http:"):
                return _refused(url, f"it redirects from https to {target[:200]!r}")
            is_permanent = is_permanent and fetched.status in _PERMANENT
            url, moved_to = target, target if is_permanent else moved_to
        return _refused(url, f"more than {self._policy.max_redirects} redirects")

    async def _ask(
        self, request: Request, url: str, large: _LargePlace
    ) -> tuple[Fetched, str | None]:
        """One hop: its outcome, and the Location of a redirect."""
        assert self._session is not None, "open the Fetcher with `async with`"
        asked = _unambiguous(url)
        if asked is None:
            return _refused(url, f"{url[:200]!r} must not be asked: its host is ambiguous"), None
        headers = _headers(request, url)
        async with self._hosts.turn(asked.host_port), self._places:
            try:
                async with (
                    asyncio.timeout(self._policy.deadline_s) as clock,
                    self._session.get(
                        asked.url, allow_redirects=False, headers=headers
                    ) as response,
                ):
                    location = response.headers.get("Location")
                    if response.status in _REDIRECTS and location:
                        return _answer("failed", url, response), location
                    return await self._outcome(request, url, response, large.within(clock)), None
            except BodyRefusedError as error:
                return _refused(url, str(error)), None
            except TimeoutError:
                reason = f"no whole answer within {self._policy.deadline_s:g} s"
                return Fetched(outcome="no_answer", url=url, reason=reason), None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                return _failure(url, error), None

    async def _outcome(
        self,
        request: Request,
        url: str,
        response: aiohttp.ClientResponse,
        grown_large: Callable[[], Awaitable[None]],
    ) -> Fetched:
        match response.status:
            case 304:
                return _answer("not_modified", url, response)
            case 200 | 203:
                pass
            case 429 | 503 as status:
                return _answer("rate_limited", url, response, f"HTTP {status}")
            case 404 | 410 as status:
                return _answer("missing", url, response, f"HTTP {status}")
            case status:
                return _answer("failed", url, response, f"HTTP {status}")
        if (response.content_length or 0) > self._policy.wire_bytes:
            raise BodyRefusedError(f"it is {response.content_length or 0:,} bytes large")
        encoding = response.headers.get("Content-Encoding", "")
        chunks = response.content.iter_any()
        body = await read_body(chunks, encoding, self._policy, grown_large)
        sha = await _sha256(body)
        if sha == request.body_sha:
            return _answer("unchanged", url, response, body_sha=sha)
        return _answer("changed", url, response, body=body, body_sha=sha)


class _LargePlace:
    """One request's place among the large bodies, taken when its body turns out to be one."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._is_held = False

    def within(self, clock: asyncio.Timeout) -> Callable[[], Awaitable[None]]:
        """What waits for the place; the waiting is not the server's time."""

        async def take() -> None:
            loop = asyncio.get_running_loop()
            left = (clock.when() or loop.time()) - loop.time()
            clock.reschedule(None)
            await self._places.acquire()
            self._is_held = True
            clock.reschedule(loop.time() + left)

        return take

    def release(self) -> None:
        """Give the place back."""
        if self._is_held:
            self._is_held = False
            self._places.release()


class _Asked(NamedTuple):
    url: URL
    host_port: str


@functools.lru_cache(maxsize=4096)  # the same sources are asked again and again
def _unambiguous(url: str) -> _Asked | None:
    """The URL as it is asked, unless it can be read in two ways, which is an attack."""
    read, parts = URL(url, encoded=True), urlsplit(url)
    if (read.raw_host or "").lower() != (parts.hostname or "").lower():
        return None
    return _Asked(read, parts.netloc.lower())


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL that was checked."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, parts.hostname or "", parts.port or (443 if scheme == "https" else 80)


def _headers(request: Request, url: str) -> dict[str, str]:
    headers = {"Accept": _ACCEPT}
    if request.etag:
        headers["If-None-Match"] = _validator(request.etag)
    if request.last_modified:
        headers["If-Modified-Since"] = _validator(request.last_modified)
    if request.secret_headers and origin(url) == origin(request.url):
        headers |= request.secret_headers
    return {name: value for name, value in headers.items() if value}


def _validator(text: str) -> str:
    """The validator if it may be stored and sent back, else nothing."""
    return text if len(text) <= _MAX_VALIDATOR and _PRINTABLE.fullmatch(text) else ""


def _answer(
    outcome: Outcome,
    url: str,
    response: aiohttp.ClientResponse,
    reason: str = "",
    *,
    body: bytes = b"",
    body_sha: str = "",
) -> Fetched:
    headers = response.headers
    return Fetched(
        outcome=outcome,
        url=url,
        status=response.status,
        reason=reason,
        body=body,
        body_sha=body_sha,
        content_type=headers.get("Content-Type", "")[:200],
        etag=_validator(headers.get("ETag", "")),
        last_modified=_validator(headers.get("Last-Modified", "")),
        cache_control=headers.get("Cache-Control", "")[:500],
        expires=headers.get("Expires", "")[:100],
        date=headers.get("Date", "")[:100],
        retry_after=headers.get("Retry-After", "")[:100],
    )


def _refused(url: str, reason: str) -> Fetched:
    return Fetched(outcome="refused", url=url, reason=reason)


def _failure(url: str, error: Exception) -> Fetched:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ForbiddenAddressError):
            return _refused(url, str(cause))
        cause = cause.__cause__ or cause.__context__
    text = " ".join(str(error).split())[:200] or type(error).__name__
    if "connection was refused:" in text:  # several addresses, each refused by the guard
        return _refused(url, text)
    return Fetched(outcome="no_answer", url=url, reason=text)


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        return location  # the guard says what is wrong with it


async def _sha256(body: bytes) -> str:
    if len(body) <= LARGE_BYTES:
        return hashlib.sha256(body).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(body).hexdigest())
