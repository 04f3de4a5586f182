"""Optional experiment trackers; each reads its own usual environment variables."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from spt_core.errors import MissingPackageError
from spt_core.task import Tracker

Log = Callable[[Mapping[str, float]], None]


@contextlib.contextmanager
def track(trackers: Sequence[Tracker], name: str, config: Mapping[str, Any]) -> Generator[Log]:
    """A function that sends metrics to every tracker until the block ends."""
    openers = {"mlflow": _mlflow, "wandb": _wandb}
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(openers[tracker](name, config)) for tracker in trackers]

        def log(metrics: Mapping[str, float]) -> None:
            for each in logs:
                each(metrics)

        yield log


@contextlib.contextmanager
def _mlflow(name: str, config: Mapping[str, Any]) -> Generator[Log]:
    mlflow = _package("mlflow")
    with mlflow.start_run(run_name=name):
        mlflow.log_params({key: str(value)[:500] for key, value in config.items()})
        yield lambda metrics: mlflow.log_metrics(dict(metrics), step=int(metrics.get("step", 0)))


@contextlib.contextmanager
def _wandb(name: str, config: Mapping[str, Any]) -> Generator[Log]:
    wandb = _package("wandb")
    with wandb.init(name=name, config=dict(config)) as run:
        yield lambda metrics: run.log(dict(metrics))


def _package(name: str) -> Any:  # optional packages have no types here
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPackageError(
            f"the {name} tracker needs its package: pip install -c constraints.txt '.[{name}]' or "
            f"unset its variable"
        ) from error
