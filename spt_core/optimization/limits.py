"""What a served model may take: an input of training, not a wish."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from spt_core.errors import InputError
from spt_core.task import Task


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits that the served model must keep; None takes the task's own.

    Attributes:
        latency_ms: the 99th percentile of one answer with its reasons, in process, on this machine.
        size_mb: all files of the export, in millions of bytes.
    """

    latency_ms: float | None = None
    size_mb: float | None = None

    def __post_init__(self) -> None:
        """Refuse limits that nothing keeps."""
        for name in ("latency_ms", "size_mb"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} must be above 0, however: {value}")

    def of(self, task: Task) -> Budget:
        """These, with the task's own where nothing is said."""
        return Budget(
            task.latency_target_ms if self.latency_ms is None else self.latency_ms,
            task.size_target_mb if self.size_mb is None else self.size_mb,
        )


class Budget(NamedTuple):
    """Limits of which each is stated: see Limits."""

    latency_ms: float
    size_mb: float
