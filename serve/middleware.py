"""The hot route without Serve's per-request task and queue, but with its accounting.

Serve wraps each request in tasks that cost more than these models do. This ASGI middleware runs
inside the replica, in front of that wrapper, and answers the hot route there; it restores what the
wrapper does: ongoing-request counts (autoscaling, draining), request metrics (of latencies a tenth;
serve/meters.py has all), back-pressure (a full replica takes Serve's own path, which queues or
answers 503) and the request id. It gives up the access log, tracing, and cancellation when a client
disconnects, none of which a model of microseconds needs. It stands on private names of Ray 2.60:
where one is missing, every request takes Serve's own path, which is slower and right. What Serve's
path says in plain text when it refuses a request becomes a problem document.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from ray.serve._private import replica
from ray.serve._private.common import RequestMetadata, RequestProtocol
from ray.serve._private.request_ingress_metrics import RequestIngressMetrics
from starlette.middleware import Middleware

from cluster.settings import is_embedded
from serve.access import gate
from serve.meters import RaySink
from serve.model_server import HotRoute, Message, Receive, Send
from serve.problems import Problem, checked_request_id, problems_only, send_problem

HOT_DEPLOYMENT = "ModelServer"
SAMPLED = 10
_LATENCIES = ("_cached_latencies", "_cached_ingress_processing_latencies")
_OF_REQUESTS = (b"x-request-id", b"authorization", b"x-forwarded-for")
_log = logging.getLogger("ray.serve")


class OneWrite:
    """A transport whose first write waits for the second: uvicorn writes an answer's head and body.

    In one segment HAProxy wakes once, not twice, and each of the two saves a system call.
    """

    def __init__(self, transport: Any) -> None:
        self._transport, self._head = transport, b""

    def write(self, data: bytes) -> None:
        """Keep the head, or send it with what follows."""
        if self._head:
            self._transport.write(self._head + data)
        self._head = b"" if self._head else data

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's."""
        return getattr(self._transport, name)


def join_writes(send: Send) -> None:
    """Have uvicorn's answer go out in one write; not where it first writes 100 Continue."""
    cycle: Any = getattr(send, "__self__", None)
    if hasattr(cycle, "transport") and not getattr(cycle, "waiting_for_100_continue", False):
        cycle.transport = OneWrite(cycle.transport)


