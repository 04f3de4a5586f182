"""kill -9 of watchers at random moments, while a feed publishes and jobs run, some of them twice.

python -m tests.chaos.ledger.random_kills --kills 650 --backend sqlite --watchers 2

When the killing ends, the last watchers bring the world to rest, and it is looked at: no item lost
or doubled, no job run twice, the audit chain sound.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from spt_core.continuous.ledger import Ledger, fence_of
from spt_core.continuous.ledger.values import UNDER_WAY
from spt_core.errors import ConflictError
from tests.chaos.ledger.databases import BACKENDS, fresh
from tests.chaos.ledger.world import (
    BUCKET,
    THRESHOLD,
    Jobs,
    Paths,
    Watcher,
    approve_all,
    prepare,
    problems,
    run_job,
)

SOURCES = ("sec", "ecb", "bis")
REVISED_EVERY = 5
CLAIM_TTL_S = 4.0
LONGEST_LIFE_S = 0.8  # of a watcher, from its start to its kill
REST_TIMEOUT_S = 240.0
DOUBLED, KILLED = 0.2, 0.05  # of the jobs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was done to a world, what it did all the same, and what is wrong with it."""

    num_kills: int
    num_items: int
    num_deployed: int
    num_jobs: int
    num_refused: int
    num_leaders: int
    wall_s: float
    problems: list[str]


def torment(
    paths: Paths,
    *,
    kills: int,
    watchers: int,
    seed: int = 0,
    longest_life_s: float = LONGEST_LIFE_S,
) -> Outcome:
    """The outcome of so many kills with so many watchers at a time."""
    started = time.monotonic()
    chance = random.Random(seed)
    folder = paths.jobs.parent
    prepare(paths, SOURCES, time.time)
    cluster = fork(lambda: run_cluster(paths, seed), folder / "cluster.txt")
    alive = [fork(lambda: watch(paths), folder / "watcher.txt") for _ in range(watchers)]
    try:
        for number in range(kills):
            publish(folder, chance.choice(SOURCES))
            time.sleep(chance.uniform(0.0, longest_life_s))
            victim = chance.randrange(watchers)
            end(alive[victim])
            alive[victim] = fork(lambda: watch(paths), folder / "watcher.txt")
            if number % 50 == 49:
                print(f"{number + 1} kills, {time.monotonic() - started:.0f} s", flush=True)  # noqa: T201
        found = rest(paths)
    finally:
        for pid in (*alive, cluster):
            end(pid)
    words = [path.read_text() for path in sorted(folder.glob("*.txt"))]
    found += [f"a process ended with an error: {text[-600:]}" for text in words if text]
    found += problems(paths, expected(folder))
    ledger, lines = Ledger(paths.url), Jobs(paths.jobs).lines()
    return Outcome(
        num_kills=kills,
        num_items=len(ledger.items()),
        num_deployed=len(ledger.retrains(state="DEPLOYED")),
        num_jobs=len({line["id"] for line in lines}),
        num_refused=sum(line["what"] == "refused" for line in lines),
        num_leaders=len({e.body["epoch"] for e in ledger.audit() if e.body.get("epoch")}),
        wall_s=time.monotonic() - started,
        problems=found,
    )


def watch(paths: Paths) -> None:
    """A watcher: leads when it can, for as long as it can."""
    watcher = Watcher(paths, lambda *poll: feed(paths.jobs.parent, *poll), time.time)
    while True:
        with contextlib.suppress(ConflictError), watcher.ledger.lead(ttl_s=5.0) as lease:
            while True:
                watcher.once(fence_of(lease))
                time.sleep(0.005)
        time.sleep(0.03)  # another leads


