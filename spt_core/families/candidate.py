"""What could be served of a teacher and its student, as a family offers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from spt_core.artifacts import ModelArtifact, Role
from spt_core.data.splits import Splits


class Candidate(NamedTuple):
    """One of several models of the same rows, before any limit is asked.

    `files` are those of its artifact beside the student's facts, none of the student as it is.
    `loss` is the mean one on validation rows, by which candidates are compared, 0.0 of one that
    nothing stands beside; `metrics` are the figures there, and `parts` says what it is made of,
    with shares.
    """

    name: str
    role: Role
    loss: float
    metrics: Mapping[str, float]
    parts: Mapping[str, float]
    files: Mapping[str, bytes]


def only_the_student(
    teacher: ModelArtifact, student: ModelArtifact, splits: Splits
) -> list[Candidate]:
    """What a family offers whose students are served as they are."""
    del teacher, splits
    return [Candidate("student", "student", 0.0, student.metrics, {"student": 1.0}, {})]
