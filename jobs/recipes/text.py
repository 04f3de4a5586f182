"""Recipes of texts."""

from __future__ import annotations

import dataclasses

from jobs.recipes.config import DataConfig, PipelineConfig, resized
from spt_core.benchmark import BenchmarkConfig
from spt_core.data.splits import SplitConfig
from spt_core.distillation import DistillationConfig
from spt_core.families.text.config import TextConfig
from spt_core.optimization import SearchConfig
from spt_core.task import Task
from spt_core.training import TrainingConfig
from spt_core.vocabulary.config import MaskedConfig, StudyConfig, VocabularyConfig

MAX_ROWS = 100_000  # of a student's training: many texts differ by themselves, and need no copies


def default(task: Task) -> PipelineConfig:
    """A real corpus on a few cores.

    Fine-tuning runs its epochs to the end: the rate falls to zero, the last weights are kept.

    Rows with several labels or none are mostly without, and go with a lower rate (found on
    documents of compliance-unfair-tos; its fold 0). What two mentions have to do with each other
    takes more layers than what a text is about, and the student of pairs keeps its teacher's width
    (found on documents of ddi-corpus-2013; its fold 0): it begins near its teacher, learns at a
    lower rate and needs fewer copies. So does that of spans: on validation rows of
    phi-presidio-synth it keeps 91 % of its teacher's span F1, a smaller one kept 75 %.
    """
    is_sparse, is_deep = task.head == "multi_label", task.head in ("pair", "spans")
    training = TrainingConfig(
        task=task.path,
        industry=task.industry,
        family="text",
        model_name="default",
        network=TextConfig(),
        num_epochs=4 if is_sparse else 6,
        batch_size=16,
        learning_rate=1e-4 if is_sparse else 2e-4,
        save_strategy="epoch",
        evaluation_strategy="no",
    )
    if is_deep:
        network, num_epochs = TextConfig(student_layers=4), 4
    elif is_sparse:  # a small table for its wide part; without dropout an epoch takes two thirds
        network, num_epochs = TextConfig(student_width=256, wide_buckets=4096, dropout=0.0), 8
    else:
        network, num_epochs = TextConfig(student_width=256), 6
    student = dataclasses.replace(
        training,
        num_epochs=num_epochs,
        learning_rate=4e-4 if is_deep else 8e-4,
        batch_size=64,
        network=network,
    )
    return PipelineConfig(
        data=DataConfig(),
        split=SplitConfig(),
        training=training,
        distillation=DistillationConfig(
            training=student, num_copies=3 if is_deep else 6, max_rows=MAX_ROWS
        ),
        benchmark=BenchmarkConfig(num_calls=500),
        search=SearchConfig(num_trials=6),  # each takes as long as the recipe's own student
        refit=False,  # retrained candidates, that are held against the champion, have no more rows
    )


def sample(task: Task) -> PipelineConfig:
    """The bundled synthetic sample on two cores, in about three minutes."""
    return resized(
        dataclasses.replace(default(task), vocabulary=_brief_study(20)),
        TextConfig(max_tokens=64, window_overlap=8),
        num_epochs=2,
        data=DataConfig(sample_rows=600),
        num_copies=2,
        benchmark=BenchmarkConfig(num_trials=3, num_resamples=100, num_calls=300),
        num_trials=4,
    )


def smoke(task: Task) -> PipelineConfig:
    """Seconds: everything once, nothing well."""
    return resized(
        dataclasses.replace(default(task), vocabulary=_brief_study(4)),
        TextConfig(max_tokens=32, window_overlap=4, student_layers=1),
        num_epochs=1,
        data=DataConfig(sample_rows=200),
        num_copies=1,
        benchmark=BenchmarkConfig(num_trials=1, num_resamples=20, num_calls=100),
        num_trials=2,
    )


def _brief_study(num_steps: int) -> StudyConfig:
    return StudyConfig(
        extension=VocabularyConfig(context_steps=num_steps),
        training=MaskedConfig(num_steps=num_steps, first_steps=num_steps // 2, step_bytes=3000),
        score_rows=500,
        score_epochs=1,
        score_seeds=1,
    )
