"""The errors that a caller can handle; everything else is a bug and shows its traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_BITS = 4096  # of a whole number, to be written out


class SptError(Exception):
    """Root of the errors that this project raises on purpose."""


class InputError(SptError, ValueError):
    """A user's mistake: one sentence with the rule and the fact. Exit code 2, or HTTP 4xx."""


class NotFoundError(InputError):
    """Something was named that does not exist; the sentence lists or suggests what does."""


class ForbiddenError(InputError):
    """Somebody asked for what he has no right to, or could not prove who he is."""


class ConflictError(SptError):
    """Somebody else changed or holds the thing: a compare-and-set failed, or a lease is taken."""


class FencedError(ConflictError):
    """The writer is no longer the leader: nothing was written, and it must lead anew or stop."""


class UnavailableError(InputError):
    """The database cannot be used now: away, full or none; the same call may be tried again."""


class MachineError(SptError):
    """The machine does not give what is needed: Ray does not start, memory or a disk is full."""


class ParityError(SptError):
    """A runtime file does not reproduce its checkpoint and is therefore refused."""


class QualityError(SptError):
    """A smaller model lost more of its source's quality than was allowed, and is refused."""


class CorruptArtifactError(SptError):
    """A stored file does not match the digest in its manifest."""


class MissingPackageError(SptError):
    """An optional package is needed; the sentence says what to install."""


def nearest(name: str, candidates: Iterable[str]) -> str:
    """A sentence fragment that points from a misspelled name to what exists."""
    names = sorted(candidates)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"the nearest is {close[0]!r}"
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"there are: {listed}" if names else "there are none"


def require_shares(holder: object, *names: str) -> None:
    """Refuse attributes of a configuration that are no shares."""
    for name in names:
        if not 0 <= getattr(holder, name) <= 1:
            raise InputError(f"{name} must be in [0, 1], however: {getattr(holder, name)}")


def shown(value: object) -> str:
    """A value as an error shows it, in the words of JSON."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > MAX_BITS:  # repr refuses long ones
        return f"a whole number of {value.bit_length():,} bits"
    if isinstance(value, list | dict):  # repr of a deep one would overflow
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
