"""What the replica's outermost layer does to request ids, upgrades and clients that hang up."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any, ClassVar

import pytest

from serve import middleware
from serve.middleware import HotPath, OneWrite
from serve.problems import Problem

Message = dict[str, Any]


@pytest.fixture(autouse=True)
def _without_authentication(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "gate", lambda: None)


def http(*headers: tuple[bytes, bytes]) -> Message:
    return {"type": "http", "method": "GET", "path": "/v1/models", "headers": list(headers)}


def run(app: Any, scope: Message) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": f"{scope['type']}.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(HotPath(app)(scope, receive, send))
    return sent


def echo(seen: list[Any]) -> Any:
    async def app(scope: Message, receive: Any, send: Any) -> None:
        seen.append(dict(scope["headers"]).get(b"x-request-id"))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    return app


@pytest.mark.parametrize("given", [b"from-the-client", b"00-abc/1:2.3+4=", b"x" * 128])
def test_a_good_request_id_is_kept(given: bytes) -> None:
    seen: list[Any] = []
    run(echo(seen), http((b"x-request-id", given)))
    assert seen == [given]


@pytest.mark.parametrize(
    "given", [b"", b"a b", b"a\r\nset-cookie: x", b"<script>", b"\xff", b"x" * 129, b'"']
)
def test_another_is_replaced_before_anything_repeats_it(given: bytes) -> None:
    seen: list[Any] = []
    run(echo(seen), http((b"x-request-id", given), (b"accept", b"*/*")))
    assert re.fullmatch(rb"[0-9a-f]{32}", seen[0])


def test_a_websocket_is_told_what_is_spoken_here() -> None:
    scope = {"type": "websocket", "path": "/v1/models", "headers": []}
    extended = {**scope, "extensions": {"websocket.http.response": {}}}
    start, body = run(None, extended)
    assert start["type"] == "websocket.http.response.start"
    assert start["status"] == 426
    assert (b"upgrade", b"HTTP/1.1") in start["headers"]
    assert b"speaks HTTP" in body["body"]
    assert run(None, scope) == [{"type": "websocket.close", "code": 1002}]


def test_a_client_that_hangs_up_leaves_one_debug_line(caplog: pytest.LogCaptureFixture) -> None:
    async def serve_s_own_path(scope: Message, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 499, "headers": []})
        await send({"type": "http.response.body", "body": b"Client disconnected"})
        raise asyncio.CancelledError

    with caplog.at_level(logging.DEBUG, "ray.serve"):
        start, body = run(serve_s_own_path, http())
    assert start["status"] == 499
    assert b"Client Closed Request" in body["body"]
    assert [record.getMessage() for record in caplog.records if record.name == "ray.serve"] == [
        "the client hung up: GET /v1/models"
    ]


def test_a_task_that_is_cancelled_from_outside_stays_cancelled() -> None:
    async def waits(scope: Message, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    async def cancel() -> None:
        task = asyncio.create_task(HotPath(waits)(http(), None, None))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())


@pytest.mark.parametrize("status", [400, 401, 404, 415, 426, 429, 499, 503])
def test_every_status_has_a_title(status: int) -> None:
    assert b'"title":"' in Problem(status, "why").body()


def test_an_answer_s_head_waits_for_its_body() -> None:
    class Transport:
        written: ClassVar[list[bytes]] = []

        def write(self, data: bytes) -> None:
            self.written.append(data)

        def is_closing(self) -> bool:
            return False

    transport = OneWrite(Transport())
    transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
    assert not Transport.written
    transport.write(b"{}")
    assert Transport.written == [b"HTTP/1.1 200 OK\r\n\r\n{}"]
    assert not transport.is_closing()
