"""What could be served of a teacher and its student, as a family offers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from spt_core.artifacts import ModelArtifact, Role
from spt_core.data.splits import Splits
from spt_core.heads import validation_loss
from spt_core.task import find


class Candidate(NamedTuple):
    """One of several models of the same rows, before any limit is asked.

    `files` are those of its artifact beside the student's facts, none of the student as it is.
    `loss` is the mean one on validation rows, by which candidates are compared; `metrics` are the
    figures there, and `parts` says what it is made of, with shares.
    """

    name: str
    role: Role
    loss: float
    metrics: Mapping[str, float]
    parts: Mapping[str, float]
    files: Mapping[str, bytes]


def only_the_student(
    teacher: ModelArtifact, student: ModelArtifact, splits: Splits, share: float = 1.0
) -> list[Candidate]:
    """What a family offers whose students are served as they are."""
    del teacher
    if share < 1.0:  # of what stands beside it: nothing does
        return []
    loss = validation_loss(find(splits.task), student.metrics)
    return [Candidate("student", "student", loss, student.metrics, {"student": 1.0}, {})]
