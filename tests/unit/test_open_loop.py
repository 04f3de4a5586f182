"""The open-loop load tool: arrivals, latencies from when a request was due, failures by kind."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from tests.bench.bench_open_loop import Sent, arrivals, figures, load

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-model-version: a@1\r\n\r\n{}"
FULL = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
Answerer = Callable[[int], Awaitable[bytes]]


def loaded(answer: Answerer, due: list[float], *, connections: int = 256) -> list[Sent]:
    """What becomes of requests to a server that answers the n-th one like that."""
    num_asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal num_asked
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(2)
                num_asked += 1
                writer.write(await answer(num_asked - 1))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def run() -> list[Sent]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            return await load(f"http://127.0.0.1:{port}/v1/a", b"{}", due, connections=connections)
        finally:
            server.close()

    return asyncio.run(run())


def test_arrivals_are_a_poisson_process_that_a_seed_repeats() -> None:
    due = arrivals(200.0, 50.0, seed=3)
    gaps = np.diff(due)
    assert len(due) == pytest.approx(10_000, rel=0.05)
    assert np.std(gaps) == pytest.approx(np.mean(gaps), rel=0.05)  # of an exponential they are one
    assert due[-1] < 50.0
    assert np.array_equal(due, arrivals(200.0, 50.0, seed=3))


def test_a_standstill_is_charged_to_all_that_were_due_meanwhile() -> None:
    async def stalls(number: int) -> bytes:
        if number == 0:
            time.sleep(0.3)  # the whole server stands still
        return ANSWER

    sent = loaded(stalls, [0.0, 0.05, 0.1, 0.6])
    latencies = [one.latency_s for one in sent]
    assert latencies[1] > 0.15
    assert latencies[2] > 0.1
    assert latencies[3] < 0.15
    assert {one.version for one in sent} == {"a@1"}


def test_waiting_for_a_connection_counts() -> None:
    async def slow(number: int) -> bytes:
        await asyncio.sleep(0.1)
        return ANSWER

    latencies = [one.latency_s for one in loaded(slow, [0.0, 0.0, 0.0], connections=1)]
    assert max(latencies) > 0.28


def test_failures_are_counted_by_kind_and_refusals_have_their_own_latency() -> None:
    async def mixed(number: int) -> bytes:
        return FULL if number % 2 else ANSWER

    sent = loaded(mixed, [0.0, 0.1, 0.2, 0.3])
    content = figures(sent, seconds=1.0)
    assert Counter(one.outcome for one in sent) == {"ok": 2, "503": 2}
    assert content["failures"] == {"503": 2}
    assert content["answered_per_s"] == 2.0
    assert content["refused_latency_ms"]["max"] < 200
    (refused,) = asyncio.run(load("http://127.0.0.1:1/", b"{}", [0.0]))
    assert refused.outcome == "refused"
