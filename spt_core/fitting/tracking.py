"""Optional experiment trackers; each reads its own usual environment variables."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple

from spt_core.errors import MissingPackageError
from spt_core.task import Tracker


class Log:
    """Sends metrics to every tracker; `runs` are the addresses at which they show them."""

    def __init__(self, tracked: Sequence[Tracked]) -> None:
        self._tracked = tracked
        self.runs = tuple(one.address for one in tracked)

    def __call__(self, metrics: Mapping[str, float]) -> None:
        """Send one report."""
        for one in self._tracked:
            one.log(metrics)


class Tracked(NamedTuple):
    """A run of one tracker: how it takes metrics, and where it shows them."""

    log: Callable[[Mapping[str, float]], None]
    address: str


@contextlib.contextmanager
def track(trackers: Sequence[Tracker], name: str, config: Mapping[str, Any]) -> Generator[Log]:
    """What sends metrics to every tracker until the block ends."""
    openers = {"mlflow": _mlflow, "wandb": _wandb}
    with contextlib.ExitStack() as stack:
        yield Log([stack.enter_context(openers[tracker](name, config)) for tracker in trackers])


@contextlib.contextmanager
def _mlflow(name: str, config: Mapping[str, Any]) -> Generator[Tracked]:
    mlflow = _package("mlflow")
    with mlflow.start_run(run_name=name) as run:
        mlflow.log_params({key: str(value)[:500] for key, value in config.items()})
        info, server = run.info, str(mlflow.get_tracking_uri()).rstrip("/")
        is_web = server.startswith(("http://", "https://"))
        page = f"{server}/#/experiments/{info.experiment_id}/runs/{info.run_id}"
        yield Tracked(
            lambda metrics: mlflow.log_metrics(dict(metrics), step=int(metrics.get("step", 0))),
            page if is_web else f"mlflow:{info.run_id}",  # of a database there is no page
        )


@contextlib.contextmanager
def _wandb(name: str, config: Mapping[str, Any]) -> Generator[Tracked]:
    wandb = _package("wandb")
    with wandb.init(name=name, config=dict(config)) as run:
        # Offline there is no page until `wandb sync`.
        yield Tracked(lambda metrics: run.log(dict(metrics)), run.url or f"wandb:{run.id}")


def _package(name: str) -> Any:  # optional packages have no types here
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPackageError(
            f"the {name} tracker needs its package: pip install -c constraints.txt '.[{name}]' or "
            f"unset its variable"
        ) from error
