"""The transitions: each is UPDATE ... WHERE state = :from, with its key, effect and audit entry.

DETECTED -> QUEUED -> SUBMITTED -> TRAINED -> EVALUATED -> (NEEDS_REVIEW) -> PROMOTED -> DEPLOYED

A transition that is repeated with its key changes nothing and says so (False); one that the table
does not allow is refused (ConflictError). The champion is compared at promotion and at deployment.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from spt_core.continuous.ledger import audit, bucket, claim, involvement, outbox
from spt_core.continuous.ledger.transaction import Transaction
from spt_core.continuous.ledger.values import (
    RETRAIN_STATES,
    TRANSITIONS,
    Item,
    Retrain,
    RetrainState,
    Transition,
    Trigger,
    Verdict,
    canonical,
    submission_id,
)
from spt_core.errors import ConflictError, InputError, NotFoundError, nearest
from spt_core.registry.tables import RETRAIN, TRANSITION

SUBMIT, DEPLOY, ROLL_BACK = "submit", "deploy", "rollback"
DISCARDED = "discarded"  # the key of a rejection that neither the gate nor a review has made


def get(connection: sa.Connection, retrain_id: str) -> Retrain:
    """The retraining; NotFoundError when there is none."""
    query = sa.select(RETRAIN).where(RETRAIN.c.retrain_id == retrain_id)
    row = connection.execute(query).mappings().first()
    if row is None:
        ids = connection.scalars(sa.select(RETRAIN.c.retrain_id))
        raise NotFoundError(f"there is no retraining {retrain_id!r}; {nearest(retrain_id, ids)}")
    return _retrain(dict(row))


def num_by_state(connection: sa.Connection) -> dict[RetrainState, int]:
    """How many are in each state, 0 where none is."""
    query = sa.select(RETRAIN.c.state, sa.func.count()).group_by(RETRAIN.c.state)
    numbers = {row[0]: row[1] for row in connection.execute(query)}
    return {state: numbers.get(state, 0) for state in RETRAIN_STATES}


def select(connection: sa.Connection, **values: RetrainState | str | None) -> list[Retrain]:
    """The retrainings whose columns have these values (None: any), oldest first."""
    where = [RETRAIN.c[name] == value for name, value in values.items() if value is not None]
    query = sa.select(RETRAIN).where(*where).order_by(RETRAIN.c.audit_seq)
    return [_retrain(dict(row)) for row in connection.execute(query).mappings()]


def transitions(connection: sa.Connection, retrain_id: str) -> list[Transition]:
    """Every move of the retraining, oldest first."""
    query = sa.select(TRANSITION).where(TRANSITION.c.retrain_id == retrain_id)
    rows = connection.execute(query.order_by(TRANSITION.c.audit_seq)).mappings()
    return [Transition(**row) for row in rows]


def begin(tx: Transaction, trigger: Trigger, items: Sequence[Item]) -> Retrain:
    """The next retraining of the bucket: QUEUED, or DETECTED where the trigger says to hold it."""
    query = sa.select(sa.func.max(RETRAIN.c.seq)).where(RETRAIN.c.bucket == trigger.bucket)
    seq = (tx.connection.scalar(query) or 0) + 1
    retrain_id = f"{trigger.bucket}-{seq}"
    manifest = sorted([*item.ref, item.content_sha] for item in items)
    manifest_sha = hashlib.sha256(canonical(manifest).encode()).hexdigest()
    body = {
        "retrain_id": retrain_id,
        "manifest_sha": manifest_sha,
        "items": manifest,
        "reason": trigger.reason,
        "risk_tier": trigger.risk_tier,
        "hold": trigger.hold,
    }
    audit_seq = audit.append(tx, "retrain.DETECTED", body)
    row = {
        **dict.fromkeys(_TEXTS, ""),
        "retrain_id": retrain_id,
        "bucket": trigger.bucket,
        "seq": seq,
        "state": "DETECTED",
        "attempt": 1,
        "submission_id": None,
        "manifest_sha": manifest_sha,
        "evaluation": "{}",
        "risk_tier": trigger.risk_tier,
        "deadline": None,
        "triggered_by": tx.actor,
        "reason": trigger.reason,
        "audit_seq": audit_seq,
    }
    tx.connection.execute(sa.insert(RETRAIN).values(row))
    involvement.note(tx, audit_seq, "triggered it", f"retrain:{retrain_id}")
    if not trigger.hold:
        queue(tx, retrain_id)
    return get(tx.connection, retrain_id)


def queue(tx: Transaction, retrain_id: str) -> bool:
    """DETECTED -> QUEUED: the submission gets its id, and is asked for."""
    return _queue(tx, get(tx.connection, retrain_id), attempt=1, why="", only=("DETECTED",))


def queue_again(tx: Transaction, retrain_id: str, why: str, *, manifest_sha: str = "") -> bool:
    """-> QUEUED with the next attempt, which voids the candidate and any approval of it.

    A failed run may be tried again, and a finished one when its labels or data were edited (then
    the manifest has another sha); never while a run may still be at work.
    """
    _require_reason(why)
    now = get(tx.connection, retrain_id)
    only: tuple[RetrainState, ...] = ("FAILED", "TRAINED", "EVALUATED", "NEEDS_REVIEW")
    if now.state not in only:
        raise ConflictError(
            f"only a run that has ended can be tried again, however: {retrain_id!r} is {now.state}"
        )
    if now.state == "FAILED" and (why_not := bucket.obstacle(tx.connection, now.bucket)):
        raise ConflictError(f"a bucket must be free for another try, however: {why_not}")
    claim.require_ended(tx, now.submission_id or "")
    seq = audit.append(tx, "retrain.tried_again", {"retrain_id": retrain_id, "why": why})
    involvement.note(tx, seq, "triggered it", f"retrain:{retrain_id}")
    again = {"manifest_sha": manifest_sha} if manifest_sha else {}
    return _queue(tx, now, attempt=now.attempt + 1, why=why, only=only, **again)


def submitted(tx: Transaction, submission: str) -> bool:
    """QUEUED -> SUBMITTED: the job is known to have been accepted."""
    now = by_submission(tx.connection, submission)
    outbox.done(tx, SUBMIT, submission)
    return _move(tx, now, "SUBMITTED", key=submission)


def trained(tx: Transaction, submission: str) -> bool:
    """SUBMITTED -> TRAINED: the run's claim holds its result, which becomes the candidate."""
    run_claim = claim.get(tx.connection, submission)
    if run_claim is None or not run_claim.result_uri:
        raise ConflictError(
            f"a run must have stored its result to be trained, however: {submission!r} has not"
        )
    changes = {"candidate_sha": run_claim.artifact_sha, "result_uri": run_claim.result_uri}
    now = by_submission(tx.connection, submission)
    key = f"{run_claim.result_uri} {run_claim.artifact_sha}"
    return _move(tx, now, "TRAINED", key=key, changes=changes)


