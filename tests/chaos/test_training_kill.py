"""kill -9 of training's worker and of its driver: the run ends with the undisturbed run's metrics.

Runs of one seed on one machine agree within TOLERANCE; other processors may round otherwise.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from spt_core.fitting.loop import STATE

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-6
NUM_EPOCHS = 24
TIMEOUT_S = 400.0


class Training:
    """One `python -m jobs.train` below a storage root; a name of its own keeps it from reuse."""

    def __init__(self, storage: Path, name: str) -> None:
        self._models = storage / "models"
        self._before = set(self._checkpoints())
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SPT_"))}
        sizes = (f"training.num_epochs={NUM_EPOCHS}", "training.early_stopping_patience=none")
        words = ["--recipe", "smoke", "--name", name, "--storage", str(storage), "--json"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jobs.train", "financial_services/fraud_detection", *words]
            + [word for size in sizes for word in ("--set", size)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self, process: Callable[[], psutil.Process | None], *, after: int) -> None:
        """kill -9 as soon as a checkpoint of epoch `after` or later is there."""
        until(lambda: max(self.epochs(), default=0) >= after)
        victim = process()
        assert victim is not None
        victim.kill()

    def worker(self) -> psutil.Process | None:
        """The Ray Train worker that descends from this driver."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            if "ray::RayTrainWorker" in " ".join(words_of(process)):
                return process
        return None

    def epochs(self) -> list[int]:
        """The epochs of the checkpoints that this process has written and not yet dropped."""
        found = [epoch_of(folder) for folder in set(self._checkpoints()) - self._before]
        return [epoch for epoch in found if epoch is not None]

    def metrics(self) -> dict[str, float]:
        """The finished run's metrics."""
        out, err = self.process.communicate(timeout=TIMEOUT_S)
        assert self.process.returncode == 0, err
        result = json.loads(out.splitlines()[-1])
        assert not result["reused"]
        return result["metrics"]

    def _checkpoints(self) -> Iterator[Path]:
        return self._models.glob("runs/teacher-*/checkpoint_*")


def until(condition: Callable[[], Any], *, timeout_s: float = TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def words_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has just ended
        return []


def epoch_of(folder: Path) -> int | None:
    try:
        return torch.load(folder / STATE, weights_only=True)["position"]["epoch"]
    except Exception:  # noqa: BLE001  # being written, or being dropped
        return None


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def undisturbed(storage: Path) -> dict[str, float]:
    return Training(storage, "undisturbed").metrics()


def test_a_killed_worker_is_replaced_and_the_metrics_are_the_same(
    storage: Path, undisturbed: dict[str, float]
) -> None:
    training = Training(storage, "worker-killed")
    training.kill(training.worker, after=3)
    assert training.metrics() == pytest.approx(undisturbed, abs=TOLERANCE)


def test_a_killed_driver_resumes_with_the_same_command_and_the_metrics_are_the_same(
    storage: Path, undisturbed: dict[str, float]
) -> None:
    first = Training(storage, "driver-killed")
    until(first.worker)
    family = psutil.Process(first.process.pid).children(recursive=True)
    first.kill(lambda: psutil.Process(first.process.pid), after=8)
    first.process.communicate(timeout=30)
    assert first.process.returncode == -signal.SIGKILL
    # Ray's agents linger for a while; the same command does not mind.
    assert not [p for p in psutil.wait_procs(family, timeout=10)[1] if "RayTrain" in p.name()]

    again = Training(storage, "driver-killed")
    until(again.epochs)
    assert min(again.epochs()) > 2, "it went on: Ray Train lists a checkpoint a little later"
    assert again.metrics() == pytest.approx(undisturbed, abs=TOLERANCE)
