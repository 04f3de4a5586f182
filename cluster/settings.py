"""The only reader of the environment.

| variable | meaning | default |
|---|---|---|
| SPT_STORAGE | storage root, any pyarrow file system URI | ./spt_storage |
| SPT_DATABASE_URL | SQLite or Postgres (postgresql+psycopg://...) | spt.db below a local root |
| SPT_DATA_HOME | cache folder of public data sets | ./data |
| SPT_HTTP_HOST, SPT_HTTP_PORT | where Serve listens | 127.0.0.1, 8000 |
| SPT_SERVICE | `elsewhere` on a cluster that trains and never serves | here |
| SPT_SCALES_TO | what the nodes of a cluster that grows have at most, such as CPU=32,GPU=2 | |
| SPT_RUNTIME | what runs texts in replicas, one of RUNTIMES | onnx |
| SPT_API_KEY, SPT_API_KEY_FILE | a principal's key, or a file of mode 0600 that holds it | |
| SPT_AUTHENTICATION | on: every route wants a key; off: it listens on loopback alone | off |
| SPT_TLS_CERTIFICATE, SPT_TLS_KEY | PEM files with which HAProxy speaks TLS | |
| SPT_CONNECTIONS_PER_ADDRESS | what HAProxy takes of one address at a time | 512 |
| SPT_LOG_FORMAT | of the service's processes: text or json | text |
| SPT_SECRET_{SOURCE ID} | the key that a source's API wants, sent in its secret_header | |
| SPT_REPLICAS | how many replicas a task has, such as INDUSTRY/TASK=2,INDUSTRY/TASK=1..4 | 1 each |
| RAY_ADDRESS | the cluster to join; unset means this machine's, or an embedded local Ray | |
| MLFLOW_TRACKING_URI, WANDB_API_KEY, WANDB_MODE | switch their tracker on | |
"""

from __future__ import annotations

import dataclasses
import getpass
import os
import socket
import ssl
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.state import LocalCluster, recorded
from spt_core.artifacts import as_uri
from spt_core.errors import InputError
from spt_core.task import RUNTIMES, RuntimeName, Tracker, find

# Every port that a service or a cluster of this machine holds, as its distance from SPT_HTTP_PORT.
# What Ray opens beyond them (its workers') are ports that the system gives, on the same address.
SERVICE_PORTS: Mapping[str, int] = {
    "HTTP": 0,
    "HAProxy metrics": 1,
    "HAProxy statistics": 2,
    "Serve's fallback proxy": 3,
}
HEAD_PORTS: Mapping[str, int] = {
    "Ray": 4,
    "dashboard": 5,
    "dashboard agent": 6,
    "dashboard agent, gRPC": 7,
    "metrics": 8,
    "dashboard metrics": 9,
    "autoscaler metrics": 10,
    "Ray client": 11,
    "node manager": 12,
    "object manager": 13,
    "runtime environments": 14,
}
REPLICA_CPUS = 0.25  # what a replica takes of Ray's count of processors
REPLICA_PORTS = range(20, 91)  # what HAProxy reaches the replicas at, one for each


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the environment says."""

    storage: str
    database_url: str
    data_home: str
    http_host: str
    http_port: int
    ray_address: str | None
    trackers: tuple[Tracker, ...]
    # This machine's own Ray, started before, where `ray_address` is that one's.
    local: LocalCluster | None = None
    # What the nodes of a cluster that grows can have in all; empty where nobody says it.
    scales_to: Mapping[str, float] = dataclasses.field(default_factory=dict[str, float])
    serves: bool = True  # whether models are taken into service on the cluster of `ray_address`
    replicas: Mapping[str, tuple[int, int]] = dataclasses.field(
        default_factory=dict[str, tuple[int, int]]
    )

    @property
    def takes_jobs(self) -> bool:
        """Whether there is a Ray with a job API, which goes on without any process of a person."""
        return self.ray_address is not None and (self.local is None or self.local.kind == "cluster")

    @property
    def is_named(self) -> bool:
        """Whether RAY_ADDRESS names a cluster, whose nodes have other working folders than ours."""
        return self.ray_address is not None and self.local is None


def load_settings(*, storage: str | None = None, database_url: str | None = None) -> Settings:
    """Settings from the environment; arguments (from the command line) win."""
    named = storage or os.environ.get("SPT_STORAGE")
    address = os.environ.get("RAY_ADDRESS") or None
    if address is not None and named is None:
        raise InputError(
            "on a cluster (RAY_ADDRESS is set) the storage root must be named, however: neither "
            "--storage nor SPT_STORAGE is; a job's own folder ends with the job"
        )
    if address is not None and named is not None:
        require_absolute(named, "the storage root")
    root = as_uri(named or "spt_storage")
    port = service_port()
    local = None if address is not None else _local(port)
    database = database_url or os.environ.get("SPT_DATABASE_URL") or _local_database(root)
    if address is not None and database.startswith("sqlite:///"):
        require_absolute(database.removeprefix("sqlite:///"), "a SQLite database")
    trackers: list[Tracker] = []
    if os.environ.get("MLFLOW_TRACKING_URI"):
        trackers.append("mlflow")
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE"):
        trackers.append("wandb")
    return Settings(
        storage=root,
        database_url=database,
        data_home=os.environ.get("SPT_DATA_HOME") or "data",
        http_host=os.environ.get("SPT_HTTP_HOST") or "127.0.0.1",
        http_port=port,
        ray_address=address if local is None else local.address,
        trackers=tuple(trackers),
        local=local,
        scales_to=_amounts(os.environ.get("SPT_SCALES_TO") or ""),
        serves=_serves(os.environ.get("SPT_SERVICE") or "here"),
        replicas=replicas(),
    )


def service_port() -> int:
    """The port of the service, and of all that belongs to it."""
    return _port(os.environ.get("SPT_HTTP_PORT") or "8000")


def ports_of(port: int, names: Mapping[str, int]) -> dict[str, int]:
    """The numbers of named ports for a service's port."""
    return {name: port + offset for name, offset in names.items()}


