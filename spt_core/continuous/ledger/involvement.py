"""Who had a part in a retraining: triggered it, or edited its labels or its configuration.

Such a person cannot approve it. A label counts for the run that its item belongs to, whenever it
was given. An edit of a configuration counts for every run that began while it was in force, until
another's edit replaced it, and for one that it reached before there was a decision.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from spt_core.continuous.ledger.transaction import Transaction
from spt_core.continuous.ledger.values import Retrain
from spt_core.registry.tables import AUDIT, INVOLVEMENT, ITEM, TRANSITION

CONFIGURED = "edited its configuration"


def note(tx: Transaction, audit_seq: int, part: str, subject: str) -> None:
    """Remember that the transaction's actor did `part` to `subject`."""
    row = {"audit_seq": audit_seq, "actor": tx.actor, "part": part, "subject": subject}
    tx.connection.execute(sa.insert(INVOLVEMENT).values(row))


def parts(connection: sa.Connection, retrain: Retrain, actor: str) -> list[str]:
    """What the actor did for the retraining, in words; empty for somebody independent of it."""
    query = (
        sa.select(INVOLVEMENT.c.part, INVOLVEMENT.c.subject, INVOLVEMENT.c.audit_seq)
        .where(INVOLVEMENT.c.actor == actor)
        .order_by(INVOLVEMENT.c.audit_seq)
    )
    did = connection.execute(query).all()
    if not did:
        return []
    subjects, decided = _subjects(connection, retrain), _decided(connection, retrain)
    ours = [row for row in did if row.subject in subjects and row.audit_seq < decided]
    is_edit = any(row.part == CONFIGURED for row in ours)
    in_force = _in_force(connection, subjects, retrain.audit_seq) if is_edit else set[int]()
    return list(
        dict.fromkeys(
            row.part
            for row in ours
            if row.part != CONFIGURED
            or row.audit_seq > retrain.audit_seq
            or row.audit_seq in in_force
        )
    )


def label_subject(source_id: str, item_key: str, rev: int) -> str:
    """The name under which edits of an item's label are remembered."""
    return f"item:{source_id}@{rev}:{item_key}"


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


def _decided(connection: sa.Connection, retrain: Retrain) -> float:
    """The audit entry of the decision, after which nobody takes part; infinity before there is."""
    query = sa.select(sa.func.max(TRANSITION.c.audit_seq)).where(
        TRANSITION.c.retrain_id == retrain.retrain_id,
        TRANSITION.c.to_state.in_(("PROMOTED", "REJECTED")),
    )
    return connection.scalar(query) or math.inf


def _in_force(connection: sa.Connection, subjects: Collection[str], at: int) -> set[int]:
    """The audit entries whose edits of these configurations were in force at entry `at`."""
    query = (
        sa.select(INVOLVEMENT.c.subject, AUDIT.c.seq, AUDIT.c.body)
        .join(AUDIT, AUDIT.c.seq == INVOLVEMENT.c.audit_seq)
        .where(INVOLVEMENT.c.part == CONFIGURED, AUDIT.c.seq < at)
        .order_by(AUDIT.c.seq)
    )
    content: dict[str, Mapping[str, Any]] = {}
    by_key: dict[tuple[str, str], int] = {}
    for row in connection.execute(query):
        if row.subject in subjects:
            before, now = content.get(row.subject, {}), _configuration(json.loads(row.body))
            for key in {*before, *now}:
                if before.get(key) != now.get(key):
                    by_key[row.subject, key] = row.seq
            content[row.subject] = now
    return set(by_key.values())


def _configuration(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an audit entry says that was configured, by key: each is somebody's edit."""
    if "bucket" in body:
        return body["body"]
    return {key: body[key] for key in body if key != "source_id"}
