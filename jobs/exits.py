"""How every job ends: an exit code, and one sentence for a person's mistake."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from spt_core.errors import SptError

# What a machine lacks, by the error that it gives: a rule for each, as the fact is in the error.
_RULES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "the storage must have room for what is written"),
    errno.EROFS: "the storage must be one that can be written",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "this user must be allowed to use the files"),
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE), "so many files must be open at a time (ulimit -n)"
    ),
    errno.ENOMEM: "the machine must have memory for what is asked",
    errno.EIO: "the disk must answer",
}
_RAY_RULES = {
    "AuthenticationError": "Ray must be given its cluster's token (RAY_AUTH_MODE, RAY_AUTH_TOKEN)",
    "OutOfMemoryError": "the machine must have memory for what is asked",
    "ObjectStoreFullError": "Ray's object store must have room (ray start --object-store-memory)",
    "OutOfDiskError": "the disk must have room for what Ray spills",
    "NodeDiedError": "the nodes of the cluster must stay up",
    "RaySystemError": "Ray must answer",
}
Main = Callable[[Sequence[str] | None], int]
USER_ERROR = 2


def run(main: Main) -> NoReturn:
    """Call a job's main and leave: 0, 2 with one sentence for a user's mistake, 130 on Ctrl-C."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        sys.exit(main(None))
    except SptError as error:
        _fail(str(error), USER_ERROR)
    except KeyboardInterrupt:
        _fail("interrupted; the same command resumes", 130)
    except MemoryError:
        _fail("the machine must have memory for what is asked, however: it ran out", USER_ERROR)
    except Exception as error:
        rule = _rule_of(error)
        if rule is None:
            raise
        fact = str(error).strip().split("\n")[0][:300]
        _fail(f"{rule}, however: {fact}; the same command resumes", USER_ERROR)


def _rule_of(error: Exception) -> str | None:
    """What the machine does not hold to; None where the error is a bug of ours."""
    if isinstance(error, OSError):
        return _RULES.get(error.errno or 0)
    kind = type(error)
    return _RAY_RULES.get(kind.__name__) if kind.__module__.startswith("ray.") else None


def _interrupt(signal_number: int, frame: Any) -> NoReturn:
    del signal_number, frame
    raise KeyboardInterrupt


def _fail(sentence: str, code: int) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)  # noqa: T201
    sys.exit(code)
