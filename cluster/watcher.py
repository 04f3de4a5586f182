"""The long-lived watcher of a cluster: a detached, named actor that runs the pipeline.

`start` makes it, or finds it; Ray restarts it without limit, and whatever it had been doing goes on
from the ledger. Its log is in the dashboard, its figures in Ray's Prometheus endpoint.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import ray
import sqlalchemy as sa
from ray.exceptions import GetTimeoutError
from ray.util.metrics import Counter, Gauge
from sqlalchemy.exc import ArgumentError

from cluster.lifecycle import ROOT
from cluster.settings import source_secrets
from cluster.submit import RayJobs
from spt_core.artifacts import as_uri, digest
from spt_core.continuous import ContinuousTrainingPipeline, WatchOptions
from spt_core.continuous.jobs import RETRAIN, ChampionJobs
from spt_core.continuous.leading import Step
from spt_core.continuous.ledger import JobApi
from spt_core.continuous.meters import COUNTS, LEVELS, Count, Level
from spt_core.continuous.pipeline import calm_collector
from spt_core.continuous.sources import SourcesFile
from spt_core.errors import ConflictError, InputError, UnavailableError

NAME, NAMESPACE = "watcher", "spt"
ANSWER_S = 60.0
RESTART_PAUSE_S = 5.0  # a fault that comes back at once must not keep a core busy
# A key before the host (s3://KEY:SECRET@bucket); a port that a path follows is none.
_KEY_IN_ADDRESS = re.compile(r"[^:/]+://[^/@]*:(?!\d{1,5}/).*@", re.DOTALL)
_SECRET_NAME = re.compile(r"passw|secret|token|_key$|^sig$", re.IGNORECASE)
_LOG = logging.getLogger(__name__)
MakeSteps = Callable[[WatchOptions], tuple[Step, ...]]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WatchPlan:
    """What the actor watches and how; it is started again with the same.

    `make_steps` is called in the actor, a function of a module: what a leader does beside jobs.
    """

    file: SourcesFile
    options: WatchOptions
    command: tuple[str, ...] = RETRAIN
    make_steps: MakeSteps | None = None

    def __post_init__(self) -> None:
        """The actor and its jobs read their own secrets: what Ray stores is for many eyes."""
        assert not self.options.secrets, "secrets do not travel"
        require_no_secret(self.options)

    @property
    def fingerprint(self) -> str:
        """The same for plans that watch alike."""
        steps = "" if self.make_steps is None else self.make_steps.__qualname__
        return digest([repr(dataclasses.replace(self, make_steps=None)), steps])


class Watcher:
    """The actor's class; `start` makes a Ray actor of it."""

    def __init__(self, plan: WatchPlan) -> None:
        logging.basicConfig(
            level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
        )
        self._fingerprint = plan.fingerprint
        secrets = source_secrets([source.id for source in plan.file.sources])
        options = dataclasses.replace(plan.options, secrets=secrets)
        context = ray.get_runtime_context()
        self._restarted = context.was_current_actor_reconstructed
        jobs: JobApi = RayJobs(
            context.gcs_address,
            storage=as_uri(options.storage),
            runtime_env=job_environment(options, context.runtime_env.working_dir()),
            command=plan.command,
        )
        if plan.command == RETRAIN:  # another command may need no champion
            jobs = ChampionJobs(jobs, options.database)
        self._pipeline = ContinuousTrainingPipeline(
            plan.file,
            options=options,
            jobs=jobs,
            steps=plan.make_steps(options) if plan.make_steps is not None else (),
            meters=RayMeters(),
        )
        calm_collector()
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def status(self) -> dict[str, Any]:
        """What the pipeline says, and which process says it."""
        return {
            **self._pipeline.status(),
            "plan": self._fingerprint,
            "pid": os.getpid(),
            "was_restarted": self._restarted,
        }

    async def stop(self) -> None:
        """End watching; the lease is given back."""
        self._pipeline.stop()
        await self._task

    async def _watch(self) -> None:
        try:
            await self._pipeline.start_monitoring()
        except Exception:  # noqa: BLE001  a fault of ours: Ray starts another process
            _LOG.exception("the watcher failed, and is started again")
            await asyncio.sleep(RESTART_PAUSE_S)
            os._exit(1)


