"""A leader frozen past its lease (SIGSTOP), replaced, and thawed: every write of his is refused.

python -m tests.chaos.ledger.frozen_leader --times 50 --backend sqlite

Every fifth time he is frozen inside a transaction. On SQLite nobody can take over then, so he may
go on; on Postgres the server ends his transaction, and he finds himself replaced.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spt_core.continuous.ledger import DEPLOY, SUBMIT, Fence, Ledger, fence_of, sources
from spt_core.errors import ConflictError, FencedError, SptError
from spt_core.registry import database
from tests.chaos.ledger.databases import BACKENDS, fresh
from tests.chaos.ledger.random_kills import expected as published
from tests.chaos.ledger.random_kills import feed as published_since
from tests.chaos.ledger.random_kills import fork, publish
from tests.chaos.ledger.world import (
    MODEL,
    Paths,
    Watcher,
    approve_all,
    decide,
    prepare,
    problems,
    run_job,
)

SOURCES = ("sec", "ecb")
TTL_S = 2.0  # long enough for a busy machine to renew it
TIMEOUT_S = 60.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How often he was frozen, how many writes he tried when thawed, and how many were refused."""

    num_frozen: int
    num_inside: int
    num_writes: int
    num_fenced: int
    wall_s: float
    problems: list[str]


def torment(paths: Paths, *, times: int) -> Outcome:
    """The outcome of so many frozen leaders."""
    started = time.monotonic()
    folder = paths.jobs.parent
    prepare(paths, SOURCES, time.time)
    watcher = Watcher(paths, lambda *poll: published_since(folder, *poll), time.time)
    writes = fenced = inside = 0
    found: list[str] = []
    for number in range(times):
        publish(folder, SOURCES[number % 2])
        is_inside = number % 5 == 4
        answer = folder / "answer.json"
        answer.unlink(missing_ok=True)
        work = functools.partial(lead_and_freeze, paths, answer, is_inside=is_inside)
        frozen = fork(work, folder / "w.txt")
        if not os.WIFSTOPPED(os.waitpid(frozen, os.WUNTRACED)[1]):
            found.append(f"he must be frozen, however: {words(folder)}")
            break
        inside += is_inside
        replaced = replace(watcher, paths)
        os.kill(frozen, signal.SIGCONT)
        os.waitpid(frozen, 0)
        told: dict[str, str] = json.loads(answer.read_text()) if answer.exists() else {}
        if not told:
            found.append(
                f"he must tell what became of his writes: {(folder / 'w.txt').read_text()}"
            )
            break
        if told.pop("inside", "") == "done" and replaced:
            found.append("he committed a transaction that another had led over")
        if replaced:
            writes += len(told)
            fenced += sum(what == "fenced" for what in told.values())
        found += [
            f"{name} was {what}" for name, what in told.items() if replaced and what == "done"
        ]
        replace(watcher, paths)
    for _ in range(8):
        replace(watcher, paths)
    return Outcome(
        num_frozen=times,
        num_inside=inside,
        num_writes=writes,
        num_fenced=fenced,
        wall_s=time.monotonic() - started,
        problems=[*found, *problems(paths, published(folder))],
    )


def words(folder: Path) -> str:
    """What the frozen processes ended with."""
    path = folder / "w.txt"
    return path.read_text()[-800:] if path.exists() else "no word"


def replace(watcher: Watcher, paths: Paths) -> bool:
    """Whether another has led after him: one whole pass, a job and a review."""
    deadline = time.monotonic() + 4 * TTL_S + 4.0
    while time.monotonic() < deadline:
        try:
            with watcher.ledger.lead("successor:1:1", ttl_s=30.0) as lease:
                watcher.once(fence_of(lease))
                for submission_id, is_started in watcher.jobs.unfinished():
                    if not is_started:
                        run_job(watcher.ledger, watcher.jobs, submission_id)
                approve_all(watcher.ledger)
                return True
        except ConflictError:  # the lease has not run out yet, or he holds the database
            time.sleep(0.05)
    return False


