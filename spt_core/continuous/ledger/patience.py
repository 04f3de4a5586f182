"""Waiting for a database that is away: every call of the ledger may be made again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from spt_core.errors import UnavailableError

T = TypeVar("T")


def patiently(
    call: Callable[[], T],
    *,
    wait_s: float = 300.0,
    pause_s: float = 1.0,
    tell: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """What the call returns, once the database lets it; UnavailableError after `wait_s`.

    `tell` gets the sentence that status is to show while it lasts, and "" when it is over.
    """
    waited_s = 0.0
    while True:
        try:
            value = call()
        except UnavailableError as error:
            if waited_s >= wait_s:
                raise
            tell(f"waiting for the database since {waited_s:.0f} s: {error}")
            sleep(pause_s)
            waited_s += pause_s
            continue
        if waited_s:
            tell("")
        return value
