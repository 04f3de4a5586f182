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
        memory_mb: what opening the model adds to a process, in millions of bytes; no task has one.
        throughput_qps: records that one process answers in a second, one after the other or, with
            `in_batches`, BATCH_ROWS at a time; no task has one.
        int8_only: only models in INT8 are served.
    """

    latency_ms: float | None = None
    size_mb: float | None = None
    memory_mb: float | None = None
    throughput_qps: float | None = None
    in_batches: bool = False
    int8_only: bool = False

    def __post_init__(self) -> None:
        """Refuse limits that nothing keeps."""
        for name in ("latency_ms", "size_mb", "memory_mb", "throughput_qps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} must be above 0, however: {value}")

    def of(self, task: Task) -> Budget:
        """These, with the task's own where nothing is said."""
        return Budget(
            task.latency_target_ms if self.latency_ms is None else self.latency_ms,
            task.size_target_mb if self.size_mb is None else self.size_mb,
            self.memory_mb,
            self.throughput_qps,
        )


class Budget(NamedTuple):
    """Limits with the task's own in them: see Limits."""

    latency_ms: float
    size_mb: float
    memory_mb: float | None
    throughput_qps: float | None
