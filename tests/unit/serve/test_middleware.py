"""What the replica's outermost layer does to request ids, upgrades and clients that hang up."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import defaultdict, deque
from typing import Any

import pytest
from ray.serve._private.common import RequestProtocol
from ray.serve._private.request_ingress_metrics import RequestIngressMetrics
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from serve import middleware
from serve.middleware import HotPath
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


class Transport(asyncio.Transport):
    """What uvicorn writes, write by write."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 8000) if name in ("peername", "sockname") else default

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def spoken(*sent: bytes) -> Transport:
    """uvicorn's own protocol with an application whose answers go out in one write."""

    async def application(scope: Message, receive: Any, send: Any) -> None:
        middleware.join_writes(send)
        message = await receive()
        content = message["body"]
        headers = [(b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def speak() -> Transport:
        config = Config(application, http="httptools", lifespan="off", server_header=False)
        config.load()
        protocol, transport = HttpToolsProtocol(config, ServerState(), {}), Transport()
        protocol.connection_made(transport)
        for data in sent:
            protocol.data_received(data)
            await asyncio.sleep(0.01)
        return transport

    return asyncio.run(speak())


REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n"


def test_an_answer_s_head_and_body_are_one_write_each_time() -> None:
    written = spoken(REQUEST + b"{}", REQUEST + b"[]").written
    assert [one[-6:] for one in written] == [b"\r\n\r\n{}", b"\r\n\r\n[]"]


def test_who_asks_whether_to_go_on_is_told_before_the_answer() -> None:
    asks = REQUEST.replace(b"host", b"expect: 100-continue\r\nhost")
    first, *others = spoken(asks, b"{}").written
    assert first.startswith(b"HTTP/1.1 100 Continue")
    assert b"".join(others).endswith(b"\r\n\r\n{}")


def test_a_latency_that_is_left_out_is_in_neither_of_serve_s_histograms() -> None:
    class Metrics:
        def __init__(self) -> None:
            self._cached_latencies = defaultdict(deque)
            self._cached_ingress_processing_latencies = defaultdict(lambda: defaultdict(deque))

    hot, metrics = HotPath(None), Metrics()
    hot._route, hot._names, hot._tags = "/v1/x", {"app_name": "x"}, {}
    for status in (200, 200, 503):
        tags = RequestIngressMetrics.request_tags(
            route="/v1/x", method="POST", application="x", status_code=str(status)
        )
        own = metrics._cached_ingress_processing_latencies[RequestProtocol.HTTP]
        metrics._cached_latencies["/v1/x"].append(1.0)
        own[frozenset(tags.items())].append(1.0)
        hot._forget_latency(metrics, status)
        assert not metrics._cached_latencies["/v1/x"]
        assert not own[frozenset(tags.items())]
    hot._forget_latency(metrics, 200)  # already reported: nothing to take out
    hot._forget_latency(object(), 200)  # another Ray's
