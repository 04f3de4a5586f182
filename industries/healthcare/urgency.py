"""How urgent a case may be, the most urgent first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

Urgency = Literal["emergency", "urgent", "soon", "routine"]
URGENCIES: tuple[Urgency, ...] = get_args(Urgency)


def most_urgent(urgencies: Iterable[Urgency]) -> Urgency:
    """The first of URGENCIES that is among them; there must be one."""
    return min(urgencies, key=URGENCIES.index)
