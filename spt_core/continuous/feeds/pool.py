"""A few processes that parse documents and may be killed: (bytes, limits) -> Parsed, always.

They are started when first needed, kept between documents, and replaced when a document hangs,
eats its memory or crashes the parser. `parse` blocks and may be called by several threads;
`parse_soon` is for an event loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import os
import select
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import orjson

from spt_core.continuous.feeds.source import Source
from spt_core.continuous.feeds.values import (
    MAX_BODY_BYTES,
    Item,
    Parsed,
    Poll,
    PollHints,
    degraded,
)

WALL_SECONDS = 4.0
START_SECONDS = 60.0
READY = b"R"  # what a process says once Python and the parsers are loaded
ITEMS_PER_MESSAGE = 200
_ROOT = Path(__file__).parents[3]


class ParserDiedError(Exception):
    """The parser's process ended, hung or answered nonsense; the sentence says which."""


class ParserPool:
    """Parser processes, at most `size` busy at a time, and a spare: killing one costs no start."""

    def __init__(self, *, size: int = 2, wall_s: float = WALL_SECONDS) -> None:
        self._wall_s = wall_s
        self._idle: list[_Worker] = []
        self._lock = threading.Lock()
        self._threads = concurrent.futures.ThreadPoolExecutor(size, "parser-pool")
        self._free = threading.BoundedSemaphore(size)
        self.num_started = 0

    def __enter__(self) -> ParserPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def parse(self, body: bytes, content_type: str, source: Source, poll: Poll) -> Parsed:
        """What a source's answer holds; DEGRADED where its process had to be ended."""
        if len(body) > MAX_BODY_BYTES:
            size = MAX_BODY_BYTES // 2**20
            return degraded("unknown", f"the document is larger than {size} MB")
        request = {
            "content_type": content_type,
            "source": source.to_json(),
            "poll": dataclasses.asdict(poll),
        }
        with self._free:
            worker = self._take()
            try:
                answer = worker.ask(request, body, self._wall_s)
            except ParserDiedError as error:
                worker.kill()
                return degraded("unknown", f"the document could not be parsed: {error}")
            except BaseException:
                worker.kill()
                raise
            self._put_back(worker)
        if "failure" in answer:
            return degraded("unknown", f"the document could not be parsed: {answer['failure']}")
        return _parsed(answer)

    async def parse_soon(
        self, body: bytes, content_type: str, source: Source, poll: Poll
    ) -> Parsed:
        """What `parse` returns, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._threads, self.parse, body, content_type, source, poll
        )

    def cpu_seconds(self) -> float:
        """CPU time of the processes that are waiting for work."""
        with self._lock:
            return sum(worker.cpu_seconds() for worker in self._idle)

    def close(self) -> None:
        """End the processes."""
        self._threads.shutdown(cancel_futures=True)
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.kill()

    def _take(self) -> _Worker:
        with self._lock:
            while len(self._idle) < 2:  # one to work, one to spare
                self._idle.append(_Worker())
                self.num_started += 1
            chosen = next((worker for worker in self._idle if worker.is_ready()), self._idle[0])
            self._idle.remove(chosen)
            return chosen

    def _put_back(self, worker: _Worker) -> None:
        with self._lock:
            self._idle.append(worker)


class _Worker:
    """One parser process and its two pipes."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "spt_core.continuous.feeds.tolerant"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._to, False)
        os.set_blocking(self._from, False)
        self._is_ready = False

    def is_ready(self) -> bool:
        """Whether everything is loaded."""
        if not self._is_ready and _is_usable(self._from, select.POLLIN, 0.0):
            self._is_ready = os.read(self._from, 1) == READY
        return self._is_ready

    def ask(self, request: dict[str, Any], body: bytes, wall_s: float) -> dict[str, Any]:
        """The process's answer; ParserDiedError after the wall time."""
        head = orjson.dumps(request)
        if not self._is_ready:  # Python and the parsers are being loaded: not the document's time
            self._read(1, time.monotonic() + START_SECONDS)
            self._is_ready = True
        deadline = time.monotonic() + wall_s
        self._write(struct.pack(">II", len(head), len(body)) + head + body, deadline)
        answer = self._message(deadline)
        messages = range(answer.pop("num_messages"))
        return {**answer, "items": [item for _ in messages for item in self._message(deadline)]}

    def _message(self, deadline: float) -> Any:
        (size,) = struct.unpack(">I", self._read(4, deadline))
        return orjson.loads(self._read(size, deadline))

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def cpu_seconds(self) -> float:
        """CPU time used so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _write(self, content: bytes, deadline: float) -> None:
        rest = memoryview(content)
        while rest:
            self._wait(self._to, select.POLLOUT, deadline)
            try:
                rest = rest[os.write(self._to, rest[: 2**16]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise self._death() from error

    def _read(self, size: int, deadline: float) -> bytes:
        parts: list[bytes] = []
        while size:
            self._wait(self._from, select.POLLIN, deadline)
            part = os.read(self._from, min(size, 2**16))
            if not part:
                raise self._death()
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _wait(self, pipe: int, event: int, deadline: float) -> None:
        if not _is_usable(pipe, event, max(0.0, deadline - time.monotonic())):
            raise ParserDiedError("it was not finished in time")

    def _death(self) -> ParserDiedError:
        code = self._process.wait()
        if code == -24:  # SIGXCPU
            return ParserDiedError("it took too much CPU time")
        return ParserDiedError(f"the parser's process ended with {code}")


def _is_usable(pipe: int, event: int, timeout_s: float) -> bool:
    poll = select.poll()  # select() knows no more than 1,024 files, and a watcher has many sockets
    poll.register(pipe, event)
    return bool(poll.poll(timeout_s * 1000))


def _parsed(answer: dict[str, Any]) -> Parsed:
    ttl_s, hours, days = answer["hints"]
    hints = PollHints(ttl_s=ttl_s, skip_hours=frozenset(hours), skip_days=frozenset(days))
    items = [dict(item) for item in answer["items"]]
    for item in items:
        item["categories"] = tuple(item["categories"])
    fields: dict[str, Any] = {
        **answer,
        "items": tuple(Item(**item) for item in items),
        "hints": hints,
    }
    return Parsed(**fields)
