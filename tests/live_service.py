"""An embedded service in a process of its own, for tests that promote, ask, load and kill.

One Ray at a time fits into a process, and the tests have one already; so the service's driver is
another process, which takes commands as JSON lines.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
START_TIMEOUT_S = 120.0


class Response(NamedTuple):
    """What came back over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class LiveService:
    """The driver's process and the address of its HTTP service; a context manager."""

    def __init__(
        self, storage: str, *, port: int | None = None, variables: Mapping[str, str] | None = None
    ) -> None:
        self.port = port or free_port_block()
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SPT_"))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.live_service", storage],
            cwd=ROOT,
            env={**environment, **(variables or {}), "SPT_HTTP_PORT": str(self.port)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.session = self.call("start")

    def call(self, command: str, *arguments: Any) -> Any:
        """The result of a command; RuntimeError with the driver's error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([command, *arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the service's driver has ended"
        answer = json.loads(line)  # anything else on its standard output is noise, and an error
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def ask(
        self,
        path: str,
        content: Any = None,
        *,
        method: str | None = None,
        raw: bytes | None = None,
        key: str = "",
        port: int | None = None,
    ) -> Response:
        """One request on a connection of its own; a POST where there is content."""
        body = raw if raw is not None else None if content is None else json.dumps(content).encode()
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=30)
        with contextlib.closing(connection):
            headers = {"authorization": f"Bearer {key}"} if key else {}
            connection.request(method or ("GET" if body is None else "POST"), path, body, headers)
            response = connection.getresponse()
            answered = {name.lower(): value for name, value in response.getheaders()}
            return Response(response.status, answered, response.read())

    def close(self) -> None:
        """Stop the service and its Ray."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.stdout is not None
        self._process.stdout.read()
        self._process.stdout.close()
        assert self._process.wait(timeout=60) == 0

    def __enter__(self) -> LiveService:
        """Itself: it runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.close()


def free_port_block() -> int:
    """A port with the block above it that an embedded service takes.

    Each process looks elsewhere first: what another found free a moment ago is not taken yet.
    """
    for number in range(80):
        port = 18_410 + 100 * ((os.getpid() + number) % 80)
        with contextlib.ExitStack() as stack:
            try:
                for offset in range(4):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port + offset))
            except OSError:
                continue
            return port
    raise RuntimeError("no free ports")


def main() -> None:
    """Serve commands from standard input until it ends."""
    from cluster.lifecycle import ray_session, start_serve, stop_serve
    from cluster.settings import load_settings
    from spt_core.errors import SptError
    from spt_core.registry import Registry
    from spt_core.rollout import promote, resume

    settings = load_settings(storage=sys.argv[1])
    registry = Registry(settings.database_url)

    def run(command: str, *arguments: Any) -> Any:
        if command == "start":
            start_serve(settings)
            return os.getpid()
        if command == "resume":
            return [deployment.to_json() for deployment in resume(registry)]
        if command == "promote":
            ref, num_replicas = arguments
            version = registry.get(ref)
            return promote(registry, version, actor="test", num_replicas=num_replicas).to_json()
        if command == "rollouts":
            return _drive(settings.database_url, registry)
        if command == "metrics_port":
            import ray

            return ray.nodes()[0]["MetricsExportPort"]
        if command == "replica_pids":
            return _replica_pids(arguments[0])
        raise ValueError(command)

    with ray_session(settings):
        for line in sys.stdin:
            try:
                answer = {"result": run(*json.loads(line))}
            except SptError as error:
                answer = {"error": str(error)}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
        stop_serve()


def _drive(database_url: str, registry: Any) -> dict[str, Any]:
    """One pass of a watcher over the roll-outs, with real replicas."""
    from spt_core.continuous.ledger import Ledger, fence_of
    from spt_core.continuous.rollouts import drive_rollouts
    from spt_core.continuous.serving import ServeLive

    ledger, live = Ledger(database_url), ServeLive(registry, actor="watcher")
    with ledger.lead() as lease:
        rolled = drive_rollouts(ledger, fence_of(lease), registry, live, now_s=time.time())
    return dataclasses.asdict(rolled)


def _replica_pids(application: str) -> list[int]:
    from spt_core.rollout import _client

    details = _client().get_serve_details()["applications"][application]
    return [replica.get("pid") for replica in details["deployments"]["ModelServer"]["replicas"]]


if __name__ == "__main__":
    main()
