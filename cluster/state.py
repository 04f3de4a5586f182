"""What runs on this machine for a service's port, as later commands find it.

`python -m cluster up`, and a job that serves, write cluster.json into the private folder of their
SPT_HTTP_PORT; whoever starts later with the same port joins the Ray that it names. A process is
known by pid, start time and boot: a pid alone is given to others after it has ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

from spt_core.artifacts import digest
from spt_core.errors import ConflictError

FOLDER_PREFIX = "spt-ray-"  # short: paths of sockets end at 107 characters
STATE_FILE = "cluster.json"
_OWNER_FILE = "owner.json"
_NEW_S = 86_400.0  # a folder that names no owner is not judged before
Kind = Literal["cluster", "run", "node"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """One process of one boot: `started` is the kernel's start time in ticks since that boot."""

    pid: int
    started: int
    boot: str

    @property
    def end(self) -> str:
        """Why it is not there any more; empty while it is."""
        if self.boot != _boot():
            return "the machine was started again since"
        started = _started(self.pid)
        if started is None:
            return f"process {self.pid} has ended"
        if started != self.started:
            return f"process {self.pid} is another one by now"
        return ""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LocalCluster:
    """A Ray that this machine's later commands may join.

    A `cluster` stays until `down`, a `run` is a job that serves until it is interrupted, a `node`
    is a worker of another machine's cluster, which nobody joins here. `folder` is Ray's temporary
    folder, `database` the digest of the registry's URL, which may hold a password.
    """

    kind: Kind
    address: str
    dashboard: str
    process: Process
    nodes: tuple[Process, ...] = ()
    folder: str
    host: str = "127.0.0.1"
    storage: str = ""
    database: str = ""

    @property
    def trouble(self) -> str:
        """Why nobody can join it; empty while it runs."""
        return self.process.end


def process_of(pid: int) -> Process:
    """A process that runs now."""
    return Process(pid=pid, started=_started(pid) or 0, boot=_boot())


def private_folder(port: int) -> Path:
    """A short path of this user's own: socket paths end at 107 characters."""
    folder = _folder_of(port)
    folder.mkdir(mode=0o700, exist_ok=True)
    if not _is_private(folder):
        raise ConflictError(f"{folder} must be a private folder of this user, however: it is not")
    return folder


def recorded(port: int) -> LocalCluster | None:
    """What was started for the port, whether it runs still or not; None for nothing.

    A folder that another user could have made says nothing.
    """
    file = _folder_of(port) / STATE_FILE
    if not file.exists() or not _is_private(file.parent):
        return None
    try:
        content = json.loads(file.read_text())
        process, nodes = Process(**content.pop("process")), content.pop("nodes")
        return LocalCluster(**content, process=process, nodes=tuple(Process(**n) for n in nodes))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConflictError(
            f"{file} must say what runs, however: it cannot be read ({error}); end what it named, "
            "and remove it"
        ) from error


def record(port: int, state: LocalCluster) -> None:
    """Say what runs; the file is whole, or is not there."""
    write_private(private_folder(port) / STATE_FILE, dataclasses.asdict(state))


def forget(port: int) -> None:
    """Nothing runs any more."""
    (_folder_of(port) / STATE_FILE).unlink(missing_ok=True)


def write_private(path: Path, content: Any) -> None:
    """A JSON file for its owner alone, replaced whole."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump(content, file)
    Path(file.name).replace(path)


def database_digest(url: str) -> str:
    """What tells two registries apart and shows neither."""
    return digest([url])


def new_folder() -> Path:
    """Ray's temporary folder for a Ray that this process owns, until `owned_by` says otherwise."""
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    owned_by(folder, process_of(os.getpid()))
    return folder


def owned_by(folder: Path, process: Process) -> None:
    """With whom the folder ends."""
    write_private(folder / _OWNER_FILE, dataclasses.asdict(process))


def remove_ended() -> list[Path]:
    """Remove this user's folders of Rays whose owner has ended; which ones."""
    removed: list[Path] = []
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid == os.getuid() and _has_ended(folder):
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder)
    return removed


def _has_ended(folder: Path) -> bool:
    if not stat.S_ISDIR(folder.lstat().st_mode):
        return False
    try:
        return bool(Process(**json.loads((folder / _OWNER_FILE).read_text())).end)
    except (OSError, ValueError, TypeError):
        return time.time() - folder.lstat().st_mtime > _NEW_S


def _folder_of(port: int) -> Path:
    return Path("/tmp") / f"spt-{os.getuid()}-{port}"  # owner and mode are checked


def _is_private(folder: Path) -> bool:
    facts = folder.lstat()
    is_own = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid()
    return is_own and not facts.st_mode & 0o077


def _boot() -> str:
    """The id of this boot; empty where the system has none."""
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text().strip() if file.exists() else ""


def _started(pid: int) -> int | None:
    """The kernel's start time of a running process; None when it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return None if state in "ZX" else int(fields[18])
