"""Many feeds on loopback, polled by one process: CPU time, loop lag, memory, healthy feeds lost.

python -m tests.bench.bench_feed_load [--feeds 2000] [--rounds 3]

60 % answer 304, 25 % send what is known, 10 % new items, 2 % answer after two seconds, 1 % never,
1 % are broken, 1 % huge or hostile (tests/feed_server.py, a process of its own). A first round
learns validators and bodies; the next ones are measured. What is parsed goes to a sink that keeps
nothing: the ledger is not part of it. CPU time is that of this process and its parser processes.
`loop_busy` is the part of the lag that this process computed itself: on a busy machine the rest of
`loop_lag` is waiting for a core.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import dataclasses
import datetime
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from spt_core.continuous.feeds.documents import parse_in_loop
from spt_core.continuous.feeds.kinds import request
from spt_core.continuous.feeds.pool import ParserPool
from spt_core.continuous.feeds.source import Source
from spt_core.continuous.feeds.values import Parsed
from spt_core.continuous.fetch import Fetched, Fetcher, FetchPolicy, Request
from spt_core.continuous.fetch_guard import Guard
from spt_core.continuous.fetch_schedule import next_check
from spt_core.task import IndustryType
from tests.bench.results import finish
from tests.feed_server import HEALTHY, Loopback, kind_of

NOW = datetime.datetime(2026, 3, 3, tzinfo=datetime.UTC)
TICK_S = 0.01


@dataclasses.dataclass(slots=True)
class Known:
    """What the last poll left of a source."""

    etag: str = ""
    body_sha: str = ""


class Round:
    """One poll of every source, and what came of it."""

    def __init__(self, known: list[Known]) -> None:
        self.known = known
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.healthy_lost: list[str] = []
        self.num_items = 0

    async def work(
        self, due: Iterator[tuple[int, Source]], fetcher: Fetcher, pool: ParserPool
    ) -> None:
        """Poll sources one after the other, as long as there are any."""
        for number, source in due:
            await self.poll(number, source, fetcher, pool)

    async def poll(self, number: int, source: Source, fetcher: Fetcher, pool: ParserPool) -> None:
        """Ask one source, parse what is new, plan its next check."""
        known = self.known[number]
        planned = request(source, "", NOW)
        asked = Request(url=planned.url, etag=known.etag, body_sha=known.body_sha)
        async with fetcher.fetch(asked) as fetched:
            parsed = None
            if fetched.outcome == "changed":
                parsed = await parse_in_loop(
                    fetched.body, fetched.content_type, source, planned, pool
                )
            self._sink(number, fetched, parsed)
        next_check(NOW, fetched, num_items_last_week=10)

    def _sink(self, number: int, fetched: Fetched, parsed: Parsed | None) -> None:
        kind, state = kind_of(number), parsed.state if parsed else ""
        self.outcomes[f"{kind}: {fetched.outcome} {state}".strip()] += 1
        if kind in HEALTHY and (
            fetched.outcome not in ("changed", "unchanged", "not_modified") or state == "DEGRADED"
        ):
            self.healthy_lost.append(f"feed {number} ({kind}): {fetched.reason or parsed}"[:300])
        if parsed is not None and parsed.state == "OK":
            self.known[number] = Known(etag=fetched.etag, body_sha=fetched.body_sha)
            self.num_items += len(parsed.items)


async def lag(late: list[float], busy: list[float]) -> None:
    """How late a timer of the loop fires, and how long the loop's thread computed beyond it."""
    while True:
        start, computed = time.perf_counter(), time.thread_time()
        await asyncio.sleep(TICK_S)
        late.append(time.perf_counter() - start - TICK_S)
        busy.append(max(0.0, time.thread_time() - computed - TICK_S))


def percentile_ms(seconds: list[float], share: float) -> float:
    """A percentile in milliseconds."""
    return 1000 * sorted(seconds)[min(int(share * len(seconds)), len(seconds) - 1)]


def cpu_seconds(pool: ParserPool) -> tuple[float, float]:
    """CPU time of this process, and of its parser processes, ended or waiting."""
    own = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    return own, sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) + pool.cpu_seconds()


async def run(port: int, num_feeds: int, num_rounds: int) -> list[dict[str, Any]]:
    """Poll all feeds in rounds."""
    sources = [
        Source(
            id=f"feed_{n}",
            name="",
            industry=IndustryType.TECHNOLOGY,
            kind="rss",
            url=f"http://feed{n}.example:{port}/",
        )
        for n in range(num_feeds)
    ]
    known = [Known() for _ in sources]
    policy = FetchPolicy(guard=Guard(allow_networks=("127.0.0.1/32",)), deadline_s=10.0)
    rounds: list[dict[str, Any]] = []
    with ParserPool() as pool:
        async with Fetcher(policy, resolver=Loopback()) as fetcher:
            for number in range(num_rounds + 1):
                late, busy = list[float](), list[float]()
                watching = asyncio.create_task(lag(late, busy))
                this, cpu, wall = Round(known), cpu_seconds(pool), time.perf_counter()
                due = iter(list(enumerate(sources)))
                await asyncio.gather(
                    *(this.work(due, fetcher, pool) for _ in range(policy.max_connections))
                )
                wall = time.perf_counter() - wall
                own, parsers = (
                    now - then for now, then in zip(cpu_seconds(pool), cpu, strict=True)
                )
                watching.cancel()
                rounds.append(
                    {
                        "measured": number > 0,
                        "cpu_s": own,
                        "cpu_parser_processes_s": parsers,
                        "wall_s": wall,
                        "feeds_per_cpu_minute": 60 * num_feeds / (own + parsers),
                        "loop_lag_p99_ms": percentile_ms(late, 0.99),
                        "loop_lag_max_ms": percentile_ms(late, 1.0),
                        "loop_busy_p99_ms": percentile_ms(busy, 0.99),
                        "loop_busy_max_ms": percentile_ms(busy, 1.0),
                        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                        "items_parsed": this.num_items,
                        "healthy_lost": len(this.healthy_lost),
                        "healthy_lost_examples": this.healthy_lost[:5],
                        "outcomes": dict(sorted(this.outcomes.items())),
                    }
                )
    return rounds


def main() -> None:
    """Start the server, poll it, print the figures."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--feeds", type=int, default=2000)
    made.add_argument("--rounds", type=int, default=3)
    given = made.parse_args()
    command = [sys.executable, "-m", "tests.feed_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        rounds = asyncio.run(run(port, given.feeds, given.rounds))
        server.kill()
    finish("feed_load", {"feeds": given.feeds, "sink": "keeps nothing", "rounds": rounds})


if __name__ == "__main__":
    main()
