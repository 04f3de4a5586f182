"""Who may decide: names with roles, each known by a key of which only a scrypt hash is kept.

There are no default principals and no default keys: whoever can write the database adds the first.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence

import sqlalchemy as sa

from spt_core.continuous.ledger import audit
from spt_core.continuous.ledger.transaction import Transaction
from spt_core.continuous.ledger.values import ROLES, Principal, Role, canonical
from spt_core.errors import ForbiddenError, InputError
from spt_core.registry.tables import PRINCIPAL

_SALT_BYTES = 16
_NOBODY = b"\0" * _SALT_BYTES


def add(tx: Transaction, name: str, roles: Sequence[Role]) -> str:
    """The new principal's key, shown this once."""
    unknown = sorted(set(roles) - set(ROLES))
    if not name or not name.isprintable() or not roles or unknown:
        raise InputError(
            f"a principal needs a printable name and roles of {ROLES}, however: {name!r}, {roles}"
        )
    if tx.connection.scalar(sa.select(PRINCIPAL.c.name).where(PRINCIPAL.c.name == name)):
        raise InputError(f"principals must have different names, however: {name!r} exists")
    key, salt = secrets.token_urlsafe(32), secrets.token_bytes(_SALT_BYTES)
    row = {
        "name": name,
        "roles": canonical(sorted(set(roles))),
        "salt": salt.hex(),
        "key_hash": _hash(key, salt).hex(),
    }
    tx.connection.execute(sa.insert(PRINCIPAL).values(row))
    audit.append(tx, "principal.added", {"name": name, "roles": sorted(set(roles))})
    return key


def remove(tx: Transaction, name: str) -> bool:
    """Whether the principal existed; his reviews and audit entries stay."""
    removed = tx.connection.execute(sa.delete(PRINCIPAL).where(PRINCIPAL.c.name == name))
    if removed.rowcount:
        audit.append(tx, "principal.removed", {"name": name})
    return bool(removed.rowcount)


def authenticate(connection: sa.Connection, name: str, key: str) -> Principal:
    """The principal who holds the key; unknown names take as long and fail in the same words."""
    row = connection.execute(sa.select(PRINCIPAL).where(PRINCIPAL.c.name == name)).first()
    salt = _NOBODY if row is None else bytes.fromhex(row.salt)
    stored = _NOBODY if row is None else bytes.fromhex(row.key_hash)
    same = hmac.compare_digest(_hash(key, salt), stored)
    if row is None or not same:
        raise ForbiddenError("name and key must be those of a principal, however: they are not")
    return Principal(name=row.name, roles=tuple(json.loads(row.roles)))


def every(connection: sa.Connection) -> list[Principal]:
    """All principals, by name."""
    rows = connection.execute(sa.select(PRINCIPAL.c.name, PRINCIPAL.c.roles)).all()
    principals = [Principal(name=row.name, roles=tuple(json.loads(row.roles))) for row in rows]
    return sorted(principals, key=lambda principal: principal.name)


def require(connection: sa.Connection, name: str, role: Role) -> None:
    """ForbiddenError unless the name is a principal's who has the role now."""
    roles = {principal.name: principal.roles for principal in every(connection)}
    if role not in roles.get(name, ()):
        fact = f"{name!r} has {', '.join(roles[name])}" if name in roles else f"{name!r} is nobody"
        raise ForbiddenError(f"this needs a principal with the role {role!r}, however: {fact}")


def _hash(key: str, salt: bytes) -> bytes:
    return hashlib.scrypt(key.encode(), salt=salt, n=2**14, r=8, p=1)