class RayMeters:
    """Meters in Ray's Prometheus endpoint, as `ray_spt_watch_...`."""

    def __init__(self) -> None:
        self._counts = {
            name: Counter(name, meter.description, (meter.label,) if meter.label else ())
            for name, meter in COUNTS.items()
        }
        self._levels = {
            name: Gauge(name, meter.description, (meter.label,) if meter.label else ())
            for name, meter in LEVELS.items()
        }

    def add(self, meter: Count, number: float = 1.0, label: str = "") -> None:
        """Count more."""
        if number > 0:  # Ray refuses to count nothing
            name = COUNTS[meter].label
            self._counts[meter].inc(number, {name: label} if name else {})

    def set(self, meter: Level, value: float, label: str = "") -> None:
        """The value now."""
        name = LEVELS[meter].label
        self._levels[meter].set(value, {name: label} if name else {})


def start(plan: WatchPlan) -> dict[str, Any]:
    """The running watcher's status: a new one's, or that of one with the same plan."""
    actor_class: Any = ray.remote(Watcher)  # Ray's types take every class for a function
    actor = actor_class.options(
        name=NAME,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_task_retries=-1,
        num_cpus=0,
        runtime_env=_actor_environment(),
    ).remote(plan)
    report = _answer(actor.status.remote())
    if report["plan"] != plan.fingerprint:
        raise ConflictError(
            "a cluster has one watcher, however: one runs with other sources or options (process "
            f"{report['pid']}); `python -m jobs.watch stop` ends it"
        )
    return report


def status() -> dict[str, Any] | None:
    """What the cluster's watcher says; None when there is none."""
    actor = _find()
    return None if actor is None else _answer(actor.status.remote())


def stop() -> bool:
    """Whether there was a watcher; its lease is free afterwards."""
    actor = _find()
    if actor is None:
        return False
    try:
        _answer(actor.stop.remote())
    finally:
        ray.kill(actor)
    return True


def job_environment(options: WatchOptions, working_dir: str) -> dict[str, Any]:
    """The runtime environment of a job that finds this project and its settings."""
    require_no_secret(options)
    settings = {"SPT_STORAGE": as_uri(options.storage), "SPT_DATABASE_URL": options.database}
    if working_dir:
        return {"working_dir": working_dir, "env_vars": settings}
    return {"env_vars": {**settings, "PYTHONPATH": str(ROOT)}}


def require_no_secret(options: WatchOptions) -> None:
    """Return if storage and database may be seen, as a job's command and environment are."""
    storage = as_uri(options.storage)
    query = dict(parse_qsl(storage.partition("?")[2]))
    if _KEY_IN_ADDRESS.match(storage) or any(map(_SECRET_NAME.search, query)):
        raise InputError(
            "a cluster's storage must be named without a key, however: SPT_STORAGE holds one, and "
            "the dashboard shows it to all who see it; give the nodes a role, or the key in their "
            "own environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
        )
    try:
        url = sa.make_url(options.database)
    except (ArgumentError, ValueError):
        raise InputError(
            "a cluster's database must be named by a URL such as "
            "postgresql+psycopg://user@host/spt, however: the text in SPT_DATABASE_URL is none"
        ) from None  # the cause may quote a part of the password
    if url.password or any(map(_SECRET_NAME.search, url.query)):
        raise InputError(
            "a cluster's database must be named without a password, however: SPT_DATABASE_URL "
            "holds one, and the dashboard shows a job's environment to all who see it; give "
            "the nodes PGPASSFILE or PGPASSWORD"
        )


def _actor_environment() -> Mapping[str, Any]:
    """A job's working folder is inherited; else the actor's processes import from this checkout."""
    working_dir = ray.get_runtime_context().runtime_env.working_dir()
    return {} if working_dir else {"env_vars": {"PYTHONPATH": str(ROOT)}}


def _find() -> Any | None:  # an actor's handle has no type
    try:
        return ray.get_actor(NAME, namespace=NAMESPACE)
    except ValueError:
        return None


def _answer(reference: Any) -> Any:
    try:
        return ray.get(reference, timeout=ANSWER_S)
    except GetTimeoutError as error:
        raise UnavailableError(
            f"the watcher must answer within {ANSWER_S:.0f} s, however: it did not; its log is in "
            "the dashboard"
        ) from error
