"""What a watcher does while it leads: poll, ingest, trigger, and look after jobs, all at once.

One event loop asks and parses; one thread talks to the ledger, another to the job system, a third
compares, rolls out and watches over what is live. It ends with FencedError when the lease is lost,
with UnavailableError when the database stays away.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, final

from aiohttp.abc import AbstractResolver

from spt_core.continuous.feeds.pool import ParserPool
from spt_core.continuous.feeds.source import Source
from spt_core.continuous.fetch.fetcher import Fetcher, FetchPolicy
from spt_core.continuous.ledger import (
    Fence,
    Item,
    JobApi,
    Ledger,
    SourceResult,
    drive,
    fence_of,
    patiently,
)
from spt_core.continuous.ledger import Source as Row
from spt_core.continuous.ledger.ingest import Ingested
from spt_core.continuous.meters import Meters
from spt_core.continuous.monitoring import Monitoring
from spt_core.continuous.options import WatchOptions
from spt_core.continuous.poll import Poller, broken
from spt_core.continuous.relevance import Relevance
from spt_core.continuous.triggers import Standing, counted, decide_at
from spt_core.continuous.troubles import Troubles
from spt_core.continuous.turns import Turns
from spt_core.errors import ConflictError, FencedError, InputError, UnavailableError
from spt_core.registry.lease import Lease

Step = Callable[[Ledger, Fence], object]
T = TypeVar("T")

CLOCK_BACK_S = 60.0
WEEKLY_EVERY_S = 600.0
PATIENCE_S = 60.0
LAG_EVERY_S = 0.05
REMEMBERED_ITEMS = 500  # of a source's last answer: what a poll repeats is not looked up again
_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What leading works with."""

    ledger: Ledger
    sources: Mapping[str, Source]
    monitoring: tuple[Monitoring, ...]
    relevance: Relevance
    options: WatchOptions
    policy: FetchPolicy
    jobs: JobApi
    steps: tuple[Step, ...]
    meters: Meters
    troubles: Troubles
    resolver: AbstractResolver | None


class _StoppedError(Exception):
    """Somebody asked for the end."""


