"""API keys of principals: given, looked up, rotated, ended. Of each only its SHA-256 is kept."""

from __future__ import annotations

import dataclasses
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from spt_core.access import EVERY_TASK, Key, Role, checked_roles, digest, id_of, new_key
from spt_core.continuous.ledger import audit
from spt_core.continuous.ledger.transaction import Transaction
from spt_core.continuous.ledger.values import canonical
from spt_core.errors import InputError, NotFoundError, nearest
from spt_core.registry.tables import API_KEY, PRINCIPAL

_MAX_KEYS = 10_000  # a replica holds them all


def issue(
    tx: Transaction,
    principal: str,
    *,
    roles: Sequence[Role],
    tasks: Sequence[str],
    expires_s: float | None = None,
    requests_per_s: float | None = None,
) -> str:
    """The text of a new key, shown this once; for some of the principal's roles, for these tasks.

    InputError for a role that the principal lacks, and for a limit or an end that no key can have.
    """
    given = checked_roles(roles)
    row = tx.connection.execute(sa.select(PRINCIPAL).where(PRINCIPAL.c.name == principal)).first()
    if row is None:
        raise NotFoundError(f"a key is a principal's, however: {principal!r} is nobody")
    lacking = sorted(set(given) - set(json.loads(row.roles)))
    if lacking:
        raise InputError(
            f"a key is for roles of its principal, however: {principal!r} is no {lacking[0]}"
        )
    if not tasks or not all(tasks):
        raise InputError(f"a key must name tasks, or {EVERY_TASK} for all, however: {list(tasks)}")
    if requests_per_s is not None and not 0 < requests_per_s < float("inf"):
        raise InputError(f"a limit must be above 0 requests a second, however: {requests_per_s}")
    if expires_s is not None and not tx.now_s < expires_s < float("inf"):
        raise InputError("a key must end after it begins, however: its end is past or never comes")
    if len(every(tx.connection)) >= _MAX_KEYS:
        raise InputError(f"there are at most {_MAX_KEYS:,} keys, however: so many were given")
    text = new_key()
    row = {
        "key_id": id_of(digest(text)),
        "principal": principal,
        "digest": digest(text).hex(),
        "roles": canonical(given),
        "tasks": canonical(sorted(set(tasks))),
        "requests_per_s": requests_per_s,
        "created_s": tx.now_s,
        "expires_s": expires_s,
        "revoked_s": None,
    }
    tx.connection.execute(sa.insert(API_KEY).values(row))
    audit.append(tx, "key.issued", described(_key(row)))
    return text


def revoke(tx: Transaction, key_id: str) -> bool:
    """Whether the key was still open to somebody; NotFoundError for one that never was."""
    key = get(tx.connection, key_id)
    if key.revoked_s is not None:
        return False
    ours = API_KEY.c.key_id == key.key_id
    tx.connection.execute(sa.update(API_KEY).where(ours).values(revoked_s=tx.now_s))
    audit.append(tx, "key.revoked", {"key_id": key.key_id, "principal": key.principal})
    return True


def rotate(tx: Transaction, key_id: str, *, overlap_s: float, expires_s: float | None) -> str:
    """The text of a key for the same; the old one ends after the overlap, or earlier if it would.

    InputError for one that opens nothing any more.
    """
    old = get(tx.connection, key_id)
    if old.state(tx.now_s) != "valid":
        raise InputError(
            f"a key is rotated while it is valid, however: {old.key_id} is {old.state(tx.now_s)}"
        )
    text = issue(
        tx,
        old.principal,
        roles=old.roles,
        tasks=old.tasks,
        expires_s=expires_s,
        requests_per_s=old.requests_per_s,
    )
    end_s = min(tx.now_s + max(overlap_s, 0.0), old.expires_s or float("inf"))
    ours = API_KEY.c.key_id == old.key_id
    tx.connection.execute(sa.update(API_KEY).where(ours).values(expires_s=end_s))
    body = {"old": old.key_id, "new": id_of(digest(text)), "old_expires_at": audit.stamp(end_s)}
    audit.append(tx, "key.rotated", body)
    return text


def get(connection: sa.Connection, key_id: str) -> Key:
    """The key of that id."""
    held = {key.key_id: key for key in every(connection)}
    if key_id not in held:
        raise NotFoundError(f"there is no key {key_id!r}; {nearest(key_id, held)}")
    return held[key_id]


def held(connection: sa.Connection, text: str, now_s: float) -> Key | None:
    """The valid key that somebody shows, with the roles that its principal has still."""
    try:
        shown = digest(text)
    except UnicodeEncodeError:  # half a surrogate from a command line
        return None
    query = sa.select(API_KEY).where(API_KEY.c.digest == shown.hex())
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    key = _key(dict(row))
    same = hmac.compare_digest(key.digest, shown)
    if not same or key.state(now_s) != "valid":
        return None
    return _in_force(key, _roles(connection))


def every(connection: sa.Connection) -> list[Key]:
    """All keys that were ever given, oldest first."""
    query = sa.select(API_KEY).order_by(API_KEY.c.created_s, API_KEY.c.key_id)
    return [_key(dict(row)) for row in connection.execute(query).mappings()]


def in_force(connection: sa.Connection) -> list[Key]:
    """All keys, each with the roles that its principal has still."""
    roles = _roles(connection)
    return [_in_force(key, roles) for key in every(connection)]


def described(key: Key) -> dict[str, Any]:
    """What may be told of a key: everything but its text and its digest."""
    return {
        "key_id": key.key_id,
        "principal": key.principal,
        "roles": list(key.roles),
        "tasks": list(key.tasks),
        "requests_per_s": key.requests_per_s,
        "created_at": audit.stamp(key.created_s),
        "expires_at": None if key.expires_s is None else audit.stamp(key.expires_s),
        "revoked_at": None if key.revoked_s is None else audit.stamp(key.revoked_s),
    }


def _roles(connection: sa.Connection) -> dict[str, list[Role]]:
    rows = connection.execute(sa.select(PRINCIPAL.c.name, PRINCIPAL.c.roles))
    return {row.name: json.loads(row.roles) for row in rows}


def _in_force(key: Key, roles: Mapping[str, Sequence[Role]]) -> Key:
    still = roles.get(key.principal, ())
    return dataclasses.replace(key, roles=tuple(role for role in key.roles if role in still))


def _key(row: Mapping[str, Any]) -> Key:
    return Key(
        key_id=row["key_id"],
        principal=row["principal"],
        digest=bytes.fromhex(row["digest"]),
        roles=tuple(json.loads(row["roles"])),
        tasks=tuple(json.loads(row["tasks"])),
        requests_per_s=row["requests_per_s"],
        created_s=row["created_s"],
        expires_s=row["expires_s"],
        revoked_s=row["revoked_s"],
    )
