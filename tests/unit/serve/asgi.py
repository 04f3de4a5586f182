"""Calls an ASGI application as a server would, without one."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

ROUTE = "/v1/financial_services/fraud_detection"


class Response(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    content: Any


async def ask(
    app: Any,
    body: bytes,
    *,
    method: str = "POST",
    below: str = "",
    content_type: str = "",
    query: str = "",
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Response:
    """The answer to one request; the body comes in two parts."""
    kind = ((b"content-type", content_type.encode()),) if content_type else ()
    scope = {
        "type": "http",
        "method": method,
        "path": ROUTE + below,
        "root_path": ROUTE,
        "query_string": query.encode(),
        "headers": [*kind, *headers],
    }
    half = len(body) // 2
    parts = [
        {"type": "http.request", "body": body[:half], "more_body": True},
        {"type": "http.request", "body": body[half:], "more_body": False},
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return parts.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = sent[0]
    answered = {name.decode(): value.decode() for name, value in start["headers"]}
    content = b"".join(message["body"] for message in sent[1:])
    assert answered["content-length"] == str(len(content))
    return Response(start["status"], answered, json.loads(content))
