"""How many folds a teacher may be cross-fitted in, and whose."""

import dataclasses

import pytest

from spt_core.distillation import DistillationConfig, DistillationPipeline, pipeline
from spt_core.errors import InputError
from spt_core.fitting.config import TrainingConfig
from spt_core.model import SpecializedModel
from spt_core.task import IndustryType
from tests.publications import artifact, splits


@pytest.mark.parametrize("num_folds", [-1, 1])
def test_there_are_two_folds_at_least(num_folds):
    with pytest.raises(InputError, match=f"0 or at least 2, however: it is {num_folds}"):
        DistillationConfig(num_folds=num_folds)


def test_many_rows_need_no_folds():
    config = DistillationConfig(num_folds=3, max_fold_rows=100)
    assert [pipeline.num_folds_of(config, num_rows) for num_rows in (100, 101)] == [3, 0]


def test_a_family_of_one_teacher_refuses_folds(tmp_path):
    rows = splits(tmp_path)
    teacher = dataclasses.replace(
        artifact(tmp_path, 0, rows.uri), data_fingerprint=rows.data_fingerprint
    )
    training = TrainingConfig(
        family="text", industry=IndustryType.TECHNOLOGY, output_dir=str(tmp_path)
    )
    steps = DistillationPipeline(DistillationConfig(training=training, num_folds=3))
    with pytest.raises(InputError, match="must be 0 for the text family"):
        steps.distill(SpecializedModel(teacher), rows)
