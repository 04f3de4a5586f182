"""A Ray cluster of this machine, with the dashboard and jobs that an embedded Ray lacks.

`up` leaves it running and `down` ends it (python -m cluster); `local_cluster` has it for a block.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import ray

from cluster.lifecycle import (
    LOOPBACK,
    NUM_STARTS,
    haproxies,
    object_store_bytes,
    refuse_taken,
    require_free_ports,
    stop_stale_haproxy,
    use_environment,
)
from cluster.settings import HEAD_PORTS, Settings, ports_of, put_environment
from cluster.state import (
    LocalCluster,
    Process,
    database_digest,
    forget,
    new_folder,
    owned_by,
    private_folder,
    process_of,
    record,
    recorded,
    remove_ended,
)
from spt_core.errors import InputError, UnavailableError

START_S, STOP_S, JOIN_S = 180.0, 3.0, 8.0
_PORT_RANGE = range(20_000, 32_000)  # below Linux' ephemeral ports, which Ray's processes take
_OPTIONS: Mapping[str, str] = {  # of `ray start`, by the names of HEAD_PORTS
    "Ray": "port",
    "dashboard": "dashboard-port",
    "dashboard agent": "dashboard-agent-listen-port",
    "dashboard agent, gRPC": "dashboard-agent-grpc-port",
    "metrics": "metrics-export-port",
    "Ray client": "ray-client-server-port",
    "node manager": "node-manager-port",
    "object manager": "object-manager-port",
    "runtime environments": "runtime-env-agent-port",
}
_NEVER_FIXED = ("node manager", "object manager", "runtime environments")
_LOG = "head.log"
_LATE = "timed out during startup"  # Ray's own 30 s, which a busy machine exceeds
_RAY = Path(ray.__file__).parent


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
        fact = "RAY_ADDRESS names another; unset it"
        if settings.local is not None:
            fact = f"{_who(settings.local)} on this SPT_HTTP_PORT; set another"
        raise InputError(f"this starts a Ray of its own, however: {fact}")
    use_environment(settings, LOOPBACK[0])
    with head_node() as head:
        put_environment({"RAY_ADDRESS": head.address})
        yield head


@contextlib.contextmanager
def head_node(variables: Mapping[str, str] | None = None) -> Generator[Head]:
    """A head node on free ports, once it takes jobs, in a process with these variables or ours.

    RAY_ADDRESS must not be set here: Ray's client would ask that cluster whether it does.
    """
    remove_ended()
    folder = new_folder()
    names = [name for name in _OPTIONS if name not in _NEVER_FIXED]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    process = _head(folder, ports, num_cpus=2, variables=variables)
    head = Head(
        f"{LOOPBACK[0]}:{ports['Ray']}",
        f"http://{LOOPBACK[0]}:{ports['dashboard']}",
        f"http://{LOOPBACK[0]}:{ports['metrics']}/metrics",
    )
    try:
        _wait_until_it_takes_jobs(process, head.dashboard)
        yield head
    finally:
        _end([process.pid])
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What `up` starts: a head with so many CPUs and GPUs, and as many nodes like it beside it.

    `host` is where other machines reach this one; on loopback nobody does.
    """

    num_cpus: int
    num_gpus: int = 0
    num_workers: int = 0
    host: str = LOOPBACK[0]


def up(settings: Settings, plan: Plan) -> LocalCluster:
    """The cluster of this port, started unless it runs; it outlives this process.

    InputError where a port is taken or another Ray of this port runs, UnavailableError where it
    does not start.
    """
    if settings.ray_address is not None and settings.local is None:
        raise InputError("`up` starts a Ray, however: RAY_ADDRESS names another; unset it")
    port = settings.http_port
    state = recorded(port)
    if state is not None and not state.trouble:
        if state.kind == "cluster":
            return state
        raise InputError(
            f"one Ray has the port {port}, however: {_who(state)}; end it, or set SPT_HTTP_PORT"
        )
    down(port)  # what a killed one has left
    require_free_ports(settings)
    ports = ports_of(port, HEAD_PORTS)
    refuse_taken(ports, plan.host)
    remove_ended()
    use_environment(settings, plan.host)
    for number in range(1, NUM_STARTS + 1):
        try:
            return _up(settings, plan, ports)
        except UnavailableError as error:
            if _LATE not in str(error) or number == NUM_STARTS:
                raise
            print(  # noqa: T201  # a person who waits should know for what
                f"Ray has not started in time; try {number + 1} of {NUM_STARTS}", file=sys.stderr
            )
    raise AssertionError("the last try has returned or raised")


