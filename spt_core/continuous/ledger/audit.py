"""The append-only log: each entry's hash covers the entry before it, so a change breaks the chain.

It shows tampering to whoever kept an earlier head; it does not prevent it (the database's own
triggers refuse changes, and whoever owns the database can remove them).
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from spt_core.continuous.ledger.transaction import Transaction
from spt_core.continuous.ledger.values import AuditEntry, AuditHead, canonical
from spt_core.errors import CorruptArtifactError
from spt_core.registry.tables import AUDIT

NO_ENTRY = AuditHead(0, "0" * 64)
CLOCK_BACK_S = 60.0  # clocks of several hosts differ by less
_PAGE = 1000
_INSERT = sa.insert(AUDIT)  # making a statement takes longer than running it
_LAST = sa.select(AUDIT).order_by(AUDIT.c.seq.desc()).limit(1)


def append(tx: Transaction, event: str, body: Mapping[str, Any], *, actor: str = "") -> int:
    """The number of the new entry; one before it says so when the clock has gone back."""
    last = _last(tx.connection)
    prev = NO_ENTRY if last is None else AuditHead(last.seq, last.hash)
    if last is not None:
        before = datetime.datetime.fromisoformat(last.at).timestamp()
        if before - tx.now_s > CLOCK_BACK_S:
            back = {"by_s": round(before - tx.now_s, 3), "before": last.at}
            prev = _insert(tx, prev, "clock.back", back, tx.actor)
    return _insert(tx, prev, event, body, actor or tx.actor).seq


def head(connection: sa.Connection) -> AuditHead:
    """The last entry's number and hash; zeros when there is none."""
    last = _last(connection)
    return NO_ENTRY if last is None else AuditHead(last.seq, last.hash)


def verify(connection: sa.Connection, earlier: AuditHead | None = None) -> AuditHead:
    """The head of a sound chain; CorruptArtifactError names the first entry that is not.

    An `earlier` head, kept elsewhere, must be in the chain: this finds entries cut off at its end.
    """
    prev = NO_ENTRY
    for row in _rows(connection, 0):
        fact = _broken(row, prev)
        if fact:
            raise CorruptArtifactError(
                f"the audit chain must be unbroken, however: entry {prev.seq + 1} {fact}"
            )
        prev = AuditHead(row["seq"], row["hash"])
        if earlier is not None and earlier.seq == prev.seq and earlier.hash != prev.hash:
            raise CorruptArtifactError(
                f"the audit chain must hold the head that was exported, however: entry {prev.seq} "
                "has another hash, so it or one before it was rewritten"
            )
    if earlier is not None and earlier.seq > prev.seq:
        raise CorruptArtifactError(
            f"the audit chain must reach the head that was exported, however: entry {prev.seq + 1} "
            f"is missing of {earlier.seq}"
        )
    return prev


def entries(connection: sa.Connection, after: int) -> Iterator[AuditEntry]:
    """The entries that follow number `after`, oldest first."""
    for row in _rows(connection, after):
        yield AuditEntry(**{**row, "body": json.loads(row["body"])})


def last_body(connection: sa.Connection, event: str, key: str, value: str) -> Mapping[str, Any]:
    """The body of the event's latest entry that has this value under `key`; empty for none."""
    query = sa.select(AUDIT.c.body).where(AUDIT.c.event == event).order_by(AUDIT.c.seq.desc())
    bodies = (json.loads(text) for text in connection.scalars(query))
    return next((body for body in bodies if body.get(key) == value), {})


def bodies(connection: sa.Connection, event: str) -> list[Mapping[str, Any]]:
    """The bodies of all entries of the event, oldest first."""
    query = sa.select(AUDIT.c.body).where(AUDIT.c.event == event).order_by(AUDIT.c.seq)
    return [json.loads(text) for text in connection.scalars(query)]


def stamp(now_s: float) -> str:
    """A moment as the log writes it: ISO 8601, UTC, milliseconds."""
    moment = datetime.datetime.fromtimestamp(now_s, datetime.UTC)
    return moment.isoformat(timespec="milliseconds")


def _insert(
    tx: Transaction, prev: AuditHead, event: str, body: Mapping[str, Any], actor: str
) -> AuditHead:
    row = {
        "seq": prev.seq + 1,
        "at": stamp(tx.now_s),
        "actor": actor,
        "event": event,
        "body": canonical(body),
        "prev": prev.hash,
    }
    digest = _hash(row)
    tx.connection.execute(_INSERT, {**row, "hash": digest})
    return AuditHead(prev.seq + 1, digest)


def _broken(row: Mapping[str, Any], prev: AuditHead) -> str:
    if row["seq"] != prev.seq + 1:
        return f"is missing, {row['seq']} follows"
    if row["prev"] != prev.hash:
        return "does not name the hash of the entry before it"
    if row["hash"] != _hash({name: row[name] for name in row if name != "hash"}):
        return "does not match its hash"
    return ""


def _hash(row: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(row).encode()).hexdigest()


def _last(connection: sa.Connection) -> sa.Row[Any] | None:
    return connection.execute(_LAST).first()


def _rows(connection: sa.Connection, after: int) -> Iterator[dict[str, Any]]:
    while True:
        query = sa.select(AUDIT).where(AUDIT.c.seq > after).order_by(AUDIT.c.seq).limit(_PAGE)
        page = [dict(row) for row in connection.execute(query).mappings()]
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1]["seq"]
