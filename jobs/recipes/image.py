"""Recipes of images."""

from __future__ import annotations

import dataclasses

from jobs.recipes.config import DataConfig, PipelineConfig, resized
from spt_core.benchmark import BenchmarkConfig
from spt_core.data.splits import SplitConfig
from spt_core.distillation import DistillationConfig
from spt_core.families.image.config import ImageConfig
from spt_core.optimization import SearchConfig
from spt_core.task import Task
from spt_core.training import TrainingConfig


def default(task: Task) -> PipelineConfig:
    """A real corpus on a few cores.

    Fine-tuning runs its epochs to the end: the rate falls to zero, the last weights are kept. Of
    one core an epoch takes 25 ms an image of the teacher's, 13 ms of the student's (96 px): of 281
    images, of which each has four copies, some 85 s for the teacher and 110 s for the student.
    """
    training = TrainingConfig(
        task=task.path,
        industry=task.industry,
        family="image",
        model_name="default",
        network=ImageConfig(),
        num_epochs=12,
        batch_size=16,
        learning_rate=1e-3,
        weight_decay=1e-4,
        save_strategy="epoch",
        evaluation_strategy="no",
    )
    student = dataclasses.replace(training, num_epochs=6, batch_size=32, learning_rate=2e-3)
    return PipelineConfig(
        data=DataConfig(),
        split=SplitConfig(),
        training=training,
        distillation=DistillationConfig(training=student, num_copies=4),
        benchmark=BenchmarkConfig(num_calls=300),
        search=SearchConfig(num_trials=4),  # each takes as long as the recipe's own student
        refit=False,
    )


def sample(task: Task) -> PipelineConfig:
    """The bundled synthetic sample on two cores, in about three minutes."""
    return resized(
        default(task),
        ImageConfig(size_px=64),
        num_epochs=6,
        data=DataConfig(sample_rows=900),
        num_copies=3,
        benchmark=BenchmarkConfig(num_trials=3, num_resamples=100, num_calls=200),
        num_trials=2,
    )


def smoke(task: Task) -> PipelineConfig:
    """Seconds: everything once, nothing well; from random weights, whatever is installed."""
    return resized(
        default(task),
        ImageConfig(base=None, size_px=32, student_stages=3),
        num_epochs=1,
        data=DataConfig(sample_rows=300),
        num_copies=1,
        benchmark=BenchmarkConfig(num_trials=1, num_resamples=20, num_calls=100),
        num_trials=2,
    )