def failed(tx: Transaction, submission: str, reason: str) -> bool:
    """SUBMITTED -> FAILED: the job system says so, and there is no live claim and no result."""
    now = by_submission(tx.connection, submission)
    if now.state == "SUBMITTED":
        claim.require_ended(tx, submission)
        run_claim = claim.get(tx.connection, submission)
        if run_claim is not None and run_claim.result_uri:
            raise ConflictError(
                f"a run that stored its result has not failed, however: {submission!r} did"
            )
    return _move(tx, now, "FAILED", key=submission, body={"reason": reason})


def resubmit(tx: Transaction, submission: str) -> None:
    """Have a job submitted again, under its same id, that the job system has forgotten."""
    now = by_submission(tx.connection, submission)
    claim.require_ended(tx, submission)
    if now.state == "SUBMITTED":
        outbox.reopen(tx, SUBMIT, submission)
        body = {"retrain_id": now.retrain_id, "submission_id": submission}
        audit.append(tx, "retrain.resubmitted", body)


def evaluated(
    tx: Transaction,
    retrain_id: str,
    *,
    candidate_version: str,
    champion_before: str,
    evaluation_set_sha: str,
    evaluation: Mapping[str, Any],
) -> bool:
    """TRAINED -> EVALUATED; also again, when the champion or the evaluation set has changed."""
    now = get(tx.connection, retrain_id)
    changes = {
        "candidate_version": candidate_version,
        "champion_before": champion_before,
        "evaluation": canonical(evaluation),
    }
    bucket.parsed_version(candidate_version)
    key = f"{now.candidate_sha} {champion_before or '-'} {evaluation_set_sha}"
    return _move(tx, now, "EVALUATED", key=key, changes=changes, body={"evaluation": evaluation})


