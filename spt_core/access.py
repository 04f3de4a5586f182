"""Who may do what: API keys, and the roles and tasks that each is for.

new_key() -> text, shown once -> digest(text), the only thing that is kept -> Key
"""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from spt_core.errors import InputError

Role = Literal["client", "reviewer", "operator", "admin"]
KeyState = Literal["valid", "expired", "revoked"]
ROLES: tuple[Role, ...] = get_args(Role)
MEANING: Mapping[Role, str] = {
    "client": "asks models",
    "reviewer": "approves and rejects candidates",
    "operator": "deploys, moves aliases, labels, begins and ends retrainings",
    "admin": "names principals, gives and takes keys, thaws buckets",
}
EVERY_TASK = "*"
PREFIX = "spt_"  # by which scanners of repositories and logs recognize a key that leaked
_KEY_BYTES = 32
_ID_DIGITS = 12


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """An API key as it is kept: whose it is, what it is for, and until when.

    `tasks` are INDUSTRY, INDUSTRY/TASK or INDUSTRY/TASK/MODEL_NAME, or EVERY_TASK; moments are
    seconds since 1970. `requests_per_s` is what one replica takes; None is no limit.
    """

    key_id: str
    principal: str
    digest: bytes
    roles: tuple[Role, ...]
    tasks: tuple[str, ...]
    requests_per_s: float | None
    created_s: float
    expires_s: float | None
    revoked_s: float | None

    def state(self, now_s: float) -> KeyState:
        """Whether the key opens anything now."""
        if self.revoked_s is not None:
            return "revoked"
        return "expired" if self.expires_s is not None and self.expires_s <= now_s else "valid"

    def covers(self, path: str) -> bool:
        """Whether the key is for a task or a model of it: INDUSTRY/TASK[/MODEL_NAME]."""
        return covers(self.tasks, path)


def covers(tasks: Iterable[str], path: str) -> bool:
    """Whether a model, INDUSTRY/TASK[/MODEL_NAME], is among what a key is for."""
    return any(one in (EVERY_TASK, path) or path.startswith(f"{one}/") for one in tasks)


def new_key() -> str:
    """256 random bits as text; whoever shows them is their principal."""
    return PREFIX + secrets.token_urlsafe(_KEY_BYTES)


def digest(text: str) -> bytes:
    """SHA-256 [32 bytes] of a key.

    Neither salt nor a slow hash: those protect what people choose. Of 256 random bits nobody finds
    the text by trying, whoever has the digest, and a wrong key must cost a replica next to nothing.
    """
    return hashlib.sha256(text.encode()).digest()


def id_of(key_digest: bytes) -> str:
    """The name of a key for lists, logs and people: the digest's first digits."""
    return key_digest.hex()[:_ID_DIGITS]


def checked_roles(roles: Iterable[str]) -> tuple[Role, ...]:
    """The roles in their order, each once; InputError for none and for one that does not exist."""
    given = set(roles)
    unknown = sorted(given - set(ROLES))
    if not given or unknown:
        raise InputError(
            f"roles must be some of {', '.join(ROLES)}, however: {', '.join(unknown) or 'none'}"
        )
    return tuple(role for role in sorted(ROLES) if role in given)
