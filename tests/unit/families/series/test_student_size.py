"""A student is no larger than its teacher: its width is halved, unless somebody chose it."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from spt_core.errors import InputError
from spt_core.families.series.config import SeriesConfig, SeriesCopying
from spt_core.families.series.distilling import _sized
from spt_core.families.series.learner import LEARNER
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.lesson import Lesson
from spt_core.fitting.plan import TrainingRun
from spt_core.signature import Signature
from tests.tiny_models import SERIES_FIELD, tiny_series_facts


def run_of(network: SeriesConfig) -> TrainingRun:
    return TrainingRun(
        learner=LEARNER,
        signature=Signature(fields=(SERIES_FIELD,)),
        role="student",
        config=TrainingConfig(family="series", network=network),
        facts=tiny_series_facts("regression"),
        num_rows=1,
        row_bytes=1,
        scoring_rows=1,
        head="regression",
    )


def lesson_of(teacher_bytes: int, run: TrainingRun) -> Lesson:
    teacher: Any = SimpleNamespace(read=lambda _: b"x" * teacher_bytes)
    splits: Any = None
    return Lesson(
        teacher=teacher,
        splits=splits,
        training=run.config,
        copying=SeriesCopying(),
        num_copies=1,
        hard_label_weight=0.5,
        compression_ratio=1.0,
        unlabelled=None,
    )


def size_of(run: TrainingRun) -> int:
    return sum(t.numel() * t.element_size() for t in LEARNER.network(run).state_dict().values())


def test_a_default_student_becomes_no_larger_than_its_teacher() -> None:
    run = run_of(SeriesConfig())
    smallest = run_of(SeriesConfig(student_width=8))
    smaller = _sized(run, lesson_of(size_of(smallest), run))
    assert smaller.config.network.student_width == 8
    assert _sized(run, lesson_of(10**9, run)) is run


def test_a_width_that_was_asked_for_is_refused_and_so_is_a_teacher_without_room() -> None:
    run = run_of(SeriesConfig(student_width=33))
    with pytest.raises(InputError, match="student_width 33 takes"):
        _sized(run, lesson_of(size_of(run) - 1, run))
    run = run_of(SeriesConfig())
    with pytest.raises(InputError, match=r"student_width 4 takes"):
        _sized(run, dataclasses.replace(lesson_of(100, run), compression_ratio=0.5))
