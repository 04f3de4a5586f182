"""Effects on the outside: written beside the decision that wants them, made later, at least once.

enqueue (in the deciding transaction) -> claim -> the effect -> done, or retry with backoff. A claim
is only a later `not_before`, so an effect whose maker died comes up again; its key makes it one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from spt_core.continuous.ledger.transaction import Transaction
from spt_core.continuous.ledger.values import OutboxEntry, canonical
from spt_core.registry.tables import OUTBOX

FIRST_BACKOFF_S = 2.0
MAX_BACKOFF_S = 300.0
_OPEN = OUTBOX.c.done_at.is_(None)


def enqueue(
    tx: Transaction, kind: str, key: str, payload: Mapping[str, Any], *, not_before: float = 0.0
) -> None:
    """Ask for an effect; one that was made or is waiting already stays as it is."""
    same = sa.and_(OUTBOX.c.kind == kind, OUTBOX.c.key == key)
    if tx.connection.scalar(sa.select(OUTBOX.c.oid).where(same)) is not None:
        return
    last = tx.connection.scalar(sa.select(sa.func.max(OUTBOX.c.oid))) or 0
    row = {
        "oid": last + 1,
        "kind": kind,
        "key": key,
        "payload": canonical(payload),
        "tries": 0,
        "epoch": 0,
        "not_before": not_before,
        "done_at": None,
        "error": "",
    }
    tx.connection.execute(sa.insert(OUTBOX).values(row))


def claim(tx: Transaction, kinds: Sequence[str], limit: int) -> list[OutboxEntry]:
    """Effects to make now, oldest first; each comes up again after a backoff unless it is done.

    What an earlier leader had claimed comes up at once, and so does what was put off further than
    any backoff: the clock has gone back since.
    """
    tried = sa.and_(
        OUTBOX.c.tries > 0,
        sa.or_(OUTBOX.c.epoch != tx.epoch, OUTBOX.c.not_before > tx.now_s + MAX_BACKOFF_S),
    )
    query = (
        sa.select(OUTBOX)
        .where(_OPEN, OUTBOX.c.kind.in_(kinds), sa.or_(OUTBOX.c.not_before <= tx.now_s, tried))
        .order_by(OUTBOX.c.oid)
        .limit(limit)
    )
    claimed: list[OutboxEntry] = []
    for row in tx.connection.execute(query).mappings().all():
        tries = row["tries"] + 1
        values = {"tries": tries, "epoch": tx.epoch, "not_before": tx.now_s + backoff_s(tries)}
        where = OUTBOX.c.oid == row["oid"]
        tx.connection.execute(sa.update(OUTBOX).where(where).values(values))
        claimed.append(_entry({**row, **values}))
    return claimed


def retry(tx: Transaction, oid: int, error: str) -> bool:
    """Whether the effect was still to be made; its error is kept for people to see."""
    where = sa.and_(OUTBOX.c.oid == oid, _OPEN)
    return tx.connection.execute(sa.update(OUTBOX).where(where).values(error=error)).rowcount == 1


def done(tx: Transaction, kind: str, key: str, *, note: str = "") -> bool:
    """Whether the effect was still to be made; from now on it is not."""
    where = sa.and_(OUTBOX.c.kind == kind, OUTBOX.c.key == key, _OPEN)
    values = {"done_at": tx.now_s, "error": note}
    return tx.connection.execute(sa.update(OUTBOX).where(where).values(values)).rowcount == 1


def reopen(tx: Transaction, kind: str, key: str) -> None:
    """Have an effect made again that was done but is gone from the outside."""
    where = sa.and_(OUTBOX.c.kind == kind, OUTBOX.c.key == key)
    values = {"done_at": None, "not_before": tx.now_s}
    tx.connection.execute(sa.update(OUTBOX).where(where).values(values))


def waiting(connection: sa.Connection) -> list[OutboxEntry]:
    """Every effect that is still to be made, oldest first."""
    query = sa.select(OUTBOX).where(_OPEN).order_by(OUTBOX.c.oid)
    return [_entry(dict(row)) for row in connection.execute(query).mappings()]


def backoff_s(tries: int) -> float:
    """How long an effect rests after its nth try."""
    return min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(tries - 1, 20))


def _entry(row: Mapping[str, Any]) -> OutboxEntry:
    return OutboxEntry(**{**row, "payload": json.loads(row["payload"])})