def replicas() -> dict[str, tuple[int, int]]:
    """How many replicas SPT_REPLICAS gives which task: at least and at most."""
    given: dict[str, tuple[int, int]] = {}
    for part in filter(None, (os.environ.get("SPT_REPLICAS") or "").replace(" ", "").split(",")):
        name, _, numbers = part.partition("=")
        given[find(name).path] = read_replicas(numbers, f"SPT_REPLICAS of {name}")
    return given


def read_replicas(text: str, what: str) -> tuple[int, int]:
    """(2, 2) of "2", (1, 4) of "1..4": at least so many replicas, and at most."""
    low, dots, high = text.partition("..")
    numbers = (low, high if dots else low)
    if not all(number.isdecimal() for number in numbers) or not 1 <= int(low) <= int(numbers[1]):
        raise InputError(
            f"{what} must be a number of replicas such as 2, or a range such as 1..4, however: "
            f"{text!r}"
        )
    return int(low), int(numbers[1])


def require_absolute(location: str, what: str) -> None:
    """Refuse a path below the working folder: on a cluster it is a job's own, and ends with it."""
    if "://" not in location and not Path(location).expanduser().is_absolute():
        raise InputError(
            f"on a cluster (RAY_ADDRESS is set) {what} must be a URI or an absolute path, however: "
            f"{location!r}; a job's own folder ends with the job"
        )


def is_embedded() -> bool:
    """Whether this process belongs to a Ray that a job started on this machine for itself."""
    return os.environ.get("SPT_EMBEDDED") == "1"


def replica_runtime() -> RuntimeName:
    """What runs the graphs of this replica's models."""
    name = os.environ.get("SPT_RUNTIME") or "onnx"
    for runtime in RUNTIMES:
        if runtime == name:
            return runtime
    raise InputError(f"SPT_RUNTIME must be one of {', '.join(RUNTIMES)}, however: {name!r}")


def api_key() -> str | None:
    """The key of the principal who runs this; not an argument, so that no list shows it."""
    key, path = os.environ.get("SPT_API_KEY"), os.environ.get("SPT_API_KEY_FILE")
    return key or (_secret(Path(path), "SPT_API_KEY_FILE") if path else None)


def is_authenticated() -> bool:
    """Whether every route of the service wants a key."""
    return _switch("SPT_AUTHENTICATION")


