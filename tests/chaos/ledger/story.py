"""One full story: two publications, two retrainings, review, promotion, deployment, a rollback.

`tell` runs it to its end from wherever an earlier process was killed.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from spt_core.continuous.ledger import fence_of
from tests.chaos.ledger.world import (
    Jobs,
    Paths,
    Watcher,
    approve_all,
    prepare,
    problems,
    run_job,
)

START_S = 1.7e9
LIFE_S = 1000.0  # between one process and the next: claims and leases have run out
SOURCES = ("sec", "ecb")
EDITIONS = {  # per source what each edition adds; the validator is the edition's number
    "sec": [[("rule-1", "first")], [("rule-1", "amended"), ("rule-2", "second")]],
    "ecb": [[("note-1", "erste")], []],
}
EXPECTED = [
    ("sec", "rule-1", ["first", "amended"]),
    ("sec", "rule-2", ["second"]),
    ("ecb", "note-1", ["erste"]),
]


def feed(source_id: str, etag: str) -> tuple[list[tuple[str, str]], str]:
    """The next edition after the acknowledged one, which is never answered again."""
    seen = int(etag or 0)
    editions = EDITIONS[source_id]
    return (editions[seen], str(seen + 1)) if seen < len(editions) else ([], etag)


def new(folder: Path) -> Paths:
    """A world before anything was published."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = Paths(url=f"sqlite:///{folder}/spt.db", jobs=folder / "jobs.log")
    prepare(paths, SOURCES, itertools.count(int(START_S)).__next__)
    return paths


def tell(paths: Paths, life: int) -> None:
    """The story until it is over; `life` counts the processes that have told it so far."""
    ticks = itertools.count()
    watcher = Watcher(
        paths, feed, lambda: START_S + LIFE_S * (life + 1) + 0.01 * next(ticks), bad=2
    )
    for submission_id, is_started in watcher.jobs.unfinished():
        if is_started:  # the process that ran it is dead, and the job system has noticed
            watcher.jobs.record("FAILED", submission_id)
    with watcher.ledger.lead(ttl_s=1e9) as lease:
        for _ in range(12):
            watcher.once(fence_of(lease))
            for submission_id, _ in watcher.jobs.unfinished():
                run_job(watcher.ledger, watcher.jobs, submission_id)
            approve_all(watcher.ledger)
            states = [retrain.state for retrain in watcher.ledger.retrains()]
            if states == ["DEPLOYED", "ROLLED_BACK"] and not watcher.ledger.outbox():
                return
    raise AssertionError(f"the story did not come to its end, however: {states}")


def wrong(paths: Paths) -> list[str]:
    """What is wrong with a world in which the story was told."""
    found = problems(paths, EXPECTED)
    lines = Jobs(paths.jobs).lines()
    ends = {line["id"] for line in lines if line["what"] == "SUCCEEDED"}
    return found if len(ends) <= 3 else [*found, f"too many runs: {sorted(ends)}"]
