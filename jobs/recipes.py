"""Recipes: functions that return the whole configuration of a run, named for what they run on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from spt_core.benchmark import BenchmarkConfig
from spt_core.data.splits import SplitConfig
from spt_core.distillation import DistillationConfig
from spt_core.models.tabular import TabularConfig
from spt_core.models.text import TextConfig
from spt_core.task import Task
from spt_core.training import TrainingConfig
from spt_core.training.masked_lm import MaskedConfig
from spt_core.vocabulary import VocabularyConfig
from spt_core.vocabulary.study import StudyConfig


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What a corpus' columns mean beyond the shared flags; windows as in `count(card, 7d)`."""

    protected: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    positive: str | None = None
    windows: tuple[str, ...] = ()
    licences: tuple[str, ...] = ("the owner's own data",)
    sample_rows: int = 30_000
    sample_seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PipelineConfig:
    """Everything that decides a run's result."""

    data: DataConfig
    split: SplitConfig
    training: TrainingConfig
    distillation: DistillationConfig
    benchmark: BenchmarkConfig
    vocabulary: StudyConfig = dataclasses.field(default_factory=StudyConfig)


def default(task: Task) -> PipelineConfig:
    """A real corpus on a few cores."""
    return _DEFAULTS[task.family](task)


def sample(task: Task) -> PipelineConfig:
    """The bundled synthetic sample on two cores, in about three minutes."""
    if task.family == "text":
        return _with(
            dataclasses.replace(default(task), vocabulary=_brief_study(20)),
            TextConfig(max_tokens=64, window_overlap=8),
            num_epochs=2,
            data=DataConfig(sample_rows=600),
            num_copies=2,
            benchmark=BenchmarkConfig(num_trials=3, num_resamples=100, num_calls=300),
        )
    network = TabularConfig(booster_trials=2)
    return _with(
        default(task),
        network,
        num_epochs=6,
        data=DataConfig(sample_rows=20_000),
        num_copies=1,
        benchmark=BenchmarkConfig(num_trials=3, num_resamples=100, num_calls=1000),
    )


def smoke(task: Task) -> PipelineConfig:
    """Seconds: everything once, nothing well."""
    if task.family == "text":
        return _with(
            dataclasses.replace(default(task), vocabulary=_brief_study(4)),
            TextConfig(max_tokens=32, window_overlap=4, student_layers=1),
            num_epochs=1,
            data=DataConfig(sample_rows=200),
            num_copies=1,
            benchmark=BenchmarkConfig(num_trials=1, num_resamples=20, num_calls=100),
        )
    network = TabularConfig(
        num_bins=8, student_hidden=(16,), teacher_members=2, teacher_width=16, booster_trials=1
    )
    return _with(
        default(task),
        network,
        num_epochs=1,
        data=DataConfig(sample_rows=3000),
        num_copies=1,
        benchmark=BenchmarkConfig(num_trials=1, num_resamples=20, num_calls=200),
    )


def _brief_study(num_steps: int) -> StudyConfig:
    return StudyConfig(
        extension=VocabularyConfig(context_steps=num_steps),
        training=MaskedConfig(num_steps=num_steps, first_steps=num_steps // 2, step_bytes=3000),
        score_rows=500,
        score_epochs=1,
        score_seeds=1,
    )


def _tables(task: Task) -> PipelineConfig:
    training = TrainingConfig(
        task=task.path,
        industry=task.industry,
        model_name="default",
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
        distillation=DistillationConfig(training=student),
        benchmark=BenchmarkConfig(),
    )


def _texts(task: Task) -> PipelineConfig:
    """Fine-tuning runs its epochs to the end: the rate falls to zero, the last weights are kept.

    Rows with several labels or none are mostly without, and go with a lower rate (found on
    documents of compliance-unfair-tos; its fold 0). What two mentions have to do with each other
    takes more layers than what a text is about, and the student of pairs keeps its teacher's width
    (found on documents of ddi-corpus-2013; its fold 0): it begins near its teacher, learns at a
    lower rate and needs fewer copies.
    """
    is_sparse, is_pair = task.head == "multi_label", task.head == "pair"
    training = TrainingConfig(
        task=task.path,
        industry=task.industry,
        family="text",
        model_name="default",
        num_epochs=4 if is_sparse else 6,
        batch_size=16,
        learning_rate=1e-4 if is_sparse else 2e-4,
        save_strategy="epoch",
        evaluation_strategy="no",
    )
    if is_pair:
        network, num_epochs = TextConfig(student_layers=4), 4
    elif is_sparse:  # a small table for its wide part; without dropout an epoch takes two thirds
        network, num_epochs = TextConfig(student_width=256, wide_buckets=4096, dropout=0.0), 8
    else:
        network, num_epochs = TextConfig(student_width=256), 6
    student = dataclasses.replace(
        training,
        num_epochs=num_epochs,
        learning_rate=4e-4 if is_pair else 8e-4,
        batch_size=64,
        network=network,
    )
    return PipelineConfig(
        data=DataConfig(),
        split=SplitConfig(),
        training=training,
        distillation=DistillationConfig(training=student, num_copies=3 if is_pair else 6),
        benchmark=BenchmarkConfig(num_calls=500),
    )


def _with(
    config: PipelineConfig,
    network: TabularConfig | TextConfig,
    *,
    num_epochs: int,
    data: DataConfig,
    num_copies: int,
    benchmark: BenchmarkConfig,
) -> PipelineConfig:
    """The configuration with other sizes for both trainings."""
    training, distillation = config.training, config.distillation
    student = dataclasses.replace(distillation.training, num_epochs=num_epochs, network=network)
    return dataclasses.replace(
        config,
        data=data,
        training=dataclasses.replace(training, num_epochs=num_epochs, network=network),
        distillation=dataclasses.replace(distillation, num_copies=num_copies, training=student),
        benchmark=benchmark,
    )


_DEFAULTS: dict[str, Callable[[Task], PipelineConfig]] = {"tabular": _tables, "text": _texts}
RECIPES: dict[str, Callable[[Task], PipelineConfig]] = {
    "default": default,
    "sample": sample,
    "smoke": smoke,
}
