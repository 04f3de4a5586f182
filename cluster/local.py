"""A Ray cluster of one node on 127.0.0.1, with the dashboard and jobs an embedded Ray lacks."""

from __future__ import annotations

import contextlib
import logging
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil
from ray._private.authentication import authentication_token_setup as token_setup

from cluster.lifecycle import embedded_environment, stay_on_loopback
from cluster.settings import Settings, put_environment
from spt_core.errors import InputError, UnavailableError

START_S, STOP_S = 90.0, 3.0
_PORT_RANGE = range(20_000, 32_000)  # below Linux' ephemeral ports, which Ray's processes take
_PORTS = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "ray-client-server-port",
    "metrics-export-port",
)


class Head(NamedTuple):
    """Where a cluster of one node answers: its GCS, its dashboard with the jobs, its metrics."""

    address: str
    dashboard: str
    metrics: str


@contextlib.contextmanager
def local_cluster(settings: Settings) -> Generator[Head]:
    """The cluster for the block; this process' settings name it from now on.

    InputError when the settings name a cluster already, UnavailableError when it does not start.
    """
    if settings.ray_address is not None:
        raise InputError(
            "this starts a Ray of its own, however: RAY_ADDRESS names another; unset it"
        )
    stay_on_loopback(embedded_environment(settings))
    logging.getLogger(token_setup.__name__).setLevel(logging.ERROR)
    token_setup.enable_token_auth_by_default()  # as ray.init does, and `ray start` does not
    with head_node() as head:
        put_environment({"RAY_ADDRESS": head.address})
        yield head


@contextlib.contextmanager
def head_node(variables: Mapping[str, str] | None = None) -> Generator[Head]:
    """A head node on free ports, once it takes jobs, in a process with these variables or ours.

    RAY_ADDRESS must not be set here: Ray's client would ask that cluster whether it does.
    """
    folder = Path(tempfile.mkdtemp(prefix="spt-ray-"))  # sockets need a short path
    ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--num-cpus=2"]
        + ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--disable-usage-stats"]
        + [f"--temp-dir={folder}", *(f"--{name}={port}" for name, port in ports.items())],
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    head = Head(
        f"127.0.0.1:{ports['port']}",
        f"http://127.0.0.1:{ports['dashboard-port']}",
        f"http://127.0.0.1:{ports['metrics-export-port']}/metrics",
    )
    try:
        _wait_until_it_takes_jobs(process, head.dashboard)
        yield head
    finally:
        _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports(number: int) -> list[int]:
    """Ports that nothing listens on, and that the system gives to nobody who asks for any."""
    ports: list[int] = []
    for port in random.sample(_PORT_RANGE, len(_PORT_RANGE)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == number:
            break
    return ports


def _wait_until_it_takes_jobs(process: subprocess.Popen[bytes], dashboard: str) -> None:
    from ray.job_submission import JobSubmissionClient  # reads its environment when imported

    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            JobSubmissionClient(dashboard).list_jobs()
        except (RuntimeError, ConnectionError, ValueError):  # no dashboard yet, no agent yet
            time.sleep(0.3)
        else:
            return
    raise UnavailableError(
        f"a Ray of one node must start within {START_S:.0f} s, however: it "
        + ("did not" if process.poll() is None else f"ended with {process.returncode}")
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and then make it: by itself it takes half a minute."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        psutil.wait_procs(family, timeout=STOP_S)
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    process.kill()
    process.wait()
