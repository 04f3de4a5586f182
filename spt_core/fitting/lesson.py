"""What a student is to learn, and from whom: what a family makes its FitPlan of."""

from __future__ import annotations

import dataclasses
from typing import Any

from spt_core.artifacts import ModelArtifact
from spt_core.data.corpus import Corpus
from spt_core.data.splits import Splits
from spt_core.errors import InputError
from spt_core.fitting.config import TrainingConfig


class StudentSizeError(InputError):
    """A student takes more bytes than it may."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """A teacher, the rows it labels, and how.

    `copying` is the family's (families/*/config.py): how augmented copies are made. `num_copies` of
    each training row are, beside the row itself, whose target holds `hard_label_weight` of the true
    label. The student's weights may take `compression_ratio` of its teacher's bytes. `unlabelled`
    are more rows that only the teacher answers. `soft` is a folder of rows that the teacher
    answered and that several students share; None gives this one its own. `twin` is the student
    whose calibration and figures one has that is refitted on more rows. With `num_folds`, training
    rows are answered by teachers that have not learnt from them: `folds` are rows and who answers.
    """

    teacher: ModelArtifact
    splits: Splits
    training: TrainingConfig
    copying: Any
    num_copies: int
    hard_label_weight: float
    compression_ratio: float
    unlabelled: Corpus | None
    soft: str | None = None
    twin: ModelArtifact | None = None
    num_folds: int = 0
    folds: tuple[tuple[Splits, ModelArtifact], ...] = ()

    @property
    def answers(self) -> tuple[tuple[Splits, ModelArtifact], ...]:
        """Splits of all training rows, each with the teacher that answers them."""
        return self.folds or ((self.splits, self.teacher),)

    @property
    def identity(self) -> list[Any]:
        """What decides the student beside its training's configuration, the splits and the code."""
        return [
            self.teacher.signature.to_json(),
            self.teacher.files,
            dataclasses.asdict(self.copying),
            [self.num_copies, self.hard_label_weight, self.compression_ratio, self.num_folds],
            None if self.unlabelled is None else self.unlabelled.identity,
            *([] if self.twin is None else [self.twin.files]),
        ]

    def check_size(self, size: int, teacher_size: int, what: str) -> None:
        """Refuse a student that takes more bytes than it may."""
        allowed = self.compression_ratio * teacher_size
        if size > allowed:
            raise StudentSizeError(
                f"the student may take {allowed:,.0f} bytes (compression_ratio "
                f"{self.compression_ratio:g}), however: {what} takes {size:,}"
            )
