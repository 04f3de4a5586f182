"""A person's label of one item; who gave it cannot approve the retraining that uses it."""

from __future__ import annotations

import sqlalchemy as sa

from spt_core.continuous.ledger import audit, involvement
from spt_core.continuous.ledger.transaction import Transaction
from spt_core.continuous.ledger.values import ItemRef
from spt_core.errors import NotFoundError
from spt_core.registry.tables import ITEM

HUMAN = "human"


def label(tx: Transaction, ref: ItemRef, label: str) -> None:
    """Set the item's label, as one that a person gave."""
    where = sa.and_(
        ITEM.c.source_id == ref.source_id,
        ITEM.c.item_key == ref.item_key,
        ITEM.c.rev == ref.rev,
    )
    update = sa.update(ITEM).where(where).values(label=label, label_source=HUMAN)
    if tx.connection.execute(update).rowcount != 1:
        raise NotFoundError(f"an item must exist to be labeled, however: {tuple(ref)} does not")
    seq = audit.append(tx, "item.labeled", {"item": list(ref), "label": label})
    involvement.note(tx, seq, "edited its labels", involvement.label_subject(*ref))
