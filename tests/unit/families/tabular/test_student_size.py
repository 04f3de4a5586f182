"""A student is no larger than its teacher: its layers shrink, unless somebody chose them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from spt_core.errors import InputError
from spt_core.families.tabular.config import TabularConfig, TabularCopying
from spt_core.families.tabular.distilling import _sized
from spt_core.families.tabular.learner import LEARNER
from spt_core.families.tabular.network import table_facts
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.lesson import Lesson
from spt_core.fitting.plan import TrainingRun
from spt_core.signature import Field, Signature
from tests import student_sizes
from tests.student_sizes import size_of

NUM_COLUMNS = 85


def run_of(network: TabularConfig) -> TrainingRun:
    draw = np.random.default_rng(0)
    signature = Signature(
        fields=tuple(Field(name=f"x{n}", kind="number") for n in range(NUM_COLUMNS))
    )
    features = draw.normal(size=(300, NUM_COLUMNS)).astype(np.float32)
    labels = (draw.random(300) < 0.3).astype(np.float32)
    return TrainingRun(
        learner=LEARNER,
        signature=signature,
        role="student",
        config=TrainingConfig(network=network),
        facts=table_facts(signature, network, features, labels),
        num_rows=300,
        row_bytes=400,
        scoring_rows=100,
    )


def lesson_of(teacher_bytes: int, run: TrainingRun) -> Lesson:
    return student_sizes.lesson_of(teacher_bytes, run, TabularCopying())


def test_a_default_student_of_many_columns_becomes_smaller_than_its_teacher():
    run = run_of(TabularConfig())
    room = size_of(run) // 3
    smaller = _sized(run, lesson_of(room, run))
    assert size_of(smaller) <= room
    assert smaller.config.network.student_hidden == (16, 8)
    assert _sized(run, lesson_of(10**9, run)) is run


def test_a_width_that_was_asked_for_is_refused_and_so_is_a_teacher_without_room():
    run = run_of(TabularConfig(student_hidden=(65, 32)))
    with pytest.raises(InputError, match=r"student_hidden \(65, 32\) takes"):
        _sized(run, lesson_of(size_of(run) // 3, run))
    run = run_of(TabularConfig())
    with pytest.raises(InputError, match="compression_ratio 0.5"):
        _sized(run, dataclasses.replace(lesson_of(100, run), compression_ratio=0.5))
