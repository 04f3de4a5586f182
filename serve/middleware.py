"""The hot route without Serve's per-request task and queue, but with its accounting.

Serve wraps each request in tasks that cost more than these models do. This ASGI middleware runs
inside the replica, in front of that wrapper, and answers the hot route there; it restores what the
wrapper does: ongoing-request counts (autoscaling, draining), request metrics, back-pressure (a full
replica takes Serve's own path, which queues or answers 503) and the request id. It gives up the
access log, tracing, and cancellation when a client disconnects, none of which a model of
microseconds needs. It stands on private names of Ray 2.60: where one is missing, every request
takes Serve's own path, which is slower and right. What Serve's path says in plain text when it
refuses a request becomes a problem document.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

from ray.serve._private import replica
from ray.serve._private.common import RequestMetadata, RequestProtocol
from starlette.middleware import Middleware

from cluster.settings import is_embedded
from serve.model_server import Receive, Send
from serve.problems import problems_only

HOT_DEPLOYMENT = "ModelServer"


class HotPath:
    """Answers POSTs to the hot route; passes everything else on."""

    def __init__(self, app: Any) -> None:  # Serve's ASGI application, of a private type
        self._app = app
        self._replica = _replica_of(app)
        if self._replica is None:
            return
        identity = self._replica._deployment_id
        self._route: str = self._replica._route_prefix
        self._names = {"app_name": identity.app_name, "deployment_name": identity.name}
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
        owner = self._replica
        if (
            owner is None
            or scope["type"] != "http"
            or scope["method"] != "POST"
            or scope["path"].rstrip("/") != self._route
            or owner._semaphore.locked()  # full: Serve's own path queues or refuses
        ):
            await self._app(scope, receive, problems_only(send))
            return
        await self._account(owner, scope, receive, send)

    async def _account(
        self, owner: Any, scope: Mapping[str, Any], receive: Receive, send: Send
    ) -> None:
        metrics, status, failure = owner._metrics_manager, 500, ""
        request_id = next((v for k, v in scope["headers"] if k == b"x-request-id"), None)
        id_header = (b"x-request-id", request_id or secrets.token_hex(16).encode())

        async def tap(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append(id_header)
            await send(message)

        start = time.perf_counter()
        await owner._semaphore.acquire()  # free, as checked: does not suspend
        metrics.inc_num_ongoing_requests(self._metadata)
        try:
            application = owner._user_callable_wrapper.user_callable.app
            await application({**scope, "root_path": self._route}, receive, tap)
        except BaseException as error:
            failure = type(error).__name__
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


def middlewares() -> list[Middleware]:
    """What RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH calls in each replica and in the proxy."""
    if is_embedded():
        _keep_rpc_on_loopback()
    return [Middleware(HotPath)]


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