def judge(
    tx: Transaction,
    retrain_id: str,
    to: Verdict,
    *,
    verdict: Mapping[str, Any],
    deadline: float | None = None,
    not_before: float = 0.0,
) -> bool:
    """EVALUATED -> NEEDS_REVIEW, PROMOTED or REJECTED, as the gate says."""
    if (to == "NEEDS_REVIEW") != (deadline is not None):
        raise InputError(f"a review, and nothing else, has a deadline, however: {to} {deadline=}")
    now = get(tx.connection, retrain_id)
    content = canonical([now.candidate_sha, verdict])
    key = hashlib.sha256(content.encode()).hexdigest()
    if to == "PROMOTED":
        return promote(tx, now, key=key, only="EVALUATED", body=verdict, not_before=not_before)
    return _move(
        tx, now, to, key=key, changes={"deadline": deadline}, body=verdict, only=("EVALUATED",)
    )


def promote(
    tx: Transaction,
    now: Retrain,
    *,
    key: str,
    only: RetrainState,
    body: Mapping[str, Any],
    not_before: float = 0.0,
) -> bool:
    """-> PROMOTED, if the champion still is the one that the candidate was compared with."""
    if not repeated(tx.connection, now.retrain_id, "PROMOTED", key):
        bucket.require_thawed(tx.connection, now.bucket)
        bucket.require_champion(tx.connection, now, now.champion_before)
    moved = _move(tx, now, "PROMOTED", key=key, body=body, only=(only,))
    if moved:
        payload = {
            "retrain_id": now.retrain_id,
            "candidate_version": now.candidate_version,
            "candidate_sha": now.candidate_sha,
            "champion_before": now.champion_before,
        }
        outbox.enqueue(tx, DEPLOY, now.retrain_id, payload, not_before=not_before)
    return moved


def reject(tx: Transaction, now: Retrain, *, key: str, body: Mapping[str, Any]) -> bool:
    """NEEDS_REVIEW -> REJECTED."""
    return _move(tx, now, "REJECTED", key=key, body=body, only=("NEEDS_REVIEW",))


def discard(tx: Transaction, retrain_id: str, reason: str) -> bool:
    """-> REJECTED of one that was held, has failed, or cannot be judged: its bucket is free.

    Its publications stay with it and trigger nothing more; never while a run may still be at work.
    """
    _require_reason(reason)
    now = get(tx.connection, retrain_id)
    claim.require_ended(tx, now.submission_id or "")
    only: tuple[RetrainState, ...] = ("DETECTED", "FAILED", "TRAINED", "EVALUATED")
    return _move(tx, now, "REJECTED", key=DISCARDED, body={"reason": reason}, only=only)


def deployed(tx: Transaction, retrain_id: str, deployment_id: str) -> bool:
    """PROMOTED -> DEPLOYED: the registry's champion is the candidate, and Serve was read back."""
    now = get(tx.connection, retrain_id)
    if now.state == "PROMOTED":
        bucket.require_champion(tx.connection, now, now.candidate_version)
    outbox.done(tx, DEPLOY, retrain_id)
    key = f"{now.champion_before or '-'} {now.candidate_version} {deployment_id}"
    return _move(tx, now, "DEPLOYED", key=key, changes={"deployment_id": deployment_id})


def rolled_back(tx: Transaction, retrain_id: str, deployment_id: str, reason: str) -> bool:
    """DEPLOYED (or PROMOTED) -> ROLLED_BACK: return to champion_before; the bucket is frozen."""
    now = get(tx.connection, retrain_id)
    if now.state == "DEPLOYED":
        bucket.require_champion(tx.connection, now, now.candidate_version, now.champion_before)
    moved = _move(tx, now, "ROLLED_BACK", key=deployment_id, body={"reason": reason})
    if moved:
        outbox.done(tx, DEPLOY, retrain_id, note="overtaken by the rollback")
        payload = {
            "retrain_id": retrain_id,
            "deployment_id": deployment_id,
            "candidate_version": now.candidate_version,
            "champion_before": now.champion_before,
        }
        outbox.enqueue(tx, ROLL_BACK, f"{retrain_id} {deployment_id}", payload)
        bucket.freeze(tx, now, f"{retrain_id} was rolled back: {reason}")
    return moved


