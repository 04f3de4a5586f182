"""Sizes and rates of the models of series, and how copies of windows are made for students."""

from __future__ import annotations

import dataclasses

from spt_core.errors import InputError, require_shares

NUMBER_WIDTH = 64  # of the student of a number, in the recipe


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SeriesConfig:
    """Sizes and rates of the networks of series; see tests/bench for what they were measured on.

    Attributes:
        teacher_members: InceptionTime networks, each trained by itself from its own start; their
            mean answers (Ismail Fawaz et al., "InceptionTime", Data Mining and Knowledge Discovery,
            2020).
        teacher_filters: filters of each of a block's four branches.
        teacher_blocks: Inception blocks of a member.
        teacher_kernels: steps that the branches look at; longer ones than a window are cut.
        booster_rows: windows whose statistics LightGBM learns from; 0 leaves it out.
        booster_trees: trees of LightGBM at most; it stops early on validation rows.
        student_kernels: steps that the student's filters of each channel look at.
        student_filters: filters of each channel and kernel.
        student_width: hidden units over all channels, by which these are weighed.
        components: principal components of a window of usual readings (anomalies).
        dropout: of windows' features, in training.
        gradient_checkpointing: kept for all families alike; these networks hold little.
    """

    teacher_members: int = 2
    teacher_filters: int = 16
    teacher_blocks: int = 3
    teacher_kernels: tuple[int, ...] = (9, 19, 39)
    booster_rows: int = 50_000
    booster_trees: int = 300
    student_kernels: tuple[int, ...] = (3, 7, 15)
    student_filters: int = 3
    student_width: int = 32
    components: int = 10
    dropout: float = 0.1
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that make no network."""
        sizes = (
            self.teacher_members,
            self.teacher_filters,
            self.teacher_blocks,
            self.booster_trees,
            self.student_filters,
            self.student_width,
            self.components,
            *self.teacher_kernels,
            *self.student_kernels,
        )
        if min(sizes) < 1 or not self.teacher_kernels or not self.student_kernels:
            raise InputError(f"sizes must be at least 1, however: {self}")
        if not all(kernel % 2 for kernel in (*self.teacher_kernels, *self.student_kernels)):
            raise InputError(f"kernels must be odd, to have a middle, however: {self}")
        if not 0 <= self.dropout < 1 or self.booster_rows < 0:
            raise InputError(
                "dropout must be in [0, 1) and booster_rows at least 0, however: "
                f"{self.dropout=}, {self.booster_rows=}"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SeriesCopying:
    """How the copies of a window are made that a teacher labels for its student.

    Attributes:
        jitter: standard deviation of the noise that is added, in those of the channels.
        mix_probability: chance of a copy to be the weighted mean of two windows (Zhang et al.,
            "mixup", ICLR 2018).
        gap_probability: chance of each channel of a copy to lose a stretch of its readings.
    """

    jitter: float = 0.1
    mix_probability: float = 0.5
    gap_probability: float = 0.05

    def __post_init__(self) -> None:
        """Refuse shares outside [0, 1] and a noise below 0."""
        require_shares(self, "mix_probability", "gap_probability")
        if not self.jitter >= 0:
            raise InputError(f"jitter must be at least 0, however: {self.jitter}")