def run_cluster(paths: Paths, seed: int) -> None:
    """The job system and the reviewer; some jobs are started twice, some die."""
    chance = random.Random(seed)
    ledger, jobs = Ledger(paths.url), Jobs(paths.jobs)
    running: dict[int, str] = {}
    started: set[str] = set()
    while True:
        for submission_id, _ in jobs.unfinished():
            if submission_id in started:
                continue
            started.add(submission_id)
            words = paths.jobs.with_name("job.txt")
            first = fork(lambda s=submission_id: run_job(ledger, jobs, s, ttl_s=CLAIM_TTL_S), words)
            running[first] = submission_id
            if chance.random() < DOUBLED:
                double = fork(
                    lambda s=submission_id: run_job(
                        ledger, jobs, s, ttl_s=CLAIM_TTL_S, is_double=True
                    ),
                    words,
                )
                running[double] = ""
            if chance.random() < KILLED:
                time.sleep(chance.uniform(0.0, 0.05))
                os.kill(first, signal.SIGKILL)
        for pid in list(running):
            gone, status = os.waitpid(pid, os.WNOHANG)
            if gone and (submission_id := running.pop(pid)) and status != 0:
                jobs.record("FAILED", submission_id)  # the job system notices
        with contextlib.suppress(ConflictError):
            approve_all(ledger)
        time.sleep(0.02)


def publish(folder: Path, source_id: str) -> None:
    """One more edition of the source; a byte each, so that it is whole at any moment."""
    with (folder / f"{source_id}.editions").open("ab") as file:
        file.write(b".")


def feed(folder: Path, source_id: str, etag: str) -> tuple[list[tuple[str, str]], str]:
    """What the source published since the acknowledged edition, and never anything before it."""
    path = folder / f"{source_id}.editions"
    newest = path.stat().st_size if path.exists() else 0
    entries: dict[str, str] = {}
    for number in range(int(etag or 0) + 1, newest + 1):
        key, text = entry(number)
        if key in entries:  # one answer holds a key once, as a feed does: the rest comes next time
            return list(entries.items()), str(number - 1)
        entries[key] = text
    return list(entries.items()), str(newest)


def entry(number: int) -> tuple[str, str]:
    """An edition's item: a new one, or now and then a revision of the one before it."""
    of = number - 1 if number % REVISED_EVERY == 0 else number
    return f"item-{of}", f"text {number}"


def expected(folder: Path) -> list[tuple[str, str, list[str]]]:
    """Every item that was published, with every text that it had."""
    found: list[tuple[str, str, list[str]]] = []
    for path in folder.glob("*.editions"):
        texts: dict[str, list[str]] = {}
        for number in range(1, path.stat().st_size + 1):
            key, text = entry(number)
            texts.setdefault(key, []).append(text)
        found += [(path.stem, key, values) for key, values in texts.items()]
    return found


def rest(paths: Paths) -> list[str]:
    """Wait until nothing is left to do; what is left if that takes too long."""
    ledger = Ledger(paths.url)
    deadline = time.monotonic() + REST_TIMEOUT_S
    wanted = sum(len(texts) for _, _, texts in expected(paths.jobs.parent))
    while time.monotonic() < deadline:
        states = [retrain.state for retrain in ledger.retrains()]
        is_done = not set(states) & set(UNDER_WAY) and len(ledger.pending(BUCKET)) < THRESHOLD
        if is_done and len(ledger.items()) >= wanted and not ledger.outbox():
            return []
        time.sleep(0.2)
    return [f"the world did not come to rest: {states}, {len(ledger.items())} of {wanted} items"]


def fork(work: Callable[[], object], words: Path) -> int:
    """The pid of a fork that does the work; what it ends with is written down."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001  a fork must end here whatever happens
            with words.open("a") as file:
                file.write(traceback.format_exc(limit=-6))
        finally:
            os._exit(code)
    return pid


def end(pid: int) -> None:
    """kill -9, and reap."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def main() -> int:
    """Print the outcome; exit code 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--backend", choices=BACKENDS, default="sqlite")
    parser.add_argument("--watchers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--life", type=float, default=LONGEST_LIFE_S, help="of a watcher, at most")
    args = parser.parse_args()
    with fresh(args.backend) as paths:
        outcome = torment(
            paths,
            kills=args.kills,
            watchers=args.watchers,
            seed=args.seed,
            longest_life_s=args.life,
        )
    print(args.backend, args.watchers, "watchers:", outcome)  # noqa: T201
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
