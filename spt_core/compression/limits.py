"""What a served model may take: an input of training, not a wish."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from spt_core.errors import InputError
from spt_core.task import Task


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits that the served model must keep; None takes the task's own.

    Attributes:
        latency_ms: the 99th percentile of one answer with its reasons, in process, on this machine.
        size_mb: all files of the export, in millions of bytes.
        memory_mb: what opening the model adds to a process that has its code already, in millions
            of bytes; no task has one.
        throughput_qps: records that one process answers in a second, one after the other or, with
            `in_batches`, BATCH_ROWS at a time; no task has one.
        int8_only: only models in INT8 are served.
        quality: metrics by name that validation rows must show, at least (of those that are better
            lower, at most).
        cost_per_case: mean cost of a decision on validation rows, in the task's currency.
        impact_ratio: least rate of any protected group over the best group's: of approvals where
            the task says that they are a benefit, else of positives that are found; a model of
            which validation rows do not tell it is refused.
    """

    latency_ms: float | None = None
    size_mb: float | None = None
    memory_mb: float | None = None
    throughput_qps: float | None = None
    in_batches: bool = False
    int8_only: bool = False
    quality: Mapping[str, float] = dataclasses.field(default_factory=dict[str, float])
    cost_per_case: float | None = None
    impact_ratio: float | None = None

    def __post_init__(self) -> None:
        """Refuse limits that nothing keeps."""
        for name in ("latency_ms", "size_mb", "memory_mb", "throughput_qps", "cost_per_case"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} must be above 0, however: {value}")
        if self.impact_ratio is not None and not 0 < self.impact_ratio <= 1:
            raise InputError(f"impact_ratio must be in (0, 1], however: {self.impact_ratio}")

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
