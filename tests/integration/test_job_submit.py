"""`ray job submit --working-dir . -- python -m jobs.prepare ...` on a cluster of one node."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ray.job_submission import JobStatus, JobSubmissionClient

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
TASK = "financial_services/risk_assessment"
STARTED = (RuntimeError, ConnectionError)  # no dashboard yet, no agent yet


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The dashboard's address of a head node on ports of its own."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    folder = Path(tempfile.mkdtemp(prefix="spt-"))  # sockets need a short path
    ports = free_ports(5)
    flags = ("port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port")
    words = [f"--{flag}={port}" for flag, port in zip(flags, ports, strict=False)]
    head = subprocess.Popen(
        [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--num-cpus=2"]
        + ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--disable-usage-stats"]
        + [f"--metrics-export-port={ports[4]}", f"--temp-dir={folder}", *words],
        env={k: v for k, v in os.environ.items() if not k.startswith("SPT_")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{ports[1]}"
    finally:
        family = psutil.Process(head.pid).children(recursive=True)
        for process in (*family, head):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()  # asked to end, it takes half a minute
        head.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def test_a_submitted_job_succeeds_and_its_result_is_in_the_storage(
    cluster: str, tmp_path: Path
) -> None:
    client, job = submitted(cluster, tmp_path)
    deadline = time.monotonic() + 300
    while not (status := client.get_job_status(job)).is_terminal():
        assert time.monotonic() < deadline, client.get_job_logs(job)
        time.sleep(0.5)
    assert status == JobStatus.SUCCEEDED, client.get_job_logs(job)
    assert list(tmp_path.glob("splits/*/_manifest.json"))


def submitted(address: str, storage: Path) -> tuple[JobSubmissionClient, str]:
    """The job, as soon as the cluster takes one."""
    deadline = time.monotonic() + 120
    while True:
        try:
            client = JobSubmissionClient(address)
            job = client.submit_job(
                entrypoint=f"{sys.executable} -m jobs.prepare {TASK} --recipe smoke",
                runtime_env={
                    "working_dir": str(ROOT),
                    "excludes": [".git"],
                    "env_vars": {"SPT_STORAGE": str(storage)},
                },
            )
        except STARTED:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)
        else:
            return client, job
