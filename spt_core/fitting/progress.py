"""The main worker's metrics, carried to the driver on any cluster while training runs."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Generator, Mapping
from typing import Any

import ray
from ray.exceptions import RayActorError

from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.tracking import track

OnMetrics = Callable[[Mapping[str, float]], None]
_POLL_S = 0.5


@ray.remote(num_cpus=0, max_restarts=0)
class ProgressActor:
    """Carries the main worker's metrics to the driver, on any cluster."""

    def __init__(self) -> None:
        self._held: list[dict[str, float]] = []

    def add(self, metrics: dict[str, float]) -> None:
        """Keep one report."""
        self._held.append(metrics)

    def take(self) -> list[dict[str, float]]:
        """Hand over the reports since the last call."""
        held, self._held = self._held, []
        return held


@contextlib.contextmanager
def progress(
    config: TrainingConfig, name: str, on_metrics: OnMetrics | None, runs: list[str]
) -> Generator[Any]:
    """An actor whose metrics reach `on_metrics` and the trackers while the block runs.

    `runs` gets the addresses at which the trackers show them.
    """
    if on_metrics is None and not config.trackers:
        yield None
        return
    actor_class: Any = ProgressActor  # ray's decorator has no types
    actor: Any = actor_class.options(name=f"progress of {name} {secrets.token_hex(4)}").remote()
    done = threading.Event()
    with track(config.trackers, name, config.identity()) as log:
        runs += log.runs

        def drain() -> None:
            for metrics in ray.get(actor.take.remote(), timeout=60):
                log(metrics)
                if on_metrics is not None:
                    on_metrics(metrics)

        def watch() -> None:
            while not done.wait(_POLL_S):
                try:
                    drain()
                except RayActorError:
                    if not done.is_set():  # else it was killed below, on the way out
                        raise

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield actor
            done.set()
            watcher.join()
            drain()
        finally:
            done.set()
            ray.kill(actor)
            watcher.join()  # a thread inside ray.get would crash when Ray shuts down
