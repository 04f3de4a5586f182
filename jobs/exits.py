"""How every job ends: an exit code, and one sentence for a person's mistake."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from spt_core.errors import SptError

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
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _fail(f"the storage must have room for what is written, however: {error}", USER_ERROR)


def _interrupt(signal_number: int, frame: Any) -> NoReturn:
    del signal_number, frame
    raise KeyboardInterrupt


def _fail(sentence: str, code: int) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)  # noqa: T201
    sys.exit(code)
