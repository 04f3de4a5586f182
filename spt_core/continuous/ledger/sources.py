"""Sources: how each is polled is a person's configuration, where polling stands is the leader's.

A source with another url, kind or selector loses its validators: they were for another reading.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from spt_core.continuous.ledger import audit, involvement
from spt_core.continuous.ledger.transaction import Transaction
from spt_core.continuous.ledger.values import Source
from spt_core.errors import InputError, NotFoundError, nearest
from spt_core.registry.tables import SOURCE

MAX_WAIT_S = 31 * 86400.0  # a check further off was planned by a clock that has since gone back
FUTURE_S = 60.0  # so was one that is later than now by more than clocks of several hosts differ
CONFIGURATION = ("kind", "url", "selector", "threshold")
POLLING = tuple(c.name for c in SOURCE.c if c.name not in (*CONFIGURATION, "source_id"))
_COLUMNS = tuple(c.name for c in SOURCE.c)
_BY_ID = sa.select(SOURCE).where(SOURCE.c.source_id.in_(sa.bindparam("b_ids", expanding=True)))
_DUE = (
    sa.select(SOURCE)
    .where(
        SOURCE.c.state != "PAUSED",
        sa.or_(
            SOURCE.c.next_check <= sa.bindparam("b_now"),
            SOURCE.c.next_check > sa.bindparam("b_too_far"),
            SOURCE.c.checked_at > sa.bindparam("b_future"),
        ),
    )
    .order_by(SOURCE.c.next_check, SOURCE.c.source_id)
    .limit(sa.bindparam("b_limit"))
)
_STANDING = sa.select(
    SOURCE.c.source_id, SOURCE.c.state, *(SOURCE.c[name] for name in CONFIGURATION)
).where(SOURCE.c.source_id.in_(sa.bindparam("b_ids", expanding=True)))
_SAVE = (
    sa.update(SOURCE)
    .where(SOURCE.c.source_id == sa.bindparam("b_source_id"))
    .values({name: sa.bindparam(f"b_{name}") for name in POLLING})
)


def upsert(tx: Transaction, sources: Sequence[Source]) -> list[str]:
    """The ids of those that were new or whose configuration changed."""
    ids = [source.source_id for source in sources]
    if len(set(ids)) != len(ids):
        twice = sorted({one for one in ids if ids.count(one) > 1})
        raise InputError(f"two sources must not have one id, however: {', '.join(twice)}")
    sources_by_id = by_id(tx.connection, ids)
    return [s.source_id for s in sources if _upsert(tx, s, sources_by_id.get(s.source_id))]


def by_id(connection: sa.Connection, ids: Sequence[str]) -> dict[str, Source]:
    """Those of the sources that exist, by id."""
    return {row.source_id: _source(row) for row in connection.execute(_BY_ID, {"b_ids": ids})}


def standing(connection: sa.Connection, ids: Sequence[str]) -> dict[str, sa.Row[Any]]:
    """State and configuration of those of the sources that exist, by id."""
    return {row.source_id: row for row in connection.execute(_STANDING, {"b_ids": ids})}


def every(connection: sa.Connection) -> list[Source]:
    """All sources, by id."""
    rows = connection.execute(sa.select(SOURCE))
    return sorted(map(_source, rows), key=lambda source: source.source_id)


def due(
    connection: sa.Connection, now_s: float, limit: int, besides: Collection[str]
) -> list[Source]:
    """The sources to check now besides those, the longest overdue first."""
    parameters = {
        "b_now": now_s,
        "b_too_far": now_s + MAX_WAIT_S,
        "b_future": now_s + FUTURE_S,
        "b_limit": limit + len(besides),
    }
    rows = connection.execute(_DUE, parameters).all()
    return [_source(row) for row in rows if row.source_id not in besides][:limit]


def pause(tx: Transaction, source_id: str, *, paused: bool, reason: str) -> bool:
    """Whether the source was not so already; polling keeps its place."""
    source = by_id(tx.connection, [source_id]).get(source_id)
    if source is None:
        ids = (s.source_id for s in every(tx.connection))
        raise NotFoundError(f"there is no source {source_id!r}; {nearest(source_id, ids)}")
    if (source.state == "PAUSED") == paused:
        return False
    state = "PAUSED" if paused else "NEW"
    where = SOURCE.c.source_id == source_id
    values = {"state": state, "next_check": 0.0, "next_reason": reason}
    tx.connection.execute(sa.update(SOURCE).where(where).values(values))
    audit.append(tx, "source.state", {"source_id": source_id, "state": state, "reason": reason})
    return True


def save_polling(
    tx: Transaction, before: Mapping[str, sa.Row[Any]], after: Sequence[Source]
) -> None:
    """Store where polling stands; one that was paused or reconfigured meanwhile keeps that."""
    pairs = [(before[source.source_id], source) for source in after]
    saved = [(b, a) for b, a in pairs if b.state != "PAUSED" and _are_polled_alike(b, a)]
    if not saved:
        return
    rows = [{f"b_{name}": getattr(a, name) for name in ("source_id", *POLLING)} for _, a in saved]
    tx.connection.execute(_SAVE, rows)
    for was, now in saved:
        if was.state != now.state:
            body = {"source_id": now.source_id, "from": was.state, "state": now.state}
            audit.append(tx, "source.state", {**body, "reason": now.next_reason})


def _source(row: sa.Row[Any]) -> Source:
    return Source(**dict(zip(_COLUMNS, row, strict=True)))


def _are_polled_alike(one: Source | sa.Row[Any], other: Source) -> bool:
    """Whether both are polled alike."""
    return all(getattr(one, name) == getattr(other, name) for name in CONFIGURATION)


def _upsert(tx: Transaction, source: Source, row: Source | None) -> bool:
    content = {name: getattr(source, name) for name in CONFIGURATION}
    if row is None:
        tx.connection.execute(sa.insert(SOURCE).values(source.to_json()))
    elif _are_polled_alike(row, source):
        return False
    else:
        fresh = Source(source_id=source.source_id, kind=source.kind, url=source.url)
        moved = any(getattr(row, n) != getattr(source, n) for n in ("kind", "url", "selector"))
        polling = {name: getattr(fresh, name) for name in POLLING} if moved else {}
        if row.state == "PAUSED":
            polling["state"] = "PAUSED"
        where = SOURCE.c.source_id == source.source_id
        tx.connection.execute(sa.update(SOURCE).where(where).values({**content, **polling}))
    body = {"source_id": source.source_id, **content}
    seq = audit.append(tx, "source.configured", body)
    involvement.note(tx, seq, "edited its configuration", f"source:{source.source_id}")
    return True
