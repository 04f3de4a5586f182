"""Recipes of tables."""

from __future__ import annotations

import dataclasses

from jobs.recipes.config import DataConfig, PipelineConfig, resized
from spt_core.benchmark import BenchmarkConfig
from spt_core.data.splits import SplitConfig
from spt_core.distillation import DistillationConfig
from spt_core.families.tabular.config import TabularConfig
from spt_core.task import Task
from spt_core.training import TrainingConfig


def default(task: Task) -> PipelineConfig:
    """A real corpus on a few cores.

    What a student keeps of its teacher follows its optimizer's steps. Two copies of the 612 rows of
    credit-german are 40 steps and keep 81 % of its average precision on validation rows, 1,000
    steps all of it; the 2,479 of fraud-ulb-sampled are 150 steps and keep 99.2 %, 3,000 steps
    99.8 %; the 14,457 of credit-taiwan are 850 and keep 99.3 %, 2,000 steps 99.6 %. More than 3,000
    were within the spread of seeds there, and so were batches of 256 and lower rates.
    """
    training = TrainingConfig(
        task=task.path,
        industry=task.industry,
        model_name="default",
        network=TabularConfig(),
        num_epochs=20,
        batch_size=512,
        learning_rate=4e-3,
        warmup_ratio=0.05,
        weight_decay=3e-4,
        save_strategy="epoch",
        evaluation_strategy="epoch",
        early_stopping_patience=4,
    )
    student = dataclasses.replace(training, num_epochs=10, learning_rate=5e-3, weight_decay=0.02)
    return PipelineConfig(
        data=DataConfig(),
        split=SplitConfig(),
        training=training,
        distillation=DistillationConfig(training=student, num_steps=3000, num_folds=3),
        benchmark=BenchmarkConfig(),
    )


def sample(task: Task) -> PipelineConfig:
    """The bundled synthetic sample on two cores, in about three minutes.

    40,000 rows, so that the test rows hold 407 frauds, and average precision is known within 0.04.
    2,000 steps keep 99.3 % of the teacher's average precision on validation rows, 4,000 all of it
    at twice the time of fitting.
    """
    return resized(
        default(task),
        TabularConfig(booster_trials=2),
        num_epochs=6,
        data=DataConfig(sample_rows=40_000),
        num_copies=1,
        num_steps=2000,
        num_folds=3,
        benchmark=BenchmarkConfig(num_trials=3, num_resamples=100, num_calls=1000),
        num_trials=8,
    )


def smoke(task: Task) -> PipelineConfig:
    """Seconds: everything once, nothing well."""
    network = TabularConfig(
        num_bins=8, student_hidden=(16,), teacher_members=2, teacher_width=16, booster_trials=1
    )
    return resized(
        default(task),
        network,
        num_epochs=1,
        data=DataConfig(sample_rows=3000),
        num_copies=1,
        benchmark=BenchmarkConfig(num_trials=1, num_resamples=20, num_calls=200),
        num_trials=2,
    )
