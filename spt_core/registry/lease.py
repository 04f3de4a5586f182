"""The right to be the only one: a row with an owner, an epoch and a time at which it runs out.

`with registry.lease("rollout") as lease:` renews the row from a thread. A lease is free when it was
released, has run out, or belongs to a process of this host that is dead, so after kill -9 the same
command runs again at once. `epoch` grows by one with each holder: whoever stores it beside what he
writes can tell a writer that was frozen past his time (fencing).
"""

from __future__ import annotations

import datetime
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, final

import sqlalchemy as sa

from spt_core.errors import ConflictError, InputError, SptError
from spt_core.registry.database import Database
from spt_core.registry.tables import LEASE


@final
class Lease:
    """Held between `__enter__` and `__exit__`, unless lost on the way; enter it once.

    `lost` is set as soon as the renewing thread finds the lease gone, or could not renew it for
    `ttl_s`; `check` asks the database itself and is what to call before an irreversible step.
    """

    def __init__(
        self, database: Database, name: str, *, owner: str, ttl_s: float, clock: Callable[[], float]
    ) -> None:
        if not name or not owner or not ttl_s > 0:
            raise InputError(
                f"a lease needs a name, an owner and a positive time, however: {name=}, {owner=}, "
                f"{ttl_s=}"
            )
        self.name = name
        self.owner = owner
        self.ttl_s = ttl_s
        self.epoch = 0
        self.lost = threading.Event()
        self._database = database
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease-{name}", daemon=True)

    def __enter__(self) -> Self:
        with self._database.write() as connection:
            now_s = self._database.now_s(connection, self._clock)
            holder = connection.execute(sa.select(LEASE).where(LEASE.c.name == self.name)).first()
            if holder is not None and is_held(holder, now_s):
                raise ConflictError(
                    f"a lease has one holder at a time, however: {_held(holder, now_s)}"
                )
            row = {
                "owner": self.owner,
                "epoch": 1 if holder is None else holder.epoch + 1,
                "since_s": now_s,
                "expires_s": now_s + self.ttl_s,
            }
            if holder is None:
                connection.execute(sa.insert(LEASE).values(name=self.name, **row))
            else:
                connection.execute(sa.update(LEASE).where(LEASE.c.name == self.name).values(**row))
            self.epoch = int(row["epoch"])
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        if not self.lost.is_set():
            self._move_expiry(-1.0)

    def check(self) -> None:
        """Return if the lease is still ours, renewed; else set `lost` and raise ConflictError."""
        if self.epoch == 0:
            raise InputError(
                f"a lease must be entered before it is checked, however: {self.name!r}"
            )
        if self.lost.is_set() or not self._move_expiry(self.ttl_s):
            self.lost.set()
            raise ConflictError(
                f"the lease {self.name!r} must be ours to go on, however: {self._holder()}"
            )

    def _renew(self) -> None:
        renewed_s = time.monotonic()
        try:
            while not self._stop.wait(self.ttl_s / 3):
                try:
                    started_s = time.monotonic()
                    if not self._move_expiry(self.ttl_s):
                        return
                    renewed_s = started_s
                except SptError:  # busy or away: until our time is up, the next beat may do it
                    if time.monotonic() - renewed_s > self.ttl_s:
                        return
        finally:
            if not self._stop.is_set():
                self.lost.set()

    def _move_expiry(self, by_s: float) -> bool:
        """Whether the row was still ours and now runs out in `by_s`."""
        with self._database.write() as connection:
            now_s = self._database.now_s(connection, self._clock)
            ours = sa.and_(
                LEASE.c.name == self.name,
                LEASE.c.owner == self.owner,
                LEASE.c.epoch == self.epoch,
            )
            changed = connection.execute(
                sa.update(LEASE).where(ours).values(expires_s=now_s + by_s)
            )
            return changed.rowcount == 1

    def _holder(self) -> str:
        with self._database.read() as connection:
            now_s = self._database.now_s(connection, self._clock)
            holder = connection.execute(sa.select(LEASE).where(LEASE.c.name == self.name)).first()
        if holder is None or (holder.owner, holder.epoch) == (self.owner, self.epoch):
            return "it could not be renewed in time"
        return _held(holder, now_s)


def process_owner() -> str:
    """`host:pid:starttime` of this process; a later process with the same pid is another owner."""
    pid = os.getpid()
    return f"{socket.gethostname()}:{pid}:{_start_time(pid) or 0}"


def is_held(row: sa.Row[Any], now_s: float) -> bool:
    """Whether a lease's row is somebody's now."""
    return row.expires_s > now_s and not _is_dead(row.owner)


def _is_dead(owner: str) -> bool:
    """Whether the owner is a process of this host that has ended; never guessed for other hosts."""
    host, pid, started = (["", "", ""] + owner.rsplit(":", 2))[-3:]
    if host != socket.gethostname() or not pid.isdigit() or not started.isdigit():
        return False
    if not Path("/proc/self/stat").exists():
        return _is_missing(int(pid))
    return _start_time(int(pid)) != int(started)


def _start_time(pid: int) -> int | None:
    """The kernel's start time of a running process, in ticks since boot; None when it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return None if state in "ZX" else int(fields[18])


def _is_missing(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _held(row: sa.Row[Any], now_s: float) -> str:
    parts = row.owner.rsplit(":", 2)
    who = f"host {parts[0]}, pid {parts[1]}" if len(parts) == 3 else row.owner
    since = datetime.datetime.fromtimestamp(row.since_s, datetime.UTC).isoformat(timespec="seconds")
    left = f"for another {row.expires_s - now_s:.0f} s unless renewed"
    return f"{who} holds the lease {row.name!r} since {since}, {left}"