def lead_and_freeze(paths: Paths, answer: Path, *, is_inside: bool) -> None:
    """Lead from another host, freeze before the writes or in the midst of one, and try them all."""
    signal.alarm(int(TIMEOUT_S))
    ledger = Ledger(paths.url)
    deadline = time.monotonic() + TIMEOUT_S
    lease = ledger.lead("elsewhere:1:1", ttl_s=TTL_S)
    while True:
        try:
            lease.__enter__()
            break
        except ConflictError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    fence = fence_of(lease)
    watcher = Watcher(paths, lambda *poll: published_since(paths.jobs.parent, *poll), time.time)
    effects = ledger.claim_effects(fence, [SUBMIT, DEPLOY])
    if is_inside:
        told = {"inside": attempt(lambda: freeze_inside(watcher, fence))}
    else:
        freeze()
        told = {}
    if told.get("inside") != "done":  # else he still leads, and may go on
        told |= {name: attempt(write) for name, write in writes(watcher, fence, effects).items()}
    answer.with_suffix(".part").write_text(json.dumps(told))
    answer.with_suffix(".part").rename(answer)


def freeze_inside(watcher: Watcher, fence: Fence) -> None:
    """Ingest, and stop in the middle of the transaction: the items are stored, the rest is not."""
    save_polling = sources.save_polling

    def stop_and_save(*polling: Any) -> None:
        sources.save_polling = save_polling
        freeze()
        save_polling(*polling)

    sources.save_polling = stop_and_save
    source = next(s for s in watcher.ledger.sources() if watcher.feed(s.source_id, s.etag)[0])
    watcher.poll(fence, source)


def freeze() -> None:
    """Stop, as a host that is paused does; all threads with it."""
    os.kill(os.getpid(), signal.SIGSTOP)


def writes(watcher: Watcher, fence: Fence, effects: list[Any]) -> dict[str, Callable[[], object]]:
    """What a leader goes on with when he does not know that he was replaced."""
    ledger = watcher.ledger
    (source, *_) = ledger.sources()
    found: dict[str, Callable[[], object]] = {
        "ingest": lambda: watcher.poll(fence, source),
        "evaluate": lambda: ledger.evaluate(fence, decide),
        "claim": lambda: ledger.claim_effects(fence, [SUBMIT, DEPLOY]),
        "expire": lambda: ledger.expire_reviews(fence),
    }
    for entry in effects:
        retrain_id = entry.payload["retrain_id"]
        if entry.kind == SUBMIT:
            found["submitted"] = lambda key=entry.key: ledger.submitted(fence, key)
        else:
            found["deployed"] = lambda one=retrain_id: ledger.deployed(fence, one, "d-late")
        found[f"failed {entry.kind}"] = lambda e=entry: ledger.effect_failed(fence, e, "late")
    for retrain in ledger.retrains():
        last = retrain.retrain_id
        found["evaluated"] = lambda one=last: ledger.evaluated(
            fence,
            one,
            candidate_version=f"{MODEL}@1",
            champion_before="",
            evaluation_set_sha="late",
            evaluation={},
        )
        found["rolled_back"] = lambda one=last: ledger.rolled_back(fence, one, "d", "late")
    return found


def attempt(write: Callable[[], object]) -> str:
    """What became of a write."""
    try:
        write()
    except FencedError:
        return "fenced"
    except SptError as error:
        return f"refused: {error}"
    return "done"


def main() -> int:
    """Print the outcome; exit code 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--backend", choices=BACKENDS, default="sqlite")
    args = parser.parse_args()
    with fresh(args.backend) as paths:
        outcome = quickly(lambda: torment(paths, times=args.times))
    print(args.backend, outcome)  # noqa: T201
    return 1 if outcome.problems else 0


def quickly(work: Callable[[], Outcome]) -> Outcome:
    """Do the work with a database whose patience is seconds, not half a minute."""
    busy, idle = database.BUSY_TIMEOUT_S, database.IDLE_TIMEOUT_S
    database.BUSY_TIMEOUT_S, database.IDLE_TIMEOUT_S = 3, 1
    try:
        return work()
    finally:
        database.BUSY_TIMEOUT_S, database.IDLE_TIMEOUT_S = busy, idle


if __name__ == "__main__":
    sys.exit(main())
