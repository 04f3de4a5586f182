"""kill -9 of a search's trial and of its driver: no finished trial is lost or made again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from tests.chaos.test_training_kill import ROOT, TIMEOUT_S, until, words_of

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
NUM_TRIALS = 8


class Search:
    """One `python -m jobs.optimize` below a storage root."""

    def __init__(self, storage: Path, name: str) -> None:
        self._searches = storage / "models" / "searches"
        self._before = set(self._searches.glob("*"))
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SPT_"))}
        words = ["--recipe", "smoke", "--name", name, "--storage", str(storage), "--json"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jobs.optimize", "financial_services/fraud_detection", *words]
            + ["--set", f"search.num_trials={NUM_TRIALS}", "--set", "limits.latency_ms=200"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def trial(self) -> psutil.Process | None:
        """A process of trials that descends from this driver."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            if "ray::ResourceTrainable" in " ".join(words_of(process)):  # as Ray Tune calls it
                return process
        return None

    def finished(self) -> dict[str, str]:
        """The lines of the trials that ended in a search that this process began."""
        folders = set(self._searches.glob("*")) - self._before
        files = [file for folder in folders for file in folder.glob("trials/*.json")]
        return {file.name: file.read_text() for file in files}

    def result(self) -> dict[str, Any]:
        out, err = self.process.communicate(timeout=TIMEOUT_S)
        assert self.process.returncode == 0, err
        return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


def test_a_killed_trial_is_made_again(storage: Path) -> None:
    search = Search(storage, "trial-killed")
    until(lambda: len(search.finished()) >= 2 and search.trial() is not None)
    victim = search.trial()
    assert victim is not None
    victim.kill()
    result = search.result()
    assert pq.read_table(result["trials"]).num_rows == NUM_TRIALS
    assert result["chosen"]["chosen"]


def test_a_killed_driver_loses_no_finished_trial(storage: Path) -> None:
    first = Search(storage, "driver-killed")
    until(lambda: len(first.finished()) >= 3)
    family = psutil.Process(first.process.pid).children(recursive=True)
    first.process.kill()
    first.process.communicate(timeout=30)
    assert first.process.returncode == -signal.SIGKILL
    psutil.wait_procs(family, timeout=30)
    before = first.finished()
    assert len(before) < NUM_TRIALS

    result = Search(storage, "driver-killed").result()
    after = {
        Path(f).name: Path(f).read_text()
        for f in Path(str(result["search"]).removeprefix("file://")).glob("trials/*.json")
    }
    assert len(after) == NUM_TRIALS
    assert before.items() <= after.items()
