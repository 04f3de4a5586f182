"""A lesson of a teacher of so many bytes, and the size of a run's network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from spt_core.fitting.lesson import Lesson
from spt_core.fitting.plan import TrainingRun


def lesson_of(teacher_bytes: int, run: TrainingRun, copying: Any) -> Lesson:
    teacher: Any = SimpleNamespace(files={"model": ""}, read=lambda _: b"x" * teacher_bytes)
    splits: Any = None
    return Lesson(
        teacher=teacher,
        splits=splits,
        training=run.config,
        copying=copying,
        num_copies=1,
        hard_label_weight=0.5,
        compression_ratio=1.0,
        unlabelled=None,
    )


def size_of(run: TrainingRun) -> int:
    network = run.learner.network(run)
    return sum(t.numel() * t.element_size() for t in network.state_dict().values())
