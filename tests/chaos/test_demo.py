"""`python -m jobs.watch demo`: the whole story, as a newcomer tries it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live_service import ROOT, free_port_block

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


def demo(**variables: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SPT_"))}
    return subprocess.run(
        [sys.executable, "-m", "jobs.watch", "demo", "--json"],
        cwd=ROOT,
        env={**kept, "SPT_HTTP_PORT": str(free_port_block()), **variables},
        capture_output=True,
        text=True,
        timeout=800,
    )


def test_every_part_of_the_story_comes_true() -> None:
    ended = demo()
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    first, good, bad = found["versions"]
    assert found["answers"][first] != found["answers"][good]
    assert "unilateral change" in found["answers"][good]
    assert (bad, found["num_lost"]) == ("financial_services/regulatory_compliance/default@3", 0)
    page = Path(found["evidence"].removeprefix("file://")).read_text()
    assert "rita" in page


def test_it_starts_no_story_on_a_cluster_of_somebody_s() -> None:
    ended = demo(RAY_ADDRESS="127.0.0.1:1", SPT_STORAGE="/nowhere/to/be/seen")
    assert (ended.returncode, "RAY_ADDRESS names another" in ended.stderr) == (2, True)
