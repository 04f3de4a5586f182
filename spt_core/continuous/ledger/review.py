"""The rules of a review that belong to the data.

A decision is for one candidate of one retraining; a new candidate voids it. Who had a part in the
run cannot approve it. When the time is up it is rejected, never promoted.
"""

from __future__ import annotations

import sqlalchemy as sa

from spt_core.continuous.ledger import audit, involvement, principals, retrain
from spt_core.continuous.ledger.transaction import Transaction
from spt_core.continuous.ledger.values import Decision, Retrain, RetrainState, Review
from spt_core.errors import ConflictError, ForbiddenError, InputError
from spt_core.registry.tables import RETRAIN, REVIEW

NOBODY = "deadline"  # who rejects when the time is up
_STATES: dict[Decision, RetrainState] = {"approve": "PROMOTED", "reject": "REJECTED"}


def decide(
    tx: Transaction,
    retrain_id: str,
    candidate_sha: str,
    decision: Decision,
    *,
    reason: str,
    not_before: float = 0.0,
) -> bool:
    """Whether the transaction's actor has decided; False when this was decided so before.

    `not_before` holds the roll-out of what is approved, for a rule that takes effect later.
    """
    principals.require(tx.connection, tx.actor, "reviewer")
    if not reason.strip():
        raise InputError("a decision must have a reason, however: it is empty")
    now = retrain.get(tx.connection, retrain_id)
    _require_candidate(now, candidate_sha)
    key = f"{retrain_id} {candidate_sha}"
    if retrain.repeated(tx.connection, retrain_id, _STATES[decision], key):
        return False
    body = {"candidate_sha": candidate_sha, "reviewer": tx.actor, "reason": reason}
    if decision == "reject":
        moved = retrain.reject(tx, now, key=key, body=body)
    else:
        _require_independent(tx, now)
        held = {"not_before": audit.stamp(not_before)} if not_before else {}
        moved = retrain.promote(
            tx, now, key=key, only="NEEDS_REVIEW", body={**body, **held}, not_before=not_before
        )
    _store(tx, now, decision, tx.actor, reason)
    return moved


def expire(tx: Transaction) -> list[str]:
    """The retrainings rejected because nobody approved them in time."""
    query = sa.select(RETRAIN.c.retrain_id).where(
        RETRAIN.c.state == "NEEDS_REVIEW", RETRAIN.c.deadline <= tx.now_s
    )
    late = sorted(tx.connection.scalars(query))
    for retrain_id in late:
        now = retrain.get(tx.connection, retrain_id)
        reason = "nobody decided in time"
        key = f"{retrain_id} {now.candidate_sha}"
        retrain.reject(tx, now, key=key, body={"reviewer": NOBODY, "reason": reason})
        _store(tx, now, "reject", NOBODY, reason)
    return late


def of(connection: sa.Connection, retrain_id: str) -> list[Review]:
    """The decisions on the retraining's candidates, oldest first."""
    query = sa.select(REVIEW).where(REVIEW.c.retrain_id == retrain_id).order_by(REVIEW.c.at)
    return [Review(**row) for row in connection.execute(query).mappings()]


def _require_candidate(now: Retrain, candidate_sha: str) -> None:
    if not candidate_sha or now.candidate_sha != candidate_sha:
        present = now.candidate_sha or "none yet"
        raise ConflictError(
            f"a decision must be on the present candidate of {now.retrain_id!r}, however: that is "
            f"{present}, not {candidate_sha or 'none'}; look at it and decide again"
        )


def _require_independent(tx: Transaction, now: Retrain) -> None:
    did = involvement.parts(tx.connection, now, tx.actor)
    if did:
        raise ForbiddenError(
            f"who approves must have had no part in the run, however: {tx.actor!r} "
            f"{' and '.join(did)}"
        )
    if now.state == "NEEDS_REVIEW" and now.deadline is not None and now.deadline <= tx.now_s:
        raise ConflictError(
            f"an approval must come in time, however: that of {now.retrain_id!r} ended "
            f"{audit.stamp(now.deadline)}"
        )


def _store(tx: Transaction, now: Retrain, decision: Decision, reviewer: str, reason: str) -> None:
    row = Review(
        retrain_id=now.retrain_id,
        candidate_sha=now.candidate_sha,
        decision=decision,
        reviewer=reviewer,
        reason=reason,
        at=audit.stamp(tx.now_s),
    )
    tx.connection.execute(sa.insert(REVIEW).values(row.to_json()))