def tls_files() -> tuple[str, str] | None:
    """The service's certificate chain and its key, PEM files that fit; None where it has none."""
    certificate, key = os.environ.get("SPT_TLS_CERTIFICATE"), os.environ.get("SPT_TLS_KEY")
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise InputError("TLS needs SPT_TLS_CERTIFICATE and SPT_TLS_KEY, however: one is not set")
    _require_private(Path(key), "SPT_TLS_KEY")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, _no_password)
    except (OSError, ValueError) as error:
        raise InputError(
            f"SPT_TLS_CERTIFICATE and SPT_TLS_KEY must be PEM files that fit, however: {error}"
        ) from error
    return str(Path(certificate).absolute()), str(Path(key).absolute())


def connections_per_address() -> int:
    """How many connections HAProxy takes of one address at a time."""
    text = os.environ.get("SPT_CONNECTIONS_PER_ADDRESS") or "512"
    if not text.isdigit() or not 0 < int(text) <= 1_000_000:
        raise InputError(f"SPT_CONNECTIONS_PER_ADDRESS must be 1 to 1000000, however: {text!r}")
    return int(text)


def logs_are_json() -> bool:
    """Whether the service's processes write JSON lines."""
    text = os.environ.get("SPT_LOG_FORMAT") or "text"
    if text not in ("text", "json"):
        raise InputError(f"SPT_LOG_FORMAT must be text or json, however: {text!r}")
    return text == "json"


def service_database_url() -> str | None:
    """The database of the service that this process is a part of; None when nobody has said."""
    return os.environ.get("SPT_SERVICE_DATABASE_URL") or os.environ.get("SPT_DATABASE_URL") or None


def source_secrets(source_ids: Sequence[str]) -> dict[str, str]:
    """The keys of sources whose APIs want one, by source id."""
    secrets = {name: os.environ.get(f"SPT_SECRET_{name.upper()}", "") for name in source_ids}
    return {name: secret for name, secret in secrets.items() if secret}


def actor() -> str:
    """Who runs this, for histories: user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        user = f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def put_environment(variables: dict[str, str]) -> None:
    """Set variables that Ray reads when it starts; what the user has set stays."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def _local(port: int) -> LocalCluster | None:
    """This machine's Ray of the port, which is joined; None where a job starts one for itself."""
    state = recorded(port)
    if state is None or state.kind == "node":
        return None
    if state.trouble and state.kind == "cluster":
        raise InputError(
            f"the cluster of port {port} must run, however: {state.trouble}; `python -m cluster "
            "down` clears what is left of it, `up` starts it again"
        )
    return None if state.trouble else state


def _local_database(root: str) -> str:
    if not root.startswith("file://"):
        raise InputError(
            "a storage root that is not local needs a database, however: SPT_DATABASE_URL is not "
            "set"  # the root may hold a key
        )
    return f"sqlite:///{Path(root.removeprefix('file://')) / 'spt.db'}"


def _amounts(text: str) -> dict[str, float]:
    amounts: dict[str, float] = {}
    for part in filter(None, text.replace(" ", "").split(",")):
        name, _, number = part.partition("=")
        if name not in ("CPU", "GPU") or not number.isdecimal():
            raise InputError(
                f"SPT_SCALES_TO must be such as CPU=32,GPU=2, however: {part!r} is a part of it"
            )
        amounts[name] = float(number)
    return amounts


def _switch(name: str) -> bool:
    text = os.environ.get(name) or "off"
    if text not in ("on", "off"):
        raise InputError(f"{name} must be on or off, however: {text!r}")
    return text == "on"


def _no_password() -> str:
    raise ValueError("the key is encrypted, and nobody is here to type its password")


def _secret(path: Path, variable: str) -> str:
    """What a file holds that its owner alone may read."""
    _require_private(path, variable)
    return path.read_text().strip()


def _require_private(path: Path, variable: str) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise InputError(f"{variable} must name a file, however: {error}") from error
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise InputError(
            f"{variable} must name a file that its owner alone may read (chmod 600), however: "
            f"{path} has the mode {stat.S_IMODE(mode):04o}"
        )


def _serves(text: str) -> bool:
    if text not in ("here", "elsewhere"):
        raise InputError(f"SPT_SERVICE must be here or elsewhere, however: {text!r}")
    return text == "here"


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise InputError(f"SPT_HTTP_PORT must be 1 to 65535, however: {text!r}")
    return int(text)
