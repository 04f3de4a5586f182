"""Who may do what: names with roles.

There are no default principals and no default keys: `bootstrap` names the first admin, once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa

from spt_core.access import EVERY_TASK, Role, checked_roles
from spt_core.continuous.ledger import audit, keys
from spt_core.continuous.ledger.transaction import Transaction
from spt_core.continuous.ledger.values import Principal, canonical
from spt_core.errors import ConflictError, ForbiddenError, InputError
from spt_core.registry.tables import PRINCIPAL


def bootstrap(tx: Transaction, name: str) -> str:
    """The key of the first admin, shown this once; ConflictError where anybody has had a key."""
    if keys.every(tx.connection):
        raise ConflictError(
            "the first admin is named once, however: keys have been given already; an admin adds "
            "others with `python -m jobs.keys issue`"
        )
    audit.append(tx, "principal.bootstrapped", {"name": name})
    tx.connection.execute(sa.delete(PRINCIPAL).where(PRINCIPAL.c.name == name))
    return add(tx, name, ["admin"])


def add(tx: Transaction, name: str, roles: Sequence[Role]) -> str:
    """The key of a new principal, for all his roles and every task, shown this once."""
    put(tx, name, roles)
    return keys.issue(tx, name, roles=checked_roles(roles), tasks=(EVERY_TASK,))


def put(tx: Transaction, name: str, roles: Sequence[Role]) -> None:
    """Name a new principal, who has no key yet."""
    if not name or not name.isprintable() or not roles:
        raise InputError(
            f"a principal needs a printable name and roles, however: {name!r}, {list(roles)}"
        )
    given = checked_roles(roles)
    if tx.connection.scalar(sa.select(PRINCIPAL.c.name).where(PRINCIPAL.c.name == name)):
        raise InputError(f"principals must have different names, however: {name!r} exists")
    row = {"name": name, "roles": canonical(given)}
    tx.connection.execute(sa.insert(PRINCIPAL).values(row))
    audit.append(tx, "principal.added", {"name": name, "roles": list(given)})


def remove(tx: Transaction, name: str) -> bool:
    """Whether the principal existed; his keys end, his reviews and audit entries stay."""
    removed = tx.connection.execute(sa.delete(PRINCIPAL).where(PRINCIPAL.c.name == name))
    if removed.rowcount:
        for key in keys.every(tx.connection):
            if key.principal == name:
                keys.revoke(tx, key.key_id)
        audit.append(tx, "principal.removed", {"name": name})
    return bool(removed.rowcount)


def authenticate(connection: sa.Connection, name: str, key: str, now_s: float) -> Principal:
    """The principal of that name who holds the key; unknown names fail in the same words."""
    held = keys.held(connection, key, now_s)
    if held is None or held.principal != name:
        raise ForbiddenError("name and key must be those of a principal, however: they are not")
    return Principal(name=name, roles=held.roles)


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