def _up(settings: Settings, plan: Plan, ports: Mapping[str, int]) -> LocalCluster:
    """One try."""
    port, folder = settings.http_port, new_folder()
    head = _head(folder, ports, num_cpus=plan.num_cpus, plan=plan, log=folder / _LOG)
    state = LocalCluster(
        kind="cluster",
        address=f"{plan.host}:{ports['Ray']}",
        dashboard=f"http://{plan.host}:{ports['dashboard']}",
        process=process_of(head.pid),
        folder=str(folder),
        host=plan.host,
        storage=settings.storage,
        database=database_digest(settings.database_url),
    )
    try:
        owned_by(folder, state.process)
        record(port, state)  # so that `down` finds it, whatever becomes of this process
        agent = f"http://{plan.host}:{ports['dashboard agent']}"
        _wait_until_it_takes_jobs(head, state.dashboard, agent=agent, log=folder / _LOG)
        nodes = [_node(state.address, folder, plan) for _ in range(plan.num_workers)]
        state = dataclasses.replace(state, nodes=tuple(process_of(node.pid) for node in nodes))
        record(port, state)
    except BaseException:
        down(port)
        raise
    return state


def join(settings: Settings, address: str, plan: Plan) -> LocalCluster:
    """This machine as a worker node of another machine's cluster, until `down`."""
    state = recorded(settings.http_port)
    if state is not None and not state.trouble:
        raise InputError(
            f"one Ray has the port {settings.http_port}, however: {_who(state)}; end it, or set "
            "SPT_HTTP_PORT"
        )
    down(settings.http_port)
    remove_ended()
    folder = new_folder()
    use_environment(settings, plan.host)
    process = _node(address, folder, plan)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(JOIN_S)
    if process.poll() is not None:
        fact = _said(folder / _LOG)
        shutil.rmtree(folder, ignore_errors=True)
        raise UnavailableError(f"this machine must join the cluster at {address}, however: {fact}")
    owned_by(folder, process_of(process.pid))
    state = LocalCluster(
        kind="node",
        address=address,
        dashboard="",
        process=process_of(process.pid),
        folder=str(folder),
        host=plan.host,
    )
    record(settings.http_port, state)
    return state


def down(port: int) -> list[int]:
    """End what `up` has started for the port, and what a killed one has left; which processes.

    A job that serves is left alone: it ends by Ctrl-C.
    """
    state = recorded(port)
    if state is not None and state.kind == "run" and not state.trouble:
        raise InputError(
            f"`down` ends what `up` has started, however: {_who(state)}; Ctrl-C ends it"
        )
    ended: list[int] = []
    if state is not None and state.kind != "run":
        ended = sorted({*_alive((state.process, *state.nodes)), *left_in(Path(state.folder))})
        _end(ended)
        shutil.rmtree(state.folder, ignore_errors=True)
    folder = private_folder(port)
    ended += haproxies(folder)
    stop_stale_haproxy(folder)
    forget(port)
    return ended


def left_in(folder: Path) -> list[int]:
    """This user's processes of the Ray with that temporary folder, which its head may survive."""
    return [
        process.pid
        for process in psutil.process_iter()
        if process.pid != os.getpid() and _is_of(process, folder)
    ]


