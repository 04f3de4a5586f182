"""kill -9 of watchers and their jobs, or of the head, while retrainings are jobs of a Ray cluster.

python -m tests.chaos.ledger.real_kills --kills 300                two watchers, and jobs
python -m tests.chaos.ledger.real_kills --kills 100 --of head

The world is that of random_kills, and is looked at in the same way when it has come to rest; jobs
of one id must also never have worked at the same time, or finished twice.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from spt_core.continuous.ledger import JobStatus, Ledger, fence_of
from spt_core.errors import ConflictError
from tests.chaos.ledger.databases import BACKENDS, fresh
from tests.chaos.ledger.random_kills import (
    SOURCES,
    end,
    expected,
    feed,
    fork,
    publish,
    rest,
)
from tests.chaos.ledger.world import Jobs, Paths, Watcher, approve_all, prepare, problems

ROOT = Path(__file__).parents[3]
COMMAND = (sys.executable, "-m", "tests.chaos.ledger.real_job")
WATCHER_LIFE_S, HEAD_LIFE_S = 4.0, 8.0  # at most
JOB_KILLS = 0.3  # of the kills are of a job, when one is there
NUM_WATCHERS = 2
HEAD = ("gcs_server", "raylet", "dashboard")


class RealJobs:
    """Jobs of the cluster whose dashboard is named in a file: it moves when the head is new."""

    def __init__(self, paths: Paths) -> None:
        self._paths, self._folder = paths, paths.jobs.parent
        self._address, self._jobs = "", None

    def submit(self, submission_id: str, payload: dict[str, Any]) -> None:
        self._ray().submit(submission_id, payload)
        Jobs(self._paths.jobs).record("submit", submission_id, attempt=payload["attempt"])

    def cause(self, submission_id: str) -> str:
        return ""

    def status(self, submission_id: str) -> JobStatus | None:
        return self._ray().status(submission_id)

    def _ray(self) -> Any:
        from cluster.submit import RayJobs  # in the fork: Ray has threads

        address = (self._folder / "dashboard").read_text()
        if address != self._address:
            self._address = address
            environment = {"env_vars": {"PYTHONPATH": str(ROOT)}}
            self._jobs = RayJobs(
                address, storage=str(self._folder), runtime_env=environment, command=COMMAND
            )
        return self._jobs


class Cluster:
    """A head node that can be killed and replaced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self.start()

    def start(self) -> None:
        from cluster.local import head_node

        before = set(psutil.Process().children())
        head = self._stack.enter_context(head_node({**os.environ, "PYTHONPATH": str(ROOT)}))
        (self._process,) = set(psutil.Process().children()) - before
        name = self._folder / "dashboard.tmp"
        name.write_text(head.dashboard)
        name.rename(self._folder / "dashboard")

    def kill(self) -> None:
        """The head's own processes; what they had started finds out by itself, or goes on."""
        for one in self._process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if any(name in " ".join(one.cmdline()[:3]) for name in HEAD):
                    one.kill()
        self.close()

    def close(self) -> None:
        self._stack.close()


def torment(paths: Paths, *, kills: int, of: str, seed: int = 0) -> tuple[Counter[str], list[str]]:
    """What was done and happened, and what is wrong with the world all the same."""
    chance, folder = random.Random(seed), paths.jobs.parent
    prepare(paths, SOURCES, time.time)
    (folder / "url").write_text(paths.url)
    cluster, done, started = Cluster(folder), Counter[str](), time.monotonic()
    reviewer = fork(lambda: review(paths), folder / "reviewer.txt")
    watchers = [fork(lambda: watch(paths), folder / "watcher.txt") for _ in range(NUM_WATCHERS)]
    try:
        for number in range(kills):
            publish(folder, chance.choice(SOURCES))
            longest = HEAD_LIFE_S if of == "head" else WATCHER_LIFE_S
            time.sleep(chance.uniform(0.0, longest))
            if of == "head":
                cluster.kill()
                cluster = Cluster(folder)
                done["heads killed"] += 1
            elif chance.random() < JOB_KILLS and (job := next(job_processes(folder), None)):
                job.kill()
                done["jobs killed"] += 1
            else:
                victim = chance.randrange(NUM_WATCHERS)
                end(watchers[victim])
                watchers[victim] = fork(lambda: watch(paths), folder / "watcher.txt")
                done["watchers killed"] += 1
            if number % 10 == 9:
                print(f"{dict(done)}, {time.monotonic() - started:.0f} s", flush=True)  # noqa: T201
        found = rest(paths)
    finally:
        for pid in (*watchers, reviewer):
            end(pid)
        cluster.close()
    words = [path.read_text() for path in sorted(folder.glob("*.txt"))]
    found += [f"a process ended with an error: {text[-600:]}" for text in words if text]
    found += problems(paths, expected(folder))
    lines, ledger = Jobs(paths.jobs).lines(), Ledger(paths.url)
    found += [
        f"two jobs of one id at once: {one['id']}" for one in lines if one["what"] == "overlap"
    ]
    done += Counter(f"jobs: {line['what']}" for line in lines)
    done += Counter(f"retrainings {one.state}" for one in ledger.retrains())
    done["items"] = len(ledger.items())
    done["seconds"] = round(time.monotonic() - started)
    return done, found


def watch(paths: Paths) -> None:
    """A watcher of random_kills, whose jobs are real."""
    watcher = Watcher(paths, lambda *poll: feed(paths.jobs.parent, *poll), time.time)
    jobs: Any = RealJobs(paths)
    watcher.jobs = jobs
    while True:
        with contextlib.suppress(ConflictError), watcher.ledger.lead(ttl_s=5.0) as lease:
            while True:
                watcher.once(fence_of(lease))
                time.sleep(0.1)
        time.sleep(0.1)  # another leads


def review(paths: Paths) -> None:
    """A reviewer who approves all that waits."""
    ledger = Ledger(paths.url)
    while True:
        with contextlib.suppress(ConflictError):
            approve_all(ledger)
        time.sleep(0.2)


def job_processes(folder: Path) -> Iterator[psutil.Process]:
    """The jobs of this world that run now."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            words = process.cmdline()
            if words[:3] == list(COMMAND) and str(folder) in words:
                yield process


def main() -> int:
    """Print the outcome; exit code 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--of", choices=["watchers", "head"], default="watchers")
    parser.add_argument("--backend", choices=BACKENDS, default="sqlite")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.environ["RAY_AUTH_MODE"] = "disabled"  # before Ray is imported
    os.environ.pop("RAY_ADDRESS", None)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with fresh(args.backend) as paths:
        done, found = torment(paths, kills=args.kills, of=args.of, seed=args.seed)
    print(args.backend, dict(done), "problems:", found)  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
