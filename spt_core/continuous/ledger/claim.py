"""The training job's claim on its submission id, made in our database before it works.

A job system may run one id twice (after kill -9 of a Ray head it did); the second to come is
refused while the first one's heartbeat is fresh. A holder that was frozen past it finds himself
replaced.
"""

from __future__ import annotations

import sqlalchemy as sa

from spt_core.continuous.ledger import audit
from spt_core.continuous.ledger.transaction import Transaction
from spt_core.continuous.ledger.values import RunClaim
from spt_core.errors import ConflictError, InputError
from spt_core.registry.tables import RETRAIN, RUN_CLAIM


def get(connection: sa.Connection, submission_id: str) -> RunClaim | None:
    """The claim on a submission; None when nobody has made one."""
    query = sa.select(RUN_CLAIM).where(RUN_CLAIM.c.submission_id == submission_id)
    row = connection.execute(query).mappings().first()
    return None if row is None else RunClaim(**row)


def take(tx: Transaction, submission_id: str, host: str, ttl_s: float) -> RunClaim:
    """The claim, ours until `ttl_s` after the last beat; ConflictError says why not to work."""
    if not host or not ttl_s > 0:
        raise InputError(f"a claim needs a host and a positive time, however: {host=}, {ttl_s=}")
    query = sa.select(RETRAIN.c.state).where(RETRAIN.c.submission_id == submission_id)
    state = tx.connection.scalar(query)
    if state not in ("QUEUED", "SUBMITTED"):
        fact = "it is no retraining's present attempt" if state is None else f"it is {state}"
        raise ConflictError(f"{submission_id!r} must be waiting for its run, however: {fact}")
    claim = get(tx.connection, submission_id)
    if claim is not None and claim.result_uri:
        raise ConflictError(
            f"{submission_id!r} must not have run, however: its result is {claim.result_uri}"
        )
    if claim is not None and claim.expires > tx.now_s and claim.host != host:
        raise ConflictError(
            f"{submission_id!r} must be nobody else's, however: {claim.host} is at work on it, "
            f"last heard of {tx.now_s - claim.heartbeat:.0f} s ago"
        )
    if claim is not None and claim.host == host:
        epoch = claim.epoch
    else:
        epoch = 1 if claim is None else claim.epoch + 1
    new_claim = RunClaim(
        submission_id=submission_id,
        host=host,
        epoch=epoch,
        heartbeat=tx.now_s,
        expires=tx.now_s + ttl_s,
        result_uri="",
        artifact_sha="",
    )
    if claim is None:
        tx.connection.execute(sa.insert(RUN_CLAIM).values(new_claim.to_json()))
    else:
        where = RUN_CLAIM.c.submission_id == submission_id
        tx.connection.execute(sa.update(RUN_CLAIM).where(where).values(new_claim.to_json()))
    body = {"submission_id": submission_id, "host": host, "epoch": epoch}
    audit.append(tx, "run.claimed", body, actor=host)
    return new_claim


def beat(tx: Transaction, held: RunClaim) -> None:
    """Renew the claim; ConflictError when it is no longer ours: stop working."""
    ttl_s = held.expires - held.heartbeat
    _change(tx, held, heartbeat=tx.now_s, expires=tx.now_s + ttl_s)


def finish(tx: Transaction, held: RunClaim, result_uri: str, artifact_sha: str) -> None:
    """Store the result, which ends the claim; the same result again changes nothing."""
    if not result_uri or not artifact_sha:
        raise InputError(f"a result has a URI and a sha, however: {result_uri=}, {artifact_sha=}")
    claim = get(tx.connection, held.submission_id)
    if claim is not None and (claim.result_uri, claim.artifact_sha) == (result_uri, artifact_sha):
        return
    _change(tx, held, result_uri=result_uri, artifact_sha=artifact_sha, expires=tx.now_s)
    body = {"submission_id": held.submission_id, "uri": result_uri, "sha": artifact_sha}
    audit.append(tx, "run.finished", body, actor=held.host)


def give_up(tx: Transaction, held: RunClaim, reason: str) -> None:
    """End the claim without a result, so that the next attempt need not wait for it to run out."""
    _change(tx, held, expires=tx.now_s)
    body = {"submission_id": held.submission_id, "reason": reason}
    audit.append(tx, "run.given_up", body, actor=held.host)


def require_ended(tx: Transaction, submission_id: str) -> None:
    """ConflictError while somebody may still be at work on the submission."""
    claim = get(tx.connection, submission_id)
    if claim is not None and claim.expires > tx.now_s:
        raise ConflictError(
            f"a run must be over to be given up, however: {claim.host} claims {submission_id!r} "
            f"for another {claim.expires - tx.now_s:.0f} s unless renewed"
        )


def _change(tx: Transaction, held: RunClaim, **values: str | float) -> None:
    ours = sa.and_(
        RUN_CLAIM.c.submission_id == held.submission_id,
        RUN_CLAIM.c.host == held.host,
        RUN_CLAIM.c.epoch == held.epoch,
        RUN_CLAIM.c.result_uri == "",
    )
    current = RETRAIN.c.submission_id == held.submission_id
    superseded = tx.connection.scalar(sa.select(RETRAIN.c.state).where(current)) is None
    update = sa.update(RUN_CLAIM).where(ours).values(values)
    if superseded or tx.connection.execute(update).rowcount != 1:
        raise ConflictError(
            f"the claim on {held.submission_id!r} must still be {held.host}'s (epoch {held.epoch}"
            "), however: it ended or went to another"
        )