def _is_of(process: psutil.Process, folder: Path) -> bool:
    """Whether it is a program of Ray's that was given the folder; not one that only reads there."""
    try:
        words = process.cmdline()
        is_rays = any(word.startswith(f"{_RAY}/") for word in words[:3])
        is_own = process.uids().real == os.getuid()
    except psutil.Error:  # it has just ended
        return False
    return is_own and is_rays and any(f"{folder}/" in word for word in words)


def _alive(processes: Sequence[Process]) -> Iterator[int]:
    return (process.pid for process in processes if not process.end)


def _who(state: LocalCluster) -> str:
    names = {
        "cluster": "a cluster runs",
        "run": "a job serves",
        "node": f"this machine is a node of {state.address}",
    }
    return f"{names[state.kind]} (process {state.process.pid})"


def _head(
    folder: Path,
    ports: Mapping[str, int],
    *,
    num_cpus: int,
    plan: Plan | None = None,
    variables: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> subprocess.Popen[bytes]:
    plan = plan or Plan(num_cpus=num_cpus)
    words = [f"--{_OPTIONS[name]}={port}" for name, port in ports.items() if name in _OPTIONS]
    words += ["--head", f"--dashboard-host={plan.host}", f"--num-cpus={num_cpus}"]
    return _start(folder, plan, words, variables=variables, log=log)


def _node(address: str, folder: Path, plan: Plan) -> subprocess.Popen[bytes]:
    words = [f"--address={address}", f"--num-cpus={plan.num_cpus}"]
    words += ["--dashboard-agent-listen-port=0"]
    return _start(folder, plan, words, log=folder / _LOG)


def _start(
    folder: Path,
    plan: Plan,
    words: Sequence[str],
    *,
    variables: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> subprocess.Popen[bytes]:
    """`ray start --block`, in a session of its own where it is to outlive this process."""
    line = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--disable-usage-stats"]
    line += [f"--node-ip-address={plan.host}", f"--temp-dir={folder}", *words]
    if plan.num_gpus:
        line.append(f"--num-gpus={plan.num_gpus}")
    if log is not None:
        line.append(f"--object-store-memory={object_store_bytes()}")
        # Else 10002 to 19999, which may be where the ports of the service are.
        line += ["--min-worker-port=0", "--max-worker-port=0"]
    with contextlib.ExitStack() as stack:
        out = subprocess.DEVNULL if log is None else stack.enter_context(log.open("ab"))
        return subprocess.Popen(
            line,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=log is not None,
        )


def _said(log: Path) -> str:
    """The last of what `ray start` has printed, in one line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if _LATE in line]
    return " ".join((telling or lines)[-3:])[-400:] or "nothing"


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


def _wait_until_it_takes_jobs(
    process: subprocess.Popen[bytes],
    dashboard: str,
    *,
    agent: str | None = None,
    log: Path | None = None,
) -> None:
    """Until the dashboard takes jobs and, where the node's agent is named, drivers are let in."""
    from ray.job_submission import JobSubmissionClient  # reads its environment when imported

    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            JobSubmissionClient(dashboard).list_jobs()
        except (RuntimeError, ConnectionError, ValueError):  # no dashboard yet, no agent yet
            time.sleep(0.3)
            continue
        if agent is None or _is_healthy(agent):
            return
        time.sleep(0.3)
    last_lines = "" if log is None else f"; it said: {_said(log)}"
    raise UnavailableError(
        f"a Ray of one node must start within {START_S:.0f} s, however: it "
        + ("did not" if process.poll() is None else f"ended with {process.returncode}")
        + last_lines
    )


def _is_healthy(agent: str) -> bool:
    """Whether a node's agent says that its raylet runs and is known to the head."""
    try:
        with urllib.request.urlopen(f"{agent}/api/local_raylet_healthz", timeout=5) as response:
            return response.status == 200
    except OSError:  # an error of HTTP is one too
        return False


def _end(pids: Sequence[int]) -> None:
    """Ask them to end with their children, and then make them: alone they take half a minute."""
    family: list[psutil.Process] = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            family += [process, *process.children(recursive=True)]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    psutil.wait_procs(family, timeout=STOP_S)
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(family, timeout=STOP_S)
