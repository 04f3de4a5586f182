"""kill -9 before every bytecode of the ledger while the story is told; then it is told to its end.

python -m tests.chaos.ledger.bytecode_kills                every instruction that is executed
python -m tests.chaos.ledger.bytecode_kills --kill first   SIGKILL where a bytecode comes up first
python -m tests.chaos.ledger.bytecode_kills --kill 60      SIGKILL at so many, at random

What a kill leaves is what is on disk: locks, memory and open transactions are gone. So the first
way looks at the disk before each instruction, keeps a copy of each state that it has not seen, and
has a new process tell each copy to its end. The other two kill: a fork of a process that has
imported everything kills itself at the nth instruction, and another one tells the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import dis
import functools
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import spt_core.continuous.ledger as ledger_package
from spt_core.registry.database import Database
from tests.chaos.ledger import story
from tests.chaos.ledger.world import Paths

TRACED = str(Path(ledger_package.__file__).parent)
TRIAL_TIMEOUT_S = 120
HARMLESS = {  # instructions after which the disk is as it was: they call nothing and free nothing
    dis.opmap[name]
    for name in ("LOAD_FAST", "LOAD_CONST", "LOAD_GLOBAL", "LOAD_DEREF", "PUSH_NULL", "PRECALL")
    + ("RESUME", "KW_NAMES", "COPY_FREE_VARS", "BUILD_TUPLE", "BUILD_LIST", "COPY", "SWAP", "NOP")
    if name in dis.opmap
}
Found = dict[int, list[str]]
Trials = dict[int, Callable[[], list[str]]]


class Instructions:
    """Calls `visit(frame)` before each bytecode of the ledger's modules."""

    def __init__(self, visit: Callable[[FrameType], None]) -> None:
        self.visit = visit

    def __enter__(self) -> None:
        sys.settrace(self._enter)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(TRACED):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def _step(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            self.visit(frame)
        return self._step


def count(template: Path, folder: Path) -> tuple[int, list[int]]:
    """How many instructions the story executes, and at which ones a bytecode comes up first."""
    paths = copy(template, folder)
    seen: set[tuple[CodeType, int]] = set()
    total = 0
    firsts: list[int] = []

    def visit(frame: FrameType) -> None:
        nonlocal total
        total += 1
        where = (frame.f_code, frame.f_lasti)
        if where not in seen:
            seen.add(where)
            firsts.append(total)

    with Instructions(visit):
        story.tell(paths, 0)
    return total, firsts


def states(template: Path, folder: Path) -> tuple[int, dict[int, Path]]:
    """How many instructions the story executes; per disk that one of them first finds, a copy."""
    answer = folder / "states.json"
    # The process that told the story must be dead when others tell it on.
    end = in_fork(
        lambda: answer.write_text(json.dumps(_states(template, folder))), folder / "words"
    )
    assert end == 0, _read(folder / "words")
    total, kept = json.loads(answer.read_text())
    return total, {nth: folder / f"state-{nth}" for nth in kept}


def _states(template: Path, folder: Path) -> tuple[int, list[int]]:
    world = folder / "told"
    paths = copy(template, world)
    seen: set[bytes] = set()
    kept: list[int] = []
    total = 0
    previous = -1

    def visit(frame: FrameType) -> None:
        nonlocal total, previous
        total += 1
        was, previous = previous, frame.f_code.co_code[frame.f_lasti]
        if was in HARMLESS:
            return
        # Closing a file drops this process's locks on it; there is no other process to mind that.
        content = {path.name: path.read_bytes() for path in world.iterdir()}
        content.pop("spt.db-shm", None)  # rebuilt by whoever comes after a crash
        digest = hashlib.blake2b(repr(sorted(content)).encode())
        for name in sorted(content):
            digest.update(content[name])
        if digest.digest() not in seen:
            seen.add(digest.digest())
            kept.append(total)
            state = folder / f"state-{total}"
            state.mkdir()
            for name, data in content.items():
                (state / name).write_bytes(data)

    with Instructions(visit):
        story.tell(paths, 0)
    return total, kept


def retell(state: Path) -> list[str]:
    """What is wrong after a new process has told the rest of a story that was cut off."""
    paths = Paths(url=f"sqlite:///{state}/spt.db", jobs=state / "jobs.log")
    return _tell_the_rest(paths, state.with_name(f"{state.name}-words"))


def trial(template: Path, folder: Path, nth: int) -> list[str]:
    """What is wrong after a kill before the nth instruction, and a process that told the rest."""
    paths = copy(template, folder)
    end = in_fork(lambda: _tell_and_die(paths, nth), folder / "first.txt")
    if end not in (-signal.SIGKILL, 0):
        return [f"the first process ended with {end}: {_read(folder / 'first.txt')}"]
    return _tell_the_rest(paths, folder.with_name(f"{folder.name}-words"))


def _tell_the_rest(paths: Paths, words: Path) -> list[str]:
    end = in_fork(lambda: story.tell(paths, 1), words)
    if end != 0:
        return [f"the second process ended with {end}: {_read(words)}"]
    answer = words.with_suffix(".json")
    end = in_fork(lambda: answer.write_text(json.dumps(story.wrong(paths))), words)
    found = json.loads(answer.read_text()) if end == 0 else [_read(words)]
    shutil.rmtree(paths.jobs.parent)
    return found


def copy(template: Path, folder: Path) -> Paths:
    """A world of its own that has not begun."""
    shutil.copytree(template, folder)
    return Paths(url=f"sqlite:///{folder}/spt.db", jobs=folder / "jobs.log")


def in_fork(work: Callable[[], object], errors: Path) -> int:
    """The exit code of a fork that does the work: negative for a signal, 1 for an exception."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(TRIAL_TIMEOUT_S)
            work()
            code = 0
        except BaseException:  # noqa: BLE001  a fork must end here whatever happens
            errors.write_text(traceback.format_exc(limit=-4))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(trials: Trials, folder: Path, *, workers: int = 1, stop: bool = False) -> Found:
    """The problems of each trial that has some; with `stop` each worker ends with its first."""
    found: Found = {}
    pids: dict[int, Path] = {}
    for lane in range(workers):
        answer = folder / f"lane-{lane}.json"
        mine = sorted(trials)[lane::workers]
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                bad: Found = {}
                for nth in mine:
                    what = trials[nth]()
                    bad |= {nth: what} if what else {}
                    if what and stop:
                        break
                answer.write_text(json.dumps(bad))
                os._exit(0)
            os._exit(1)
        pids[pid] = answer
    for pid, answer in pids.items():
        if os.waitpid(pid, 0)[1] != 0:
            raise AssertionError(f"a lane must do all its trials, however: {answer.name} did not")
        found |= {int(nth): what for nth, what in json.loads(answer.read_text()).items()}
    return found


@contextlib.contextmanager
def zygote() -> Any:
    """A folder in memory with a template of the world; forks open databases without migrating."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="spt-", dir=memory if memory.is_dir() else None))
    template = folder / "template"
    upgrade = Database._upgrade
    try:
        story.new(template)
        Database._upgrade = lambda self: "0003"  # the template has the schema
        story.tell(copy(template, folder / "warm"), 0)  # fills SQLAlchemy's caches for the forks
        yield template, folder
    finally:
        Database._upgrade = upgrade
        shutil.rmtree(folder, ignore_errors=True)


def _tell_and_die(paths: Paths, nth: int) -> None:
    left = nth

    def visit(_: FrameType) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    with Instructions(visit):
        story.tell(paths, 0)


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else "no word"


def main(arguments: list[str] | None = None) -> int:
    """Print the counts; exit code 1 when anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kill", help="`first`, or how many instructions at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stop", action="store_true", help="at the first that is wrong")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args(arguments)
    started = time.monotonic()
    with zygote() as (template, folder):
        total, trials = (
            all_states(template, folder)
            if not args.kill
            else kills(template, folder, args.kill, args.seed)
        )
        print(f"{total} instructions; {len(trials)} to be told on", flush=True)  # noqa: T201
        found = run(trials, folder, workers=args.workers, stop=args.stop)
    for nth, what in sorted(found.items())[:20]:
        print(nth, *what)  # noqa: T201
    print(f"{len(trials)} told on, {len(found)} were wrong, {time.monotonic() - started:.0f} s")  # noqa: T201
    return 1 if found else 0


def all_states(template: Path, folder: Path) -> tuple[int, Trials]:
    """A trial for each disk that some instruction finds."""
    total, kept = states(template, folder)
    return total, {nth: functools.partial(retell, state) for nth, state in kept.items()}


def kills(template: Path, folder: Path, which: str, seed: int = 0) -> tuple[int, Trials]:
    """A trial with a real kill where a bytecode comes up first, or at so many instructions."""
    total, firsts = count(template, folder / "count")
    chosen = (
        firsts if which == "first" else random.Random(seed).sample(range(1, total + 1), int(which))
    )
    return total, {
        nth: functools.partial(trial, template, folder / f"kill-{nth}", nth) for nth in chosen
    }


if __name__ == "__main__":
    sys.exit(main())
