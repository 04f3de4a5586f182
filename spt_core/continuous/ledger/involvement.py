"""Who had a part in a retraining: triggered it, or edited its labels or its configuration.

Such a person cannot approve it. An edit counts for the first retraining of its bucket that follows.
"""

from __future__ import annotations

import sqlalchemy as sa

from spt_core.continuous.ledger.transaction import Transaction
from spt_core.continuous.ledger.values import Retrain
from spt_core.registry.tables import INVOLVEMENT, ITEM, RETRAIN


def note(tx: Transaction, audit_seq: int, part: str, subject: str) -> None:
    """Remember that the transaction's actor did `part` to `subject`."""
    row = {"audit_seq": audit_seq, "actor": tx.actor, "part": part, "subject": subject}
    tx.connection.execute(sa.insert(INVOLVEMENT).values(row))


def parts(connection: sa.Connection, retrain: Retrain, actor: str) -> list[str]:
    """What the actor did for the retraining, in words; empty for somebody independent of it."""
    since = _previous(connection, retrain)
    query = (
        sa.select(INVOLVEMENT.c.part, INVOLVEMENT.c.subject)
        .where(INVOLVEMENT.c.actor == actor, INVOLVEMENT.c.audit_seq > since)
        .order_by(INVOLVEMENT.c.audit_seq)
    )
    did = connection.execute(query).all()
    subjects = _subjects(connection, retrain) if did else set[str]()
    return list(dict.fromkeys(row.part for row in did if row.subject in subjects))


def label_subject(source_id: str, item_key: str, rev: int) -> str:
    """The name under which edits of an item's label are remembered."""
    return f"item:{source_id}@{rev}:{item_key}"


def _previous(connection: sa.Connection, retrain: Retrain) -> int:
    """The first audit entry of the bucket's retraining before this one; 0 when there is none."""
    query = sa.select(sa.func.max(RETRAIN.c.audit_seq)).where(
        RETRAIN.c.bucket == retrain.bucket, RETRAIN.c.seq < retrain.seq
    )
    return connection.scalar(query) or 0


def _subjects(connection: sa.Connection, retrain: Retrain) -> set[str]:
    columns = ITEM.c.source_id, ITEM.c.item_key, ITEM.c.rev
    query = sa.select(*columns).where(ITEM.c.trigger_id == retrain.retrain_id)
    items = connection.execute(query).all()
    return {
        f"retrain:{retrain.retrain_id}",
        f"bucket:{retrain.bucket}",
        *(f"source:{row.source_id}" for row in items),
        *(label_subject(row.source_id, row.item_key, row.rev) for row in items),
    }
