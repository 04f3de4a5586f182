"""Sizes and rates of the models of tables, and how copies of rows are made for students."""

from __future__ import annotations

import dataclasses

from spt_core.errors import InputError, require_shares


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TabularConfig:
    """Sizes and rates of the tabular networks; see tests/bench for what they were measured on.

    `num_bins` is a teacher's: its students have its bins. `teacher_blocks` are as many as TabM has
    (Gorishniy et al., "TabM", ICLR 2025), and what the specification's transfer unfreezes.
    """

    num_bins: int = 24
    student_hidden: tuple[int, ...] = (64, 32)
    student_dropout: float = 0.0
    teacher_members: int = 8
    teacher_blocks: int = 3
    teacher_width: int = 64
    teacher_embedding: int = 6
    teacher_dropout: float = 0.1
    gradient_checkpointing: bool = False
    booster_rows: int = 1_000_000
    booster_trials: int = 10

    def __post_init__(self) -> None:
        """Refuse sizes that make no network."""
        if self.num_bins < 2 or not self.student_hidden or min(self.student_hidden) < 1:
            raise InputError(
                "num_bins must be at least 2 and student_hidden positive, however: "
                f"{self.num_bins=}, {self.student_hidden=}"
            )
        if self.booster_trials < 1 or self.booster_rows < 1:
            raise InputError(
                "booster_trials and booster_rows must be positive, however: "
                f"{self.booster_trials=}, {self.booster_rows=}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TabularCopying:
    """How the copies of a row are made that a teacher labels for its student.

    Attributes:
        swap_probability: chance of each cell of a copy to come from another random row.
        forget_probability: chance of each cell of a copy to become missing or an unseen category,
            so that the student has an answer for what its training rows always knew.
    """

    swap_probability: float = 0.15
    forget_probability: float = 0.02

    def __post_init__(self) -> None:
        """Refuse shares outside [0, 1]."""
        require_shares(self, "swap_probability", "forget_probability")
