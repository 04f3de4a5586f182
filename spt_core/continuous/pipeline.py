"""ContinuousTrainingPipeline: watches publications and begins retrainings, for as long as it runs.

lease -> due sources -> guarded fetch -> parse -> score -> one ingest per batch -> triggers -> jobs

Whatever it is doing when it is killed, frozen or cut off from its database, the next one goes on
from what the ledger holds; `status` says in words where it stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from aiohttp.abc import AbstractResolver

from spt_core.artifacts import as_uri
from spt_core.continuous.classifier import open_classifier
from spt_core.continuous.delivery import Delivery, from_cicd_config
from spt_core.continuous.feeds.source import Source
from spt_core.continuous.fetch.fetcher import FetchPolicy
from spt_core.continuous.jobs import ChampionJobs, LocalJobs
from spt_core.continuous.leading import Leading, Part, Step
from spt_core.continuous.ledger import JobApi, Ledger
from spt_core.continuous.meters import Counters, Meters
from spt_core.continuous.monitoring import Monitoring
from spt_core.continuous.options import DEFAULT_STORAGE, WatchOptions
from spt_core.continuous.registration import register
from spt_core.continuous.relevance import Relevance
from spt_core.continuous.sources import SourcesFile, from_monitoring_config, source_from_mapping
from spt_core.continuous.troubles import Troubles
from spt_core.errors import ConflictError, FencedError, InputError, UnavailableError
from spt_core.registry.lease import Lease

_LOG = logging.getLogger(__name__)


@final
class ContinuousTrainingPipeline:
    """What watches; `monitoring_config` is the specification's dictionary, or a sources file.

    `cicd_config` is the specification's other one: how what comes of it gets into service. Both are
    in force from the next start on, and in the audit log.
    `jobs` starts retrainings (a process of this machine by default); `steps` are called with the
    ledger and the leader's fence after each look at the jobs: gate, roll-out and the like.
    """

    def __init__(
        self,
        monitoring_config: Mapping[str, Any] | SourcesFile | None = None,
        *,
        cicd_config: Mapping[str, Any] | None = None,
        options: WatchOptions | None = None,
        jobs: JobApi | None = None,
        steps: Sequence[Step] = (),
        meters: Meters | None = None,
        resolver: AbstractResolver | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if isinstance(monitoring_config, SourcesFile):
            self._file = monitoring_config
        else:
            self._file = from_monitoring_config(monitoring_config or {})
        if cicd_config is not None:
            delivery = from_cicd_config(cicd_config)
            self._file = dataclasses.replace(self._file, delivery=delivery)
        self._options, self._jobs, self._steps = options or WatchOptions(), jobs, steps
        self._resolver, self._clock = resolver, clock
        self.meters = meters or Counters()
        self._troubles = Troubles()
        self._phase = "not started"
        self._leading: Leading | None = None
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def add_monitoring_source(self, source: Mapping[str, Any] | Source) -> Source:
        """The source, watched from the next start on: name, url, industry, type (rss, ...)."""
        if self._stop is not None:
            raise ConflictError("sources must be added before monitoring starts, however: it runs")
        added = source if isinstance(source, Source) else source_from_mapping(source)
        self._file = dataclasses.replace(self._file, sources=(*self._file.sources, added))
        return added

    @property
    def sources(self) -> tuple[Source, ...]:
        """What is watched."""
        return self._file.sources

    @property
    def monitoring(self) -> tuple[Monitoring, ...]:
        """What is watched for."""
        return self._file.watched

    @property
    def delivery(self) -> Delivery | None:
        """How candidates come into service; None leaves it to each bucket's configuration."""
        return self._file.delivery

    async def start_monitoring(self) -> None:
        """Watch until `stop` is called or this is cancelled."""
        if self._stop is not None:
            raise ConflictError("a pipeline runs once at a time, however: this one does already")
        if not self._file.sources:
            raise InputError("there must be a source to watch, however: there is none")
        self._stop, self._loop = asyncio.Event(), asyncio.get_running_loop()
        try:
            await self._watch(self._stop)
        finally:
            self._phase, self._stop, self._loop = "stopped", None, None
            _LOG.info("stopped")

    def stop(self) -> None:
        """End monitoring soon, from any thread; nothing is lost."""
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            loop.call_soon_threadsafe(stop.set)

    def status(self) -> dict[str, Any]:
        """What the pipeline is doing now, what is wrong, and what it has counted, as plain JSON."""
        content: dict[str, Any] = {"phase": self._phase, "troubles": self._troubles.to_json()}
        if isinstance(self.meters, Counters):
            content["meters"] = self.meters.to_json()
        leading = self._leading
        if leading is not None:
            content |= leading.status()
        return content

    async def _watch(self, stop: asyncio.Event) -> None:
        """Lead whenever the lease is free; what ends leading ends in a state that status tells."""
        part = await self._prepared(stop)
        while part is not None and not stop.is_set():
            lease = part.ledger.lead(ttl_s=self._options.lease_ttl_s)
            try:
                await _entered(lease)
            except UnavailableError as error:
                await self._pause(stop, f"waits for the database: {error}", database=str(error))
                continue
            except ConflictError as error:
                await self._pause(stop, f"stands by: {error}")
                continue
            self._troubles.clear("database")
            self._phase = f"leads with epoch {lease.epoch}"
            _LOG.info("%s", self._phase)
            leading = self._leading = Leading(part, lease)
            try:
                # The leader's file counts: one who stands by with another changes nothing.
                await asyncio.to_thread(
                    register, part.ledger, self._file, actor=self._options.actor
                )
                await leading.run(stop)
            except FencedError as error:
                await self._pause(stop, f"leads no more: {error}")
            except UnavailableError as error:
                await self._pause(stop, f"waits for the database: {error}", database=str(error))
            finally:
                self.meters.set("spt_watch_lease_epoch", 0)
                self._leading = None
                with contextlib.suppress(UnavailableError, ConflictError):  # it runs out by itself
                    await asyncio.shield(asyncio.to_thread(lease.__exit__, None, None, None))

    async def _prepared(self, stop: asyncio.Event) -> Part | None:
        """Everything that leading needs, once the database lets it; None when stopped meanwhile."""
        options, file = self._options, self._file
        while not stop.is_set():
            try:
                return await asyncio.to_thread(self._prepare, options, file)
            except UnavailableError as error:
                await self._pause(stop, f"waits for the database: {error}", database=str(error))
        return None

    def _prepare(self, options: WatchOptions, file: SourcesFile) -> Part:
        ledger = Ledger(options.database, clock=self._clock)
        watched = file.watched
        classifiers = {
            monitoring.bucket: open_classifier(
                monitoring.classifier,
                monitoring.classifier_label,
                database_url=options.database,
            )
            for monitoring in watched
            if monitoring.classifier
        }
        return Part(
            ledger=ledger,
            sources={source.id: source for source in file.sources},
            monitoring=watched,
            relevance=Relevance(watched, classifiers),
            options=options,
            policy=_policy(options, file),
            jobs=self._jobs or local_jobs(options),
            steps=tuple(self._steps),
            meters=self.meters,
            troubles=self._troubles,
            resolver=self._resolver,
        )

    async def _pause(self, stop: asyncio.Event, phase: str, *, database: str = "") -> None:
        """Say where we stand, and wait a little."""
        if phase != self._phase:
            _LOG.warning("%s", phase)
        self._phase = phase
        if database:
            self._troubles.tell("database", database)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), min(self._options.lease_ttl_s / 6, 5.0))


