"""Many feeds on loopback, watched by one process, ledger included: CPU, loop lag, memory, losses.

python -m tests.bench.bench_feed_load [--feeds 2000] [--rounds 3]

60 % answer 304, 25 % send what is known, 10 % new items, 2 % answer after two seconds, 1 % never,
1 % are broken, 1 % huge or hostile (tests/feed_server.py, a process of its own). It is the pipeline
as it is: leader's lease, guarded fetch, parsing, scores, ingest with fence into SQLite
(synchronous=FULL), triggers; the job system takes what comes and does nothing. A first round learns
validators and bodies; before each of the next ones, which are measured, every source is made due.
CPU time is that of this process and its parser processes. `loop_busy` is the part of the lag that
the loop's thread computed itself: on a busy machine the rest of `loop_lag` is waiting for a core.
`--profile FILE` writes what cProfile sees of the loop's thread.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import cProfile
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import psutil
import uvloop

from spt_core.continuous import ContinuousTrainingPipeline, WatchOptions
from spt_core.continuous.feeds.source import Source
from spt_core.continuous.fetch.fetcher import FetchPolicy
from spt_core.continuous.fetch.guard import Guard
from spt_core.continuous.ledger import Ledger
from spt_core.continuous.meters import Counters
from spt_core.continuous.monitoring import Monitoring
from spt_core.continuous.pipeline import calm_collector
from spt_core.continuous.sources import SourcesFile
from spt_core.task import IndustryType
from tests.bench.results import finish
from tests.feed_server import HEALTHY, Loopback, kind_of
from tests.watching import NotedJobs

TICK_S = 0.02
RULES = Monitoring(
    model="technology/security_analysis/default",
    keywords=("reporting", "institution", "class"),
    terms=tuple(f"term {n} of a vocabulary" for n in range(500)),
)


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


def cpu_seconds() -> tuple[float, float]:
    """CPU time of this process, and of its parser processes, ended or at work."""
    own = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    ended = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    at_work = 0.0
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "spt_core.continuous.feeds.tolerant" in child.cmdline():
                at_work += sum(child.cpu_times()[:2])
    return own, ended + at_work


def make_due(ledger: Ledger) -> None:
    """Have every source asked again."""
    with ledger._database.write() as connection:
        connection.exec_driver_sql("UPDATE spt_source SET next_check = 0")


def num_items(ledger: Ledger) -> int:
    """How many revisions of items the ledger holds."""
    with ledger._database.read() as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM spt_item").scalar_one()


def healthy_lost(ledger: Ledger) -> list[str]:
    """Healthy feeds that were not read."""
    return [
        f"{row.source_id} ({kind}): {row.trouble}"
        for row in ledger.sources()
        if (kind := kind_of(int(row.source_id.removeprefix("feed_")))) in HEALTHY
        and (row.trouble or row.state != "OK")
    ]


async def one_round(pipeline: ContinuousTrainingPipeline, num_feeds: int) -> dict[str, Any]:
    """Wait until every source was asked and kept once more; what it took."""
    meters = pipeline.meters
    assert isinstance(meters, Counters)
    polls = meters.values["spt_watch_polls"]
    before, items = dict(polls), dict(meters.values["spt_watch_items"])
    wanted = sum(before.values()) + num_feeds
    late, busy = list[float](), list[float]()
    watching = asyncio.create_task(lag(late, busy))
    cpu, wall = cpu_seconds(), time.perf_counter()
    while sum(polls.values()) < wanted or pipeline.status().get("num_asked_now"):
        await asyncio.sleep(0.2)
    wall = time.perf_counter() - wall
    own, parsers = (now - then for now, then in zip(cpu_seconds(), cpu, strict=True))
    watching.cancel()
    outcomes = collections.Counter(polls) - collections.Counter(before)
    return {
        "cpu_s": own,
        "cpu_parser_processes_s": parsers,
        "wall_s": wall,
        "feeds_per_cpu_minute": 60 * num_feeds / (own + parsers),
        "loop_lag_p99_ms": percentile_ms(late, 0.99),
        "loop_lag_max_ms": percentile_ms(late, 1.0),
        "loop_busy_p99_ms": percentile_ms(busy, 0.99),
        "loop_busy_max_ms": percentile_ms(busy, 1.0),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "items": {
            kind: number - items.get(kind, 0.0)
            for kind, number in meters.values["spt_watch_items"].items()
        },
        "outcomes": dict(sorted(outcomes.items())),
    }


async def run(port: int, num_feeds: int, num_rounds: int, folder: str) -> list[dict[str, Any]]:
    """Watch all feeds, round after round."""
    sources = tuple(
        Source(
            id=f"feed_{n}",
            name="",
            industry=IndustryType.TECHNOLOGY,
            kind="rss",
            url=f"http://feed{n}.example:{port}/",
        )
        for n in range(num_feeds)
    )
    policy = FetchPolicy(guard=Guard(allow_networks=("127.0.0.1/32",)), deadline_s=10.0)
    options = WatchOptions(storage=folder, policy=policy)
    pipeline = ContinuousTrainingPipeline(
        SourcesFile(sources=sources, monitoring=(RULES,)),
        options=options,
        jobs=NotedJobs(),
        resolver=Loopback(),
    )
    ledger = Ledger(options.database)
    watching = asyncio.create_task(pipeline.start_monitoring())
    while not pipeline.status()["phase"].startswith("leads"):
        await asyncio.sleep(0.05)
    rounds: list[dict[str, Any]] = []
    for number in range(num_rounds + 1):
        if number:
            await asyncio.to_thread(make_due, ledger)
        found = await one_round(pipeline, num_feeds)
        lost = healthy_lost(ledger)
        rounds.append(
            {
                "measured": number > 0,
                **found,
                "healthy_lost": len(lost),
                "healthy_lost_examples": lost[:5],
                "items_in_ledger": num_items(ledger),
                "retrainings": len(ledger.retrains()),
                "troubles": pipeline.status()["troubles"],
            }
        )
    pipeline.stop()
    await watching
    ledger.verify_audit()
    return rounds


@contextlib.contextmanager
def profiled(file: str | None) -> Iterator[None]:
    """The block, with its profile in a file if one is named."""
    if file is None:
        yield
        return
    with cProfile.Profile() as profile:
        yield
    profile.dump_stats(file)


def main() -> None:
    """Start the server, watch it, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--feeds", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", metavar="FILE")
    given = parser.parse_args()
    command = [sys.executable, "-m", "tests.feed_server"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server,
    ):
        assert server.stdout is not None
        port = int(server.stdout.readline())
        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        calm_collector()  # as `jobs.watch run` does
        with profiled(given.profile), runner:
            rounds = runner.run(run(port, given.feeds, given.rounds, folder))
        server.kill()
    finish("feed_load", {"feeds": given.feeds, "sink": "ledger (SQLite)", "rounds": rounds})


if __name__ == "__main__":
    main()