def repeated(connection: sa.Connection, retrain_id: str, to: RetrainState, key: str) -> bool:
    """Whether the retraining has made this very move before."""
    query = sa.select(TRANSITION.c.key).where(
        TRANSITION.c.retrain_id == retrain_id, TRANSITION.c.to_state == to, TRANSITION.c.key == key
    )
    return connection.scalar(query) is not None


def by_submission(connection: sa.Connection, submission: str) -> Retrain:
    """The retraining whose present attempt has this id; ConflictError for an outdated attempt."""
    query = sa.select(RETRAIN).where(RETRAIN.c.submission_id == submission)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise ConflictError(
            f"a submission must be the present attempt of a retraining, however: {submission!r} is "
            "not, or no longer"
        )
    return _retrain(dict(row))


def _queue(
    tx: Transaction,
    now: Retrain,
    *,
    attempt: int,
    why: str,
    only: tuple[RetrainState, ...],
    manifest_sha: str = "",
) -> bool:
    manifest_sha = manifest_sha or now.manifest_sha
    submission = submission_id(now.bucket, now.seq, attempt, manifest_sha)
    changes = {
        "attempt": attempt,
        "submission_id": submission,
        "manifest_sha": manifest_sha,
        "candidate_sha": "",
        "candidate_version": "",
        "result_uri": "",
        "evaluation": "{}",
        "deadline": None,
    }
    moved = _move(tx, now, "QUEUED", key=submission, changes=changes, body={"why": why}, only=only)
    if moved:
        payload = {
            "submission_id": submission,
            "retrain_id": now.retrain_id,
            "bucket": now.bucket,
            "seq": now.seq,
            "attempt": attempt,
            "manifest_sha": manifest_sha,
        }
        outbox.enqueue(tx, SUBMIT, submission, payload)
    return moved


def _move(
    tx: Transaction,
    now: Retrain,
    to: RetrainState,
    *,
    key: str,
    changes: Mapping[str, Any] | None = None,
    body: Mapping[str, Any] | None = None,
    only: tuple[RetrainState, ...] = (),
) -> bool:
    """Whether the retraining moved; False when it has made this very move before."""
    if repeated(tx.connection, now.retrain_id, to, key):
        return False
    if to not in TRANSITIONS[now.state] or (only and now.state not in only):
        raise ConflictError(
            f"a retraining must be {_origins(to, only)} to become {to}, however: "
            f"{now.retrain_id!r} is {now.state}"
        )
    ours = sa.and_(RETRAIN.c.retrain_id == now.retrain_id, RETRAIN.c.state == now.state)
    update = sa.update(RETRAIN).where(ours).values(state=to, **(changes or {}))
    if tx.connection.execute(update).rowcount != 1:
        raise ConflictError(f"{now.retrain_id!r} must still be {now.state}, however: it moved on")
    entry = {"retrain_id": now.retrain_id, "from": now.state, "key": key, "epoch": tx.epoch}
    entry |= {"attempt": now.attempt, **(changes or {}), "body": dict(body or {})}
    row = {
        "retrain_id": now.retrain_id,
        "to_state": to,
        "key": key,
        "from_state": now.state,
        "actor": tx.actor,
        "audit_seq": audit.append(tx, f"retrain.{to}", entry),
    }
    tx.connection.execute(sa.insert(TRANSITION).values(row))
    return True


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise InputError("what a person does to a run must have a reason, however: it is empty")


def _origins(to: RetrainState, only: tuple[RetrainState, ...]) -> str:
    return " or ".join(only or [state for state, ends in TRANSITIONS.items() if to in ends])


def _retrain(row: Mapping[str, Any]) -> Retrain:
    return Retrain(**{**row, "evaluation": json.loads(row["evaluation"])})


_TEXTS = ("result_uri", "candidate_sha", "candidate_version", "champion_before", "deployment_id")
