"""`ray job submit --working-dir . -- python -m jobs.prepare ...` on a cluster of one node."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.job_submission import JobStatus, JobSubmissionClient

from cluster.local import head_node

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
TASK = "financial_services/risk_assessment"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The dashboard's address of a head node."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with head_node({k: v for k, v in os.environ.items() if not k.startswith("SPT_")}) as head:
        yield head.dashboard


def test_a_submitted_job_succeeds_and_its_result_is_in_the_storage(
    cluster: str, tmp_path: Path
) -> None:
    client = JobSubmissionClient(cluster)
    job = client.submit_job(
        entrypoint=f"{sys.executable} -m jobs.prepare {TASK} --recipe smoke",
        runtime_env={
            "working_dir": str(ROOT),
            "excludes": [".git"],
            "env_vars": {"SPT_STORAGE": str(tmp_path)},
        },
    )
    deadline = time.monotonic() + 300
    while not (status := client.get_job_status(job)).is_terminal():
        assert time.monotonic() < deadline, client.get_job_logs(job)
        time.sleep(0.5)
    assert status == JobStatus.SUCCEEDED, client.get_job_logs(job)
    assert list(tmp_path.glob("splits/*/_manifest.json"))
