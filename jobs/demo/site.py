"""An authority's web site on loopback: three feeds that list what it has published so far."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Self
from xml.sax.saxutils import escape

FEEDS = ("rulings", "guidance", "enforcement")
PER_FEED = 8
TOPIC = "Changes to contracts"  # the authority's own name for what the task calls "ch"

# SYNTHETIC. A way to change a contract that no row of the task's sample has.
_CLAUSES = (
    "your plan renews by itself for another year unless you object in time",
    "the subscription renews by itself at the price of that day",
    "the trial turns into a paid plan that renews by itself every month",
    "the membership renews by itself for twelve months, and silence is consent",
)
_SECOND = (
    "your silence is taken as consent to a dearer plan",
    "whoever does not object within a week has agreed to the dearer plan",
)
QUESTION = "The membership renews by itself for another year unless you object."


class Publication(NamedTuple):
    """What a feed lists."""

    title: str
    text: str


def first_wave() -> dict[str, list[Publication]]:
    """What begins the first retraining: rulings on clauses that the model has never seen."""
    return _wave(_CLAUSES, "Ruling")


def second_wave() -> dict[str, list[Publication]]:
    """What begins the second one."""
    return _wave(_SECOND, "Notice")


def _wave(clauses: Sequence[str], kind: str) -> dict[str, list[Publication]]:
    return {
        feed: [
            Publication(
                f"{kind} {PER_FEED * place + n + 1} on a contract term",
                f"{clauses[(n + place) % len(clauses)].capitalize()}.",
            )
            for n in range(PER_FEED)
        ]
        for place, feed in enumerate(FEEDS)
    }


class Site:
    """The web server, a context manager; `publish` adds to its feeds."""

    def __init__(self) -> None:
        self._bodies: dict[str, bytes] = {}
        self._published: dict[str, list[Publication]] = {feed: [] for feed in FEEDS}
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                del format, args  # the story is told by the watcher

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.publish({})

    def publish(self, wave: Mapping[str, Sequence[Publication]]) -> int:
        """How many publications were added."""
        for feed, published in self._published.items():
            published += wave.get(feed, ())
            self._bodies[f"/{feed}"] = _rss(feed, published)
        return sum(len(added) for added in wave.values())

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """One request: a feed, 304 where its state is known, or 404."""
        body = self._bodies.get(request.path, b"")
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        status = 200 if body else 404
        if request.headers.get("If-None-Match") == tag:
            status, body = 304, b""
        request.send_response(status)
        request.send_header("ETag", tag)
        request.send_header("Content-Type", "application/rss+xml; charset=utf-8")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def __enter__(self) -> Self:
        """Serve from a thread."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


def _rss(feed: str, published: Sequence[Publication]) -> bytes:
    items = "".join(
        f"<item><title>{escape(one.title)}</title><guid isPermaLink='false'>{feed}-{n}</guid>"
        f"<link>https://authority.example/{feed}/{n}</link><category>{TOPIC}</category>"
        f"<description>{escape(one.text)}</description></item>"
        for n, one in enumerate(published)
    )
    title = f"<title>The authority's {feed} (SYNTHETIC)</title>"
    return f"<rss version='2.0'><channel>{title}{items}</channel></rss>".encode()
