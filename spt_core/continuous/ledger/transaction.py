"""Who may write, and what a writing step is handed: the open transaction, its moment, its actor.

A leader writes with a Fence: the transaction first updates his lease WHERE owner and epoch are
still his, so one who was frozen past his time writes nothing (FencedError), whatever he believes.
"""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa

from spt_core.errors import FencedError
from spt_core.registry.lease import Lease, is_held
from spt_core.registry.tables import LEASE

LEADER = "watcher"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Fence:
    """Proof of leadership: the lease's name, owner and epoch as they were when it was taken."""

    name: str
    owner: str
    epoch: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Transaction:
    """An open write transaction; `now_s` is by the clock that all hosts share."""

    connection: sa.Connection
    now_s: float
    actor: str
    epoch: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Leader:
    """Who leads or led last; `expires_s` is when it runs out unless renewed, or was released."""

    owner: str
    epoch: int
    since_s: float
    expires_s: float
    is_alive: bool


def leader(connection: sa.Connection, now_s: float) -> Leader | None:
    """The leader now or before; None when there never was one."""
    row = connection.execute(sa.select(LEASE).where(LEASE.c.name == LEADER)).first()
    if row is None:
        return None
    return Leader(
        owner=row.owner,
        epoch=row.epoch,
        since_s=row.since_s,
        expires_s=row.expires_s,
        is_alive=is_held(row, now_s),
    )


def fence_of(lease: Lease) -> Fence:
    """The fence of a lease that is held."""
    return Fence(name=lease.name, owner=lease.owner, epoch=lease.epoch)


def require_leader(connection: sa.Connection, fence: Fence, now_s: float) -> None:
    """Return if the fence is the present leader's; FencedError aborts the transaction otherwise."""
    ours = sa.and_(
        LEASE.c.name == fence.name,
        LEASE.c.owner == fence.owner,
        LEASE.c.epoch == fence.epoch,
        LEASE.c.expires_s > now_s,
    )
    changed = connection.execute(sa.update(LEASE).where(ours).values(epoch=LEASE.c.epoch))
    if changed.rowcount != 1:
        raise FencedError(
            f"the leader {fence.owner} (epoch {fence.epoch}) must still hold the lease "
            f"{fence.name!r} to write, however: {_fact(connection, fence, now_s)}"
        )


def _fact(connection: sa.Connection, fence: Fence, now_s: float) -> str:
    row = connection.execute(sa.select(LEASE).where(LEASE.c.name == fence.name)).first()
    if row is None:
        return "nobody does"
    if (row.owner, row.epoch) != (fence.owner, fence.epoch):
        return f"{row.owner} took it with epoch {row.epoch}"
    return f"it ran out {now_s - row.expires_s:.1f} s ago"