def calm_collector() -> None:
    """Keep the garbage collector out of the loop's way, in a process that does nothing else."""
    gc.freeze()  # to look through all that is loaded would hold up the loop
    gc.set_threshold(20_000, 20, 20)


def local_jobs(options: WatchOptions) -> ChampionJobs:
    """Jobs as processes of this machine, with their logs in the storage root."""
    root = as_uri(options.storage)
    folder = root.removeprefix("file://") if root.startswith("file://") else DEFAULT_STORAGE
    jobs = LocalJobs(
        str(Path(folder) / "retrain_jobs"),
        storage=root,
        settings={"SPT_DATABASE_URL": options.database, "SPT_STORAGE": root},
    )
    return ChampionJobs(jobs, options.database)


def _policy(options: WatchOptions, file: SourcesFile) -> FetchPolicy:
    """The operator's policy; as whom sources are asked is in the file."""
    return dataclasses.replace(options.policy, user_agent=file.user_agent)


async def _entered(lease: Lease) -> None:
    """Enter the lease from a thread; one that was entered while we are cancelled is given back."""
    entering = asyncio.ensure_future(asyncio.to_thread(lease.__enter__))
    try:
        await asyncio.shield(entering)
    except asyncio.CancelledError:
        await asyncio.wait([entering])
        if entering.exception() is None:
            await asyncio.to_thread(lease.__exit__, None, None, None)
        raise