@final
class Leading:
    """One time of leading, from a lease that was entered to its end."""

    def __init__(self, part: Part, lease: Lease) -> None:
        self._part, self._lease, self._fence = part, lease, fence_of(lease)
        self._over = threading.Event()
        self._wake = asyncio.Event()
        self._ledger_thread = ThreadPoolExecutor(1, "watch-ledger")
        self._jobs_thread = ThreadPoolExecutor(1, "watch-jobs")
        self._steps_thread = ThreadPoolExecutor(1, "watch-steps")  # a roll-out takes minutes
        self._threads = (self._ledger_thread, self._jobs_thread, self._steps_thread)
        self._asked: asyncio.Queue[Row] = asyncio.Queue(part.policy.max_connections)
        self._answers: asyncio.Queue[SourceResult] = asyncio.Queue(4 * part.options.batch_size)
        self._in_flight: set[str] = set()
        self._unkept: set[str] = set()  # sources whose last answer could not be kept
        self._turns = Turns(part.policy.host_at_a_time)
        self._seen: dict[str, frozenset[tuple[str, str]]] = {}
        self._weekly: Mapping[str, float] = {}
        self._clock_ahead_s = 0.0  # of the ledger's clock over the monotonic one
        self._standings: tuple[Standing, ...] = ()
        self._waiting_since: dict[int, float] = {}
        self._num_sources = _num_sources(part)

    async def run(self, stop: asyncio.Event) -> None:
        """Lead until `stop`, or until the lease or the database is lost."""
        self._part.meters.set("spt_watch_lease_epoch", self._lease.epoch)
        try:
            await self._clock_read()
            with ParserPool() as pool:
                async with Fetcher(self._part.policy, resolver=self._part.resolver) as fetcher:
                    await self._run_all(stop, fetcher, pool)
        finally:
            self._over.set()
            for thread in self._threads:
                thread.shutdown(wait=False, cancel_futures=True)
            await asyncio.to_thread(self._wait_for_threads)

    def status(self) -> dict[str, Any]:
        """What is being done now, as plain JSON."""
        return {
            "epoch": self._lease.epoch,
            "owner": self._lease.owner,
            "num_asked_now": len(self._in_flight),
            "buckets": [one.to_json() | {"words": one.words()} for one in self._standings],
        }

    async def _run_all(self, stop: asyncio.Event, fetcher: Fetcher, pool: ParserPool) -> None:
        poller = Poller(fetcher, pool, secrets=self._part.options.secrets, unknown=self._unknown)
        parts: list[Coroutine[Any, Any, None]] = [
            self._guard(stop),
            self._schedule(),
            self._ingest(),
            self._drive(),
            self._take_steps(),
            self._measure_lag(),
            *(self._ask(poller) for _ in range(self._part.policy.max_connections)),
        ]
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(part)
        except ExceptionGroup as group:
            ended = _first(group)
            if not isinstance(ended, _StoppedError):
                raise ended from group

    async def _guard(self, stop: asyncio.Event) -> None:
        """Notice the end."""
        while not self._lease.lost.is_set():
            try:
                await asyncio.wait_for(stop.wait(), 0.2)
            except TimeoutError:
                continue
            raise _StoppedError
        raise FencedError(
            "a leader must hold its lease, however: it was lost, or could not be renewed in time"
        )

    async def _schedule(self) -> None:
        """Put what is due on the way, the longest overdue first."""
        part, refreshed = self._part, float("-inf")
        limit = 2 * part.policy.max_connections
        while True:
            await self._clock_read()
            if time.monotonic() - refreshed > WEEKLY_EVERY_S:
                self._part.troubles.clear("clock")  # it was told for a while
                refreshed, self._weekly = (
                    time.monotonic(),
                    await self._ask_ledger(part.ledger.weekly),
                )
            due = await self._ask_ledger(
                lambda asked=frozenset(self._in_flight): part.ledger.due(limit=limit, besides=asked)
            )
            new = [row for row in due if row.source_id in part.sources]
            for row in new:
                self._in_flight.add(row.source_id)
                if self._turns.begin(row):
                    await self._asked.put(row)
                    await asyncio.sleep(0)  # many at once would hold up the loop
            if not new or len(due) < limit:
                await asyncio.sleep(part.options.tick_s)

    async def _ask(self, poller: Poller) -> None:
        """Poll one source after the other."""
        while True:
            row: Row | None = await self._asked.get()
            while row is not None:
                await self._answers.put(await self._poll(poller, row))
                row = self._turns.end(row)

    async def _poll(self, poller: Poller, row: Row) -> SourceResult:
        source, now = self._part.sources[row.source_id], self._now()
        try:
            outcome, result = await poller.poll(row, source, now, self._weekly.get(row.source_id))
        except (FencedError, UnavailableError):
            raise
        except Exception as error:  # noqa: BLE001  one source must not stop the others
            _LOG.exception("%s could not be polled", row.source_id)
            fault = f"our own fault: {type(error).__name__}: {error}"
            outcome, result = "fault", broken(row, fault, now)
        self._part.meters.add("spt_watch_polls", label=outcome)
        return result

    async def _ingest(self) -> None:
        """Store answers, many in one transaction."""
        options = self._part.options
        while True:
            batch = [await self._answers.get()]
            deadline = time.monotonic() + options.batch_wait_s
            while len(batch) < options.batch_size:
                if not self._answers.empty():
                    batch.append(self._answers.get_nowait())
                    continue
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                try:
                    batch.append(await asyncio.wait_for(self._answers.get(), left))
                except TimeoutError:
                    break
            done = await self._ask_ledger(lambda answers=batch: self._store(answers))
            self._in_flight.difference_update(result.source.source_id for result in batch)
            self._count(done)
            if done.retrains:
                self._wake.set()

    def _store(self, batch: Sequence[SourceResult]) -> Ingested:
        """Score what is new and ingest everything; an answer that cannot be kept is named."""
        part = self._part
        num_items = sum(len(result.items) for result in batch)
        scored = [self._scored(result) for result in self._fresh(batch)]
        decide = decide_at(self._now().timestamp(), part.monitoring, self._num_sources)
        try:
            done = part.ledger.ingest(self._fence, scored, decide)
        except UnavailableError:
            raise
        except InputError as error:
            if len(batch) > 1:
                return _summed([self._store([result]) for result in batch])
            name = batch[0].source.source_id
            self._unkept.add(name)
            part.troubles.tell("ingest", f"{name}: {error}")
            rows = [row for row in part.ledger.sources() if row.source_id == name]
            kept = [
                broken(row, f"its items could not be kept: {error}", self._now()) for row in rows
            ]
            return part.ledger.ingest(self._fence, kept, decide)
        self._unkept.difference_update(result.source.source_id for result in batch)
        if not self._unkept:
            part.troubles.clear("ingest")
        for result in batch:
            if len(result.items) >= REMEMBERED_ITEMS:
                self._seen.pop(result.source.source_id, None)
            elif result.items:
                self._seen[result.source.source_id] = frozenset(map(_content, result.items))
        num_left = sum(len(result.items) for result in scored)
        return dataclasses.replace(done, num_known=done.num_known + num_items - num_left)

    def _fresh(self, batch: Sequence[SourceResult]) -> list[SourceResult]:
        """The answers without known items: by the answer before, else as the ledger knows them."""
        seen = [self._seen.get(result.source.source_id) for result in batch]
        unknown = [result for result, contents in zip(batch, seen, strict=True) if contents is None]
        looked_up = iter(self._part.ledger.fresh(unknown))
        return [
            next(looked_up) if contents is None else _without(result, contents)
            for result, contents in zip(batch, seen, strict=True)
        ]

    def _scored(self, result: SourceResult) -> SourceResult:
        if not result.items:
            return result
        industry = self._part.sources[result.source.source_id].industry
        rated = tuple(self._part.relevance.rated(item, industry) for item in result.items)
        return dataclasses.replace(result, items=rated)

    async def _unknown(self, result: SourceResult, before_s: float) -> SourceResult:
        """The answer without items known before, for a walk through pages."""
        (left,) = await self._ask_ledger(
            lambda: self._part.ledger.fresh([result], before_s=before_s)
        )
        return left

    async def _drive(self) -> None:
        """Look after the jobs, at once when a retraining begins."""
        options, evaluated = self._part.options, float("-inf")
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            is_time = time.monotonic() - evaluated >= options.evaluate_s
            if is_time:
                evaluated = time.monotonic()
            await loop.run_in_executor(
                self._jobs_thread, self._patient, lambda full=is_time: self._look_after(full)
            )
            try:
                await asyncio.wait_for(self._wake.wait(), options.drive_s)
            except TimeoutError:
                continue

    def _look_after(self, is_full: bool) -> None:
        """One look at jobs, and at time limits."""
        part = self._part
        driven = drive(part.ledger, self._fence, part.jobs)
        part.troubles.tell("jobs", "; ".join(driven.errors))
        if is_full:
            decide = decide_at(self._now().timestamp(), part.monitoring, self._num_sources)
            begun = part.ledger.evaluate(self._fence, decide)
            part.meters.add("spt_watch_retrainings", len(begun))
            part.ledger.expire_reviews(self._fence)
            self._measure()
            if begun:
                drive(part.ledger, self._fence, part.jobs)

    async def _take_steps(self) -> None:
        """Do whatever else the leader is given to do; jobs do not wait for it."""
        loop = asyncio.get_running_loop()
        while True:
            await loop.run_in_executor(self._steps_thread, self._patient, self._all_steps)
            await asyncio.sleep(self._part.options.drive_s)

    def _all_steps(self) -> None:
        part, messages = self._part, list[str]()
        for step in part.steps:
            try:
                step(part.ledger, self._fence)
            except (FencedError, UnavailableError):
                raise
            except Exception as error:  # noqa: BLE001  told in status, and tried again
                _LOG.exception("a step failed")
                messages.append(
                    f"{getattr(step, '__name__', step)}: {type(error).__name__}: {error}"
                )
        part.troubles.tell("step", "; ".join(messages))

    def _measure(self) -> None:
        part, now_s = self._part, self._now().timestamp()
        self._standings = tuple(
            counted(one, *part.ledger.waiting(one.bucket), now_s, self._num_sources[one.bucket])
            for one in part.monitoring
        )
        for one in self._standings:
            part.meters.set("spt_watch_pending", one.num_pending, one.bucket)
        for state, number in part.ledger.num_retrains().items():
            part.meters.set("spt_watch_runs", number, state)
        waiting = {entry.oid for entry in part.ledger.outbox()}
        moment = time.monotonic()
        self._waiting_since = {oid: self._waiting_since.get(oid, moment) for oid in waiting}
        oldest = min(self._waiting_since.values(), default=moment)
        part.meters.set("spt_watch_outbox_age_s", moment - oldest)

    async def _measure_lag(self) -> None:
        longest, since = 0.0, time.monotonic()
        while True:
            start = time.monotonic()
            await asyncio.sleep(LAG_EVERY_S)
            longest = max(longest, time.monotonic() - start - LAG_EVERY_S)
            if time.monotonic() - since >= 10:
                self._part.meters.set("spt_watch_loop_lag_s", longest)
                longest, since = 0.0, time.monotonic()

    def _count(self, done: Ingested) -> None:
        for kind, number in (
            ("new", done.num_new),
            ("revised", done.num_revised),
            ("known", done.num_known),
        ):
            if number:
                self._part.meters.add("spt_watch_items", number, kind)
        if done.retrains:
            self._part.meters.add("spt_watch_retrainings", len(done.retrains))
            for begun in done.retrains:
                _LOG.info("%s begins (%s): %s", begun.retrain_id, begun.state, begun.reason)

    async def _clock_read(self) -> None:
        """Follow the ledger's clock, and say when it went back."""
        before, mono = self._clock_ahead_s, time.monotonic()
        self._clock_ahead_s = await self._ask_ledger(self._part.ledger.now_s) - mono
        if before and before - self._clock_ahead_s > CLOCK_BACK_S:
            self._part.troubles.tell(
                "clock",
                f"it went back by {before - self._clock_ahead_s:.0f} s: what was asked later than "
                f"now is asked again (it is {self._now():%Y-%m-%d %H:%M} UTC)",
            )

    def _now(self) -> datetime.datetime:
        seconds = time.monotonic() + self._clock_ahead_s
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC)

    async def _ask_ledger(self, call: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._ledger_thread, self._patient, call)

    def _patient(self, call: Callable[[], T]) -> T:
        """What the call returns, waiting for a database that is away for a while."""

        def tell(sentence: str) -> None:
            self._part.troubles.tell("database", sentence)

        while True:
            try:
                return patiently(call, wait_s=PATIENCE_S, tell=tell, sleep=self._sleep)
            except FencedError:
                raise
            except (
                ConflictError
            ) as error:  # busy, or a person was quicker: every call is repeatable
                tell(str(error))
                self._sleep(1.0)

    def _sleep(self, seconds: float) -> None:
        if self._over.wait(seconds):
            raise FencedError("a leader must lead to write, however: its time is over")

    def _wait_for_threads(self) -> None:
        """A call that is under way ends before the lease is given back."""
        for thread in self._threads:
            thread.shutdown(wait=True)


def _without(result: SourceResult, contents: frozenset[tuple[str, str]]) -> SourceResult:
    if not result.items:
        return result
    left = tuple(item for item in result.items if _content(item) not in contents)
    return dataclasses.replace(result, items=left)


def _content(item: Item) -> tuple[str, str]:
    return item.item_key, item.content_sha


def _num_sources(part: Part) -> dict[str, int]:
    """How many sources could give to each bucket."""
    industries = [source.industry for source in part.sources.values()]
    return {one.bucket: industries.count(one.industry) for one in part.monitoring}


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What ended leading: a fault of ours if there is one, else a stop, else what was lost."""
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves.append(_first(error) if isinstance(error, BaseExceptionGroup) else error)
    expected = (_StoppedError, FencedError, UnavailableError)
    faults = [error for error in leaves if not isinstance(error, expected)]
    stops = [error for error in leaves if isinstance(error, _StoppedError)]
    return (faults or stops or leaves)[0]


def _summed(parts: Sequence[Ingested]) -> Ingested:
    return Ingested(
        num_new=sum(part.num_new for part in parts),
        num_revised=sum(part.num_revised for part in parts),
        num_known=sum(part.num_known for part in parts),
        retrains=tuple(begun for part in parts for begun in part.retrains),
    )