class HotPath:
    """Answers POSTs to the hot route; passes everything else on that the gate lets through."""

    def __init__(self, app: Any) -> None:  # Serve's ASGI application, of a private type
        self._app = app
        self._gate = gate()
        self._sink = RaySink()
        self._replica = _replica_of(app)
        if self._replica is None:
            return
        identity = self._replica._deployment_id
        self._route: str = self._replica._route_prefix
        self._names = {"app_name": identity.app_name, "deployment_name": identity.name}
        self._number = 0
        self._tags: dict[int, frozenset[tuple[str, str]]] = {}
        self._metadata = RequestMetadata(
            request_id="",
            internal_request_id="",
            call_method="__call__",
            route=self._route,
            app_name=identity.app_name,
            is_streaming=True,
            _request_protocol=RequestProtocol.HTTP,
            _http_method="POST",
            is_direct_ingress=True,
        )

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await (_refuse_upgrade if scope["type"] == "websocket" else self._app)(
                scope, receive, send
            )
            return
        headers = {name: value for name, value in scope["headers"] if name in _OF_REQUESTS}
        given = headers.get(b"x-request-id")
        request_id = checked_request_id(given)
        if self._gate is not None and not await self._may_pass(scope, headers, request_id, send):
            return
        owner = self._replica
        if (
            owner is None
            or scope["method"] != "POST"
            or scope["path"].rstrip("/") != self._route
            or owner._semaphore.locked()  # full: Serve's own path queues or refuses
        ):
            if given not in (None, request_id):  # Serve would echo it as it is
                kept = [pair for pair in scope["headers"] if pair[0] != b"x-request-id"]
                scope = {**scope, "headers": [*kept, (b"x-request-id", request_id)]}
            await self._pass_on(scope, receive, send)
            return
        await self._account(owner, scope, receive, send, request_id)

    async def _may_pass(
        self,
        scope: Mapping[str, Any],
        headers: Mapping[bytes, bytes],
        request_id: bytes,
        send: Send,
    ) -> bool:
        """Whether the gate lets the request through; it is answered where not."""
        assert self._gate is not None
        client = scope.get("client")
        # HAProxy says whom it speaks for; it overwrites what a client says of that itself.
        address = headers.get(b"x-forwarded-for", b"").rpartition(b",")[2].strip()
        refusal = self._gate.check(
            scope["method"],
            scope["path"],
            authorization=headers.get(b"authorization", b""),
            address=address.decode("latin-1")[:64] or (client[0] if client else ""),
            request_id=request_id.decode(),
        )
        if refusal is None:
            return True
        self._sink.count("spt_refused_requests", 1, {"why": refusal.why})
        shown = [*refusal.headers, (b"x-request-id", request_id)]
        await send_problem(send, Problem(refusal.status, refusal.detail), shown)
        return False

    async def _pass_on(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, problems_only(send))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Serve's word for a client that hung up; the server would log it as a fault of ours.
            _log.debug("the client hung up: %s %s", scope["method"], scope["path"])

    async def _account(
        self,
        owner: Any,
        scope: Mapping[str, Any],
        receive: Receive,
        send: Send,
        request_id: bytes,
    ) -> None:
        metrics, status, failure = owner._metrics_manager, 499, ""  # until something is answered
        join_writes(send)
        start = time.perf_counter()
        await owner._semaphore.acquire()  # free, as checked: does not suspend
        metrics.inc_num_ongoing_requests(self._metadata)
        try:
            route: HotRoute = owner._user_callable_wrapper.user_callable.app
            additions = {"root_path": self._route, "spt.request_id": request_id}
            status = await route.answer({**scope, **additions}, receive, send)
        except BaseException as error:
            failure, status = type(error).__name__, 500
            raise
        finally:
            metrics.dec_num_ongoing_requests(self._metadata)
            owner._semaphore.release()
            latency_ms = (time.perf_counter() - start) * 1000
            metrics.record_request_metrics(
                route=self._route,
                latency_ms=latency_ms,
                is_error=bool(failure),
                exception_type=failure or None,
            )
            metrics.record_ingress_request_metrics(
                protocol=RequestProtocol.HTTP,
                method="POST",
                route=self._route,
                latency_ms=latency_ms,
                is_error=status >= 400,
                status_code=str(status),
                **self._names,
            )
            self._number = (self._number + 1) % SAMPLED
            if self._number:
                self._forget_latency(metrics, status)

    def _forget_latency(self, metrics: Any, status: int) -> None:
        """Take the last latency out of Serve's two histograms again, whose sums stay a sample.

        Serve observes each latency by itself, at 4 us a histogram; all else of it is exact.
        """
        kept: list[Any] = [getattr(metrics, name, None) for name in _LATENCIES]
        if None in kept:
            return
        tags = self._tags.get(status)
        if tags is None:
            own = RequestIngressMetrics.request_tags(
                route=self._route,
                method="POST",
                application=self._names["app_name"],
                status_code=str(status),
            )
            tags = self._tags[status] = frozenset(own.items())
        for latencies in (kept[0][self._route], kept[1][RequestProtocol.HTTP][tags]):
            if latencies:
                latencies.pop()


def middlewares() -> list[Middleware]:
    """What RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH calls in each replica and in the proxy."""
    if is_embedded():
        _keep_rpc_on_loopback()
    return [Middleware(HotPath)]


async def _refuse_upgrade(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    """No route speaks WebSocket: 426 names what they do speak, where the server can say it."""
    await receive()  # websocket.connect
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1002})  # before an accept: HTTP 403
        return

    async def deny(message: Message) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    problem = Problem(426, "this service speaks HTTP, however: a WebSocket was asked for")
    await send_problem(deny, problem, [(b"upgrade", b"HTTP/1.1"), (b"connection", b"upgrade")])


def _replica_of(app: Any) -> Any:
    """The replica behind Serve's application if this is a hot one with all that is needed."""
    owner: Any = getattr(getattr(app, "_app", None), "__self__", None)
    needed = ("_semaphore", "_metrics_manager", "_deployment_id", "_route_prefix")
    if not all(hasattr(owner, name) for name in (*needed, "_user_callable_wrapper")):
        return None
    return owner if owner._deployment_id.name == HOT_DEPLOYMENT else None


def _keep_rpc_on_loopback() -> None:
    """Replicas open a gRPC port on every address; an embedded Ray needs it on this machine only."""
    module: Any = replica  # patched, so not as its types say
    open_port = module.add_port_to_grpc_server
    if getattr(open_port, "keeps_loopback", False):
        return

    def open_on_loopback(server: Any, address: str, *arguments: Any, **options: Any) -> Any:
        return open_port(server, address.replace("[::]", "127.0.0.1"), *arguments, **options)

    open_on_loopback.keeps_loopback = True  # type: ignore[attr-defined]  # marks the patch as done
    module.add_port_to_grpc_server = open_on_loopback
