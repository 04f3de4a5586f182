"""Open-loop load on a service: python -m tests.bench.bench_open_loop URL --rate 500 --seconds 60

Requests arrive as a Poisson process, whether earlier ones are answered or not, as those of many
clients do. A latency runs from the moment at which its request was due: a service that stands still
is charged for all that should have been sent meanwhile (a closed loop would not send it:
coordinated omission, G. Tene). Failures are counted by kind; nothing is sent twice. A request that
finds no free connection opens one; above --connections it waits, and the wait counts.
Prints one JSON line; leaves with 1 where a request failed that --allow does not name.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

TIMEOUT_S = 30.0
LATE_MS = 5.0  # a client that sends later than this is itself too slow, and says so
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}


class Sent(NamedTuple):
    """One request: when it was due and what it took from then, in seconds; how late it was sent."""

    due_s: float
    latency_s: float
    late_s: float
    outcome: str
    version: str = ""


def arrivals(rate: float, seconds: float, seed: int) -> np.ndarray:
    """Due times in seconds, [N]: a Poisson process of so many a second, the same for a seed."""
    draw = np.random.default_rng(seed)
    gaps = draw.exponential(1 / rate, size=math.ceil(rate * seconds * 1.2 + 50))
    due = np.cumsum(gaps)
    return due[due < seconds]


async def load(
    url: str,
    body: bytes,
    due: Sequence[float] | np.ndarray,
    *,
    connections: int = 256,
    headers: Mapping[str, str] | None = None,
    stopped: threading.Event | None = None,
) -> list[Sent]:
    """Send each request when it is due, until `stopped`, and wait for all."""
    client = _Client(url, body, connections, headers or {})
    start = time.perf_counter()
    tasks: list[asyncio.Task[Sent]] = []
    for moment in due:
        if stopped is not None and stopped.is_set():
            break
        wait = start + float(moment) - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(client.send(start, float(moment))))
    sent = await asyncio.gather(*tasks)
    client.close()
    return sent


class _Client:
    """Connections that are kept, as many as are needed at once."""

    def __init__(self, url: str, body: bytes, connections: int, headers: Mapping[str, str]) -> None:
        address = urlsplit(url)
        assert address.hostname is not None, url
        self._host, self._port = address.hostname, address.port or 80
        named = {"host": address.netloc, "content-type": "application/json", **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        line = f"POST {address.path or '/'} HTTP/1.1\r\n{head}content-length: {len(body)}\r\n\r\n"
        self._request = line.encode() + body
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._room = asyncio.Semaphore(connections)

    async def send(self, start: float, due_s: float) -> Sent:
        async with self._room:
            late_s = time.perf_counter() - start - due_s
            version = ""
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    outcome, version = await self._ask()
            except TimeoutError:
                outcome = "timeout"
            except ConnectionRefusedError:
                outcome = "refused"
            except (OSError, asyncio.IncompleteReadError):
                outcome = "broken"
        return Sent(due_s, time.perf_counter() - start - due_s, late_s, outcome, version)

    async def _ask(self) -> tuple[str, str]:
        """The status, and the version that answered; "ok" for 200."""
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(self._request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
            fields = dict(line.split(b": ", 1) for line in head[1:] if b": " in line)
            await reader.readexactly(int(fields.get(b"content-length", b"0")))
        except BaseException:
            writer.close()
            raise
        if fields.get(b"connection") == b"close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        status = head[0].split()[1].decode()
        return "ok" if status == "200" else status, fields.get(b"x-model-version", b"").decode()

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


def figures(sent: Sequence[Sent], seconds: float) -> dict[str, Any]:
    """Latencies of what was answered, failures by kind, and how well the client kept its times."""
    outcomes = Counter(one.outcome for one in sent)
    answered = np.array([one.latency_s for one in sent if one.outcome == "ok"]) * 1000
    refused = np.array([one.latency_s for one in sent if one.outcome == "503"]) * 1000
    late = np.array([one.late_s for one in sent]) * 1000
    return {
        "num_requests": len(sent),
        "requests_per_s": round(len(sent) / seconds, 1),
        "answered_per_s": round(outcomes["ok"] / seconds, 1),
        "failures": {kind: n for kind, n in sorted(outcomes.items()) if kind != "ok"},
        "latency_ms": _quantiles(answered),
        "refused_latency_ms": _quantiles(refused),
        "client_late_ms": _quantiles(late),
        "versions": dict(Counter(one.version for one in sent if one.outcome == "ok")),
    }


def _quantiles(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {}
    quantiles = {name: float(np.quantile(values, q)) for name, q in _QUANTILES.items()}
    return {name: round(value, 3) for name, value in {**quantiles, "max": values.max()}.items()}


def main() -> int:
    """Load, print, and leave with 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--body", help="a file with the body (default: the task's example)")
    parser.add_argument("--header", action="append", default=[], metavar="NAME: VALUE")
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--allow", action="append", default=[], help="an outcome such as 503")
    args = parser.parse_args()
    due = arrivals(args.rate, args.seconds, args.seed)
    headers = dict(text.split(": ", 1) for text in args.header)
    sent = asyncio.run(
        load(args.url, _body(args), due, connections=args.connections, headers=headers)
    )
    content = {**figures(sent, args.seconds), "machine": f"{os.cpu_count()} CPUs"}
    content["load_average"] = os.getloadavg()
    sys.stdout.write(json.dumps(content) + "\n")
    if content["client_late_ms"].get("p99", 0.0) > LATE_MS:
        sys.stderr.write("the client itself was late: its machine is too busy for this rate\n")
    return int(bool(set(content["failures"]) - set(args.allow)))


def _body(args: argparse.Namespace) -> bytes:
    if args.body is not None:
        with open(args.body, "rb") as file:  # noqa: PTH123  a user's path, as it is
            return file.read()
    from spt_core.errors import InputError
    from spt_core.task import find

    path = urlsplit(args.url).path.removeprefix("/v1/").strip("/")
    with contextlib.suppress(InputError):
        return json.dumps(dict(find("/".join(path.split("/")[:2])).example)).encode()
    raise SystemExit("--body is needed: the URL names no task")


if __name__ == "__main__":
    sys.exit(main())
