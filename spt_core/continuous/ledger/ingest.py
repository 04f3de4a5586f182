"""One transaction per answer: items, validators, trigger, retraining, outbox, audit, or nothing.

SourceResult -> Items -> decide(pending items of a bucket) -> Trigger | None -> Retrain
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import sqlalchemy as sa

from spt_core.continuous.ledger import audit, retrain, sources
from spt_core.continuous.ledger.bucket import obstacle
from spt_core.continuous.ledger.transaction import Transaction
from spt_core.continuous.ledger.values import Item, ItemRef, Retrain, SourceResult, Trigger
from spt_core.errors import InputError, NotFoundError
from spt_core.registry.tables import ITEM

Decide = Callable[[Sequence[Item]], Trigger | None]
MAX_PENDING = 1000
WEEK_S = 7 * 86_400.0
_PAGE = 400  # bound variables in one statement
# A source at a time: asked for pairs of source and key, SQLite reads the whole table.
_REVISIONS = sa.select(ITEM.c.item_key, ITEM.c.rev, ITEM.c.content_sha).where(
    ITEM.c.source_id == sa.bindparam("b_source"),
    ITEM.c.item_key.in_(sa.bindparam("b_keys", expanding=True)),
    ITEM.c.detected_at < sa.bindparam("b_before"),
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Ingested:
    """What came of some answers: items new, revised and known before, and retrainings begun."""

    num_new: int
    num_revised: int
    num_known: int
    retrains: tuple[Retrain, ...]


def ingest(tx: Transaction, results: Sequence[SourceResult], decide: Decide) -> Ingested:
    """Store the answers; `decide` sees the pending items of each bucket that got some."""
    names = [result.source.source_id for result in results]
    if len(set(names)) != len(names):
        raise InputError(f"results must be of different sources, however: {sorted(names)}")
    before = sources.standing(tx.connection, names)
    missing = sorted(set(names) - set(before))
    if missing:
        raise NotFoundError(f"a source must be known to be ingested, however: {missing} are not")
    fresh = [item for result in results for item in _store(tx, result)]
    sources.save_polling(tx, before, [result.source for result in results])
    begun = evaluate(tx, {item.bucket for item in fresh if item.bucket}, decide)
    num_new = sum(item.rev == 1 for item in fresh)
    return Ingested(
        num_new=num_new,
        num_revised=len(fresh) - num_new,
        num_known=sum(len(result.items) for result in results) - len(fresh),
        retrains=tuple(begun),
    )


def fresh(
    connection: sa.Connection, results: Sequence[SourceResult], before_s: float
) -> list[SourceResult]:
    """The answers without the items that were known before with that very content."""
    return [_fresh(connection, result, before_s) if result.items else result for result in results]


def _fresh(connection: sa.Connection, result: SourceResult, before_s: float) -> SourceResult:
    revisions = _latest(connection, result, before_s)
    items = (i for i in result.items if revisions.get(i.item_key, (0, ""))[1] != i.content_sha)
    return dataclasses.replace(result, items=tuple(items))


def weekly(connection: sa.Connection, now_s: float) -> dict[str, float]:
    """New items a week by source, as far as they came after its first answer.

    A source whose first answer is younger than a day has no rate yet.
    """
    first = (
        sa.select(ITEM.c.source_id, sa.func.min(ITEM.c.detected_at).label("at"))
        .group_by(ITEM.c.source_id)
        .subquery()
    )
    later = sa.and_(ITEM.c.detected_at > first.c.at, ITEM.c.detected_at > now_s - WEEK_S)
    query = (
        sa.select(first.c.source_id, first.c.at, sa.func.count(ITEM.c.item_key).label("number"))
        .select_from(first)
        .outerjoin(ITEM, sa.and_(ITEM.c.source_id == first.c.source_id, later))
        .group_by(first.c.source_id, first.c.at)
    )
    return {
        row.source_id: row.number * WEEK_S / min(now_s - row.at, WEEK_S)
        for row in connection.execute(query)
        if now_s - row.at >= WEEK_S / 7
    }


def evaluate(tx: Transaction, buckets: Iterable[str], decide: Decide) -> list[Retrain]:
    """The retrainings that `decide` calls for; a frozen bucket or one under way is left alone."""
    begun: list[Retrain] = []
    for bucket in sorted(buckets):
        if obstacle(tx.connection, bucket):
            continue
        waiting = pending(tx.connection, bucket)
        trigger = decide(waiting) if waiting else None
        if trigger is not None:
            begun.append(begin(tx, trigger, waiting))
    return begun


def begin(tx: Transaction, trigger: Trigger, waiting: Sequence[Item]) -> Retrain:
    """The retraining that the trigger begins; its items must be among those that wait."""
    items_by_ref = {item.ref: item for item in waiting if item.bucket == trigger.bucket}
    missing = [ref for ref in trigger.items if ref not in items_by_ref]
    if missing:
        raise InputError(
            f"a trigger's items must be waiting in bucket {trigger.bucket!r}, however: "
            f"{len(missing)} are not, such as {tuple(missing[0])}"
        )
    begun = retrain.begin(tx, trigger, [items_by_ref[ref] for ref in trigger.items])
    _assign(tx, begun.retrain_id, trigger.items)
    return begun


def pending(connection: sa.Connection, bucket: str) -> list[Item]:
    """Items that wait for a retraining, in order of detection, without text; latest revisions.

    Of each source the first MAX_PENDING: a flood must not keep the others from being seen.
    """
    rows = connection.execute(_PENDING, {"b_bucket": bucket}).mappings()
    return sorted((Item(**row) for row in rows), key=lambda item: (item.detected_at, item.ref))


def waiting(connection: sa.Connection, bucket: str) -> tuple[dict[str, int], float | None]:
    """How many items wait by source, superseded revisions too, and since when the oldest does."""
    query = (
        sa.select(ITEM.c.source_id, sa.func.count(), sa.func.min(ITEM.c.detected_at))
        .where(ITEM.c.bucket == bucket, ITEM.c.trigger_id == "")
        .group_by(ITEM.c.source_id)
    )
    rows = connection.execute(query).all()
    return {row[0]: row[1] for row in rows}, min((row[2] for row in rows), default=None)


def waiting_buckets(connection: sa.Connection) -> list[str]:
    """The buckets that have unassigned items."""
    query = sa.select(ITEM.c.bucket).where(ITEM.c.trigger_id == "", ITEM.c.bucket > "")
    return sorted(connection.scalars(query.distinct()))


def _store(tx: Transaction, result: SourceResult) -> list[Item]:
    """The revisions that were added: of keys that are new, and of keys whose content changed."""
    revisions = _latest(tx.connection, result, math.inf)
    fresh: list[Item] = []
    for item in result.items:
        rev, content_sha = revisions.get(item.item_key, (0, ""))
        if content_sha != item.content_sha:
            moment = item.detected_at or tx.now_s
            fresh.append(dataclasses.replace(item, rev=rev + 1, detected_at=moment, trigger_id=""))
    if fresh:
        tx.connection.execute(sa.insert(ITEM), [item.to_json() for item in fresh])
        source = result.source
        body = {
            "source_id": source.source_id,
            "items": [[item.item_key, item.rev, item.content_sha] for item in fresh],
            "etag": source.etag,
            "last_modified": source.last_modified,
            "body_sha": source.body_sha,
            "epoch": tx.epoch,
        }
        audit.append(tx, "items.ingested", body)
    return fresh


def _latest(
    connection: sa.Connection, result: SourceResult, before_s: float
) -> dict[str, tuple[int, str]]:
    """Per key of the answer that was known before: its latest revision's number and content."""
    keys = [item.item_key for item in result.items]
    revisions: dict[str, tuple[int, str]] = {}
    for start in range(0, len(keys), _PAGE):
        parameters = {
            "b_source": result.source.source_id,
            "b_keys": keys[start : start + _PAGE],
            "b_before": before_s,
        }
        rows = connection.execute(_REVISIONS, parameters).all()
        revisions |= {r.item_key: (r.rev, r.content_sha) for r in sorted(rows, key=lambda r: r.rev)}
    return revisions


