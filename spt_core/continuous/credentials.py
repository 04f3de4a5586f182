"""A principal's credential: his name and his key in one text."""

from __future__ import annotations

import base64
import binascii

from spt_core.continuous.ledger import Ledger, Principal
from spt_core.errors import ForbiddenError


def credential(name: str, key: str) -> str:
    """What a principal shows, on the command line and as a bearer token: his name and his key."""
    return f"{base64.urlsafe_b64encode(name.encode()).decode().rstrip('=')}.{key}"


def authenticated(ledger: Ledger, shown: str) -> Principal:
    """The principal whose credential this is; ForbiddenError for anybody else."""
    encoded, _, key = shown.partition(".")
    try:
        padded = encoded + "=" * (-len(encoded) % 4)
        name = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        name = ""
    return ledger.authenticate(name, key)


def require_role(principal: Principal, role: str) -> None:
    """Return if the principal has the role."""
    if role not in principal.roles:
        raise ForbiddenError(
            f"this needs a principal with the role {role!r}, however: {principal.name!r} has "
            f"{', '.join(principal.roles)}"
        )
