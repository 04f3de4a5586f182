"""Errors as RFC 9457 problem details."""

from __future__ import annotations

import http
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

PROBLEM_TYPE = b"application/problem+json"
_REWRITTEN = (b"content-type", b"content-length")


class Problem(Exception):  # noqa: N818  # the RFC's word
    """An answer that is an error: an HTTP status and one sentence."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail

    def body(self) -> bytes:
        """The JSON document."""
        title = http.HTTPStatus(self.status).phrase
        return orjson.dumps(
            {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail}
        )


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
