"""Errors as RFC 9457 problem details."""

from __future__ import annotations

import http
import random
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import orjson

PROBLEM_TYPE = b"application/problem+json"
_REWRITTEN = (b"content-type", b"content-length")
_TITLES = {499: "Client Closed Request"}  # Serve's, of a client that hung up; no standard has it
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")


class Problem(Exception):  # noqa: N818  # the RFC's word
    """An answer that is an error: an HTTP status and one sentence."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail

    def body(self) -> bytes:
        """The JSON document."""
        title = _TITLES.get(self.status) or http.HTTPStatus(self.status).phrase
        return orjson.dumps(
            {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        )


def checked_request_id(given: bytes | None) -> bytes:
    """What the client calls the request where that may stand in headers and logs, or a new id."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return b"%032x" % random.getrandbits(128)  # a name, no secret: 10 us less


async def send_problem(
    send: Callable[[dict[str, Any]], Awaitable[None]],
    problem: Problem,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Answer a request with a problem document."""
    body = problem.body()
    length = str(len(body)).encode()
    start = [*headers, (b"content-type", PROBLEM_TYPE), (b"content-length", length)]
    await send({"type": "http.response.start", "status": problem.status, "headers": start})
    await send({"type": "http.response.body", "body": body})


def problems_only(
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> Callable[[dict[str, Any]], Awaitable[None]]:
    """An ASGI `send` that words an error of another kind (Serve's plain text) as a problem."""
    start: dict[str, Any] | None = None
    text = b""

    async def rewrite(message: dict[str, Any]) -> None:
        nonlocal start, text
        if message["type"] == "http.response.start" and _is_foreign_error(message):
            start = message
        elif start is None:
            await send(message)
        else:
            text += message.get("body", b"")
            if not message.get("more_body", False):
                await _send_problem(send, start, text)

    return rewrite


def _is_foreign_error(start: dict[str, Any]) -> bool:
    kinds = [value for name, value in start.get("headers", ()) if name.lower() == b"content-type"]
    return start["status"] >= 400 and kinds != [PROBLEM_TYPE]


async def _send_problem(
    send: Callable[[dict[str, Any]], Awaitable[None]], start: dict[str, Any], text: bytes
) -> None:
    body = Problem(start["status"], text.decode(errors="replace").strip('" \n')[:500]).body()
    kept = [(n, v) for n, v in start.get("headers", ()) if n.lower() not in _REWRITTEN]
    length = str(len(body)).encode()
    headers = [*kept, (b"content-type", PROBLEM_TYPE), (b"content-length", length)]
    await send({**start, "headers": headers})
    await send({"type": "http.response.body", "body": body})