def _assign(tx: Transaction, retrain_id: str, refs: Sequence[ItemRef]) -> None:
    """Give the items to the retraining; revisions that they replaced stay without one."""
    ours = sa.and_(
        ITEM.c.source_id == sa.bindparam("b_source"),
        ITEM.c.item_key == sa.bindparam("b_key"),
        ITEM.c.rev == sa.bindparam("b_rev"),
        ITEM.c.trigger_id == "",
    )
    rows = [{"b_source": ref[0], "b_key": ref[1], "b_rev": ref[2]} for ref in refs]
    tx.connection.execute(sa.update(ITEM).where(ours).values(trigger_id=retrain_id), rows)


def _pending_query() -> sa.Executable:
    newer = ITEM.alias()
    superseded = sa.exists().where(
        newer.c.source_id == ITEM.c.source_id,
        newer.c.item_key == ITEM.c.item_key,
        newer.c.rev > ITEM.c.rev,
    )
    place = sa.func.row_number().over(
        partition_by=ITEM.c.source_id, order_by=(ITEM.c.detected_at, ITEM.c.item_key)
    )
    columns = [column for column in ITEM.c if column.name != "text"]
    waiting = (
        sa.select(*columns, place.label("place"))
        .where(ITEM.c.bucket == sa.bindparam("b_bucket"), ITEM.c.trigger_id == "")
        .where(sa.not_(superseded))
        .subquery()
    )
    selection = [waiting.c[column.name] for column in columns]
    return sa.select(*selection).where(waiting.c.place <= MAX_PENDING)


_PENDING = _pending_query()  # making it takes longer than asking it
