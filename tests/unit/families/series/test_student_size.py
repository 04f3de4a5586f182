"""A student is no larger than its teacher: its width is halved, unless somebody chose it."""

from __future__ import annotations

import dataclasses

import pytest

from spt_core.errors import InputError
from spt_core.families.series.config import NUMBER_WIDTH, SeriesConfig, SeriesCopying
from spt_core.families.series.distilling import _sized
from spt_core.families.series.learner import LEARNER
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.lesson import Lesson
from spt_core.fitting.plan import TrainingRun
from spt_core.signature import Signature
from tests import student_sizes
from tests.student_sizes import size_of
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
    return student_sizes.lesson_of(teacher_bytes, run, SeriesCopying())


@pytest.mark.parametrize("width", [SeriesConfig().student_width, NUMBER_WIDTH])
def test_a_recipe_s_student_becomes_no_larger_than_its_teacher(width: int) -> None:
    run = run_of(SeriesConfig(student_width=width))
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
