"""Two runs of one model on one storage root: the second is refused and told who has it."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


def started(storage: Path) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SPT_"))}
    words = ["financial_services/fraud_detection", "--recipe", "smoke", "--storage", str(storage)]
    return subprocess.Popen(
        # What a shell starts in the background is deaf to SIGINT, and so would be what it starts.
        ["env", "--default-signal=INT", sys.executable, "-m", "jobs.train", *words],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_lease(storage: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with contextlib.closing(
                sqlite3.connect(f"file:{storage}/spt.db?mode=ro", uri=True)
            ) as connection:
                if connection.execute("select count(*) from spt_lease").fetchone()[0]:
                    return
        except sqlite3.OperationalError:  # no database or no table yet
            pass
        time.sleep(0.05)
    raise AssertionError("the first run takes its lease")


def wait_for_training(storage: Path) -> None:
    deadline = time.monotonic() + 120
    while not any(storage.glob("models/runs/teacher-*")):  # Ray Train is up: it has a handler too
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_second_run_is_refused_in_one_sentence_that_names_the_holder(tmp_path: Path) -> None:
    first = started(tmp_path)
    wait_for_lease(tmp_path)
    second = started(tmp_path)
    _, told = second.communicate(timeout=200)
    assert second.returncode == 2
    assert told.startswith("error: a lease has one holder at a time, however: ")
    assert f"pid {first.pid} holds" in told
    assert told.count("\n") == 1
    assert first.poll() is None, "the first run is not disturbed"
    wait_for_training(tmp_path)
    first.send_signal(signal.SIGINT)
    _, told = first.communicate(timeout=200)
    assert first.returncode == 130
    assert told.endswith("error: interrupted; the same command resumes\n")
