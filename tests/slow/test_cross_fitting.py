"""Students of teachers that have not learnt from the rows they answer, and refits of texts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from spt_core.artifacts import ModelArtifact, load_artifact
from spt_core.compression.refitting import refitted_export
from spt_core.compression.selection import select
from spt_core.data.corpus import ROW
from spt_core.data.folds import folds_of
from spt_core.data.sources import open_corpus
from spt_core.data.splits import SplitConfig, Splits
from spt_core.data.splitting import split
from spt_core.distillation import DistillationConfig, DistillationPipeline
from spt_core.families.text.config import TextConfig
from spt_core.fitting.config import TrainingConfig
from spt_core.scoring import fitted_policy
from spt_core.task import find
from spt_core.training import SpecializedModelTrainer
from tests.small_runs import SmallRun, as_file, config_of
from tests.unit.vocabulary.tiny import tiny_base

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.timeout(900),
]
FRAUD, TEXT = find("financial_services/fraud_detection"), find("technology/security_analysis")


def fold_teachers(student: ModelArtifact, teacher: ModelArtifact) -> list[ModelArtifact]:
    return [a for a in map(load_artifact, student.parents) if a.twin == teacher.uri]


def row_numbers(splits: Splits) -> list[int]:
    return sorted(splits.table("train")[ROW].to_pylist())


def test_payments_are_answered_by_teachers_of_earlier_payments(tmp_path: Path) -> None:
    run = SmallRun(FRAUD, tmp_path, as_file(FRAUD.sample(1200, 3), tmp_path))
    student = run.student(num_folds=2)
    folds = folds_of(run.splits, 2, str(tmp_path))
    answered = [row_numbers(fold.answered) for fold in folds]
    assert sorted(sum(answered, [])) == row_numbers(run.splits)
    time = run.splits.corpus.time
    assert run.splits.kind == "time"
    assert time is not None
    for fold in folds:
        if fold.learnt is not None:
            latest = max(fold.learnt.table("train")[time].to_pylist())
            assert latest < min(fold.answered.table("train")[time].to_pylist())
    teachers = fold_teachers(student.artifact, run.teacher.artifact)
    assert len(teachers) == sum(fold.learnt is not None for fold in folds) > 0
    assert len({teacher.files["lightgbm.txt"] for teacher in teachers}) == len(teachers)
    plain = run.student()
    assert plain.artifact.files != student.artifact.files
    model, front, _ = select(run.teacher, {"": student}, run.splits)
    assert {point.name for point in front} >= {"student", "forests"}
    assert set(model.artifact.parents) >= {student.artifact.uri} or model.artifact.role == "student"
    assert run.student(num_folds=2).reused


def test_rows_without_a_time_calibrate_what_is_served_out_of_their_folds(tmp_path: Path) -> None:
    rows = FRAUD.sample(1200, 3)
    training = config_of(FRAUD, tmp_path)
    corpus = open_corpus(FRAUD, as_file(rows, tmp_path), storage=str(tmp_path))
    splits = split(FRAUD, corpus, str(tmp_path), SplitConfig(kind="random"))
    teacher = SpecializedModelTrainer(training).train(splits)
    pipeline = DistillationPipeline(
        DistillationConfig(training=training, num_copies=1, num_folds=3)
    )
    student = pipeline.distill(teacher, splits)
    folds = folds_of(splits, 3, str(tmp_path))
    assert len(fold_teachers(student.artifact, teacher.artifact)) == len(folds) == 3
    for fold in folds:
        assert fold.learnt is not None
        both = row_numbers(fold.answered) + row_numbers(fold.learnt)
        assert sorted(both) == row_numbers(splits)
    weights = [teacher.artifact, *fold_teachers(student.artifact, teacher.artifact)]
    assert len({each.files["network.safetensors"] for each in weights}) == 4
    model, _, _ = select(teacher, {"": student}, splits)
    again = pipeline.refit(
        student, SpecializedModelTrainer(training).refit(teacher, splits), splits
    )
    assert len(again.artifact.parents) == 2 + 3
    assert np.isfinite(model.artifact.metrics["validation_log_loss"])


def test_a_text_student_is_refitted_with_its_twin_s_calibration(tmp_path: Path) -> None:
    corpus = open_corpus(TEXT, TEXT.sample(200, 1), storage=str(tmp_path))
    splits = split(TEXT, corpus, str(tmp_path))
    base = tiny_base(str(tmp_path)).uri
    training = TrainingConfig(
        task=TEXT.path,
        industry=TEXT.industry,
        family="text",
        network=TextConfig(base=base, max_tokens=32, window_overlap=4, student_layers=1),
        num_epochs=1,
        batch_size=16,
        learning_rate=1e-3,
        evaluation_strategy="no",
        output_dir=str(tmp_path),
    )
    teacher = SpecializedModelTrainer(training).train(splits)
    pipeline = DistillationPipeline(DistillationConfig(training=training, num_copies=1))
    student = pipeline.distill(teacher, splits)
    twin, *_ = select(teacher, {"": student}, splits)

    own_teacher = SpecializedModelTrainer(training).refit(teacher, splits)
    own = pipeline.refit(student, own_teacher, splits)
    model = refitted_export(twin, own_teacher.artifact, own.artifact)
    assert (
        own.artifact.files["network.safetensors"] != student.artifact.files["network.safetensors"]
    )
    assert model.artifact.metrics == twin.artifact.metrics
    assert fitted_policy(model, splits) == fitted_policy(twin, splits)
    assert dataclasses.replace(model.artifact, uri="").twin == twin.uri
