"""What may happen in a bucket: one retraining at a time, and none once a rollback has frozen it."""

from __future__ import annotations

import sqlalchemy as sa

from spt_core.continuous.ledger import audit
from spt_core.continuous.ledger.transaction import Transaction
from spt_core.continuous.ledger.values import UNDER_WAY, Retrain
from spt_core.errors import ConflictError, InputError
from spt_core.registry import CHAMPION
from spt_core.registry.tables import ALIAS, FROZEN_BUCKET, RETRAIN


def obstacle(connection: sa.Connection, bucket: str) -> str:
    """Why no retraining of the bucket can begin now; "" when one can."""
    reason = frozen(connection).get(bucket)
    if reason is not None:
        return f"bucket {bucket!r} is frozen ({reason})"
    query = sa.select(RETRAIN.c.retrain_id, RETRAIN.c.state).where(
        RETRAIN.c.bucket == bucket, RETRAIN.c.state.in_(UNDER_WAY)
    )
    row = connection.execute(query).first()
    return "" if row is None else f"{row.retrain_id!r} is under way ({row.state})"


def frozen(connection: sa.Connection) -> dict[str, str]:
    """The frozen buckets, each with the reason."""
    query = sa.select(FROZEN_BUCKET.c.bucket, FROZEN_BUCKET.c.reason)
    return {row.bucket: row.reason for row in connection.execute(query)}


def require_thawed(connection: sa.Connection, bucket: str) -> None:
    """ConflictError when the bucket is frozen."""
    reason = frozen(connection).get(bucket)
    if reason is not None:
        raise ConflictError(f"bucket {bucket!r} must not be frozen, however: {reason}")


def freeze(tx: Transaction, retrain: Retrain, reason: str) -> None:
    """Let nothing begin or be promoted in the retraining's bucket from now on."""
    if retrain.bucket in frozen(tx.connection):
        return
    row = {"bucket": retrain.bucket, "retrain_id": retrain.retrain_id, "reason": reason}
    tx.connection.execute(sa.insert(FROZEN_BUCKET).values(row))
    audit.append(tx, "bucket.frozen", row)


def thaw(tx: Transaction, bucket: str, reason: str) -> bool:
    """Whether the bucket was frozen and is not any more."""
    delete = sa.delete(FROZEN_BUCKET).where(FROZEN_BUCKET.c.bucket == bucket)
    if tx.connection.execute(delete).rowcount != 1:
        return False
    audit.append(tx, "bucket.thawed", {"bucket": bucket, "reason": reason})
    return True


def require_champion(connection: sa.Connection, retrain: Retrain, *expected: str) -> None:
    """ConflictError unless the registry's champion is one of these versions ("" = none)."""
    name, _ = parsed_version(retrain.candidate_version)
    query = sa.select(ALIAS.c.version).where(ALIAS.c.name == name, ALIAS.c.alias == CHAMPION)
    version = connection.scalar(query)
    champion = "" if version is None else f"{name}@{version}"
    if champion not in expected:
        rule = " or ".join(one or "none" for one in expected)
        raise ConflictError(
            f"the champion must be {rule} for {retrain.retrain_id!r} to go on, however: it is "
            f"{champion or 'none'}"
        )


def parsed_version(version: str) -> tuple[str, int]:
    """Name and number of `industry/task/model_name@N`."""
    name, _, number = version.rpartition("@")
    if name.count("/") != 2 or not number.isdigit():
        raise InputError(f"a version is named industry/task/model_name@N, however: {version!r}")
    return name, int(number)
