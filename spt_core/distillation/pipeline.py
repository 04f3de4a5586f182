"""Distillation: a teacher's soft answers on augmented rows make a student of microseconds.

Splits + teacher -> augmented rows with soft labels (Parquet) -> student -> ModelArtifact
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from spt_core.artifacts import ModelArtifact, as_uri, load_artifact, merge_licences
from spt_core.data.partition import PARTS
from spt_core.data.sources import open_corpus
from spt_core.data.splits import Splits, load_splits
from spt_core.distillation.config import DistillationConfig
from spt_core.errors import InputError, SptError
from spt_core.families.training import TRAINING
from spt_core.fitting.lesson import Lesson
from spt_core.fitting.progress import OnMetrics
from spt_core.fitting.ray_train import fit_model
from spt_core.heads import metric_of
from spt_core.model import SpecializedModel
from spt_core.task import Task, find
from spt_core.training.trainer import checked_config


class DistillationPipeline:
    """Makes students of one configuration."""

    def __init__(self, config: DistillationConfig) -> None:
        self._config = config

    def distill(
        self,
        teacher: SpecializedModel | None,
        splits: Splits,
        *,
        fresh: bool = False,
        on_metrics: OnMetrics | None = None,
    ) -> SpecializedModel:
        """The student; an unfinished run of the same content resumes, a finished one is reused."""
        config = self._config
        source = self._teacher(teacher)
        _require_same_rows(source, splits)
        training = config.training
        if config.output_dir is not None:
            training = dataclasses.replace(training, output_dir=config.output_dir)
        task = find(splits.task)
        training = checked_config(training, task, splits)
        root = as_uri(training.output_dir)
        more = None
        if config.unlabelled is not None:
            more = open_corpus(task, config.unlabelled, storage=root, require_label=False)
        lesson = Lesson(
            teacher=source,
            splits=splits,
            training=training,
            copying=config.copying,
            num_copies=num_copies_of(config, splits.num_rows["train"]),
            hard_label_weight=config.hard_label_weight,
            compression_ratio=config.compression_ratio,
            unlabelled=more,
        )
        plan = TRAINING[training.family].distill(lesson)
        artifact, reused = fit_model(
            plan,
            splits,
            training,
            parents=(source.uri,),
            licences=merge_licences(
                [source.licences, config.unlabelled_licences if more is not None else ()]
            ),
            fresh=fresh,
            on_metrics=on_metrics,
            accept=lambda metrics: self._check_quality(metrics, source, task),
        )
        return SpecializedModel(artifact, reused=reused)

    def _teacher(self, teacher: SpecializedModel | None) -> ModelArtifact:
        if teacher is not None:
            return teacher.artifact
        if self._config.teacher_model_path is None:
            raise InputError(
                "distillation needs a teacher, however: teacher_model_path is None too"
            )
        return load_artifact(self._config.teacher_model_path)

    def _check_quality(
        self, metrics: Mapping[str, float], teacher: ModelArtifact, task: Task
    ) -> None:
        target = self._config.target_accuracy
        if target is None:
            return
        kept = share_kept(metrics, teacher.metrics, task)
        if kept < target:
            name = f"validation_{task.metric}"
            raise SptError(
                f"the student must keep {target:.1%} of the teacher's {task.metric}, however: it "
                f"keeps {kept:.1%} ({metrics[name]:.4f} of {teacher.metrics[name]:.4f}); try more "
                "steps, copies, epochs or a wider student"
            )


def share_kept(student: Mapping[str, float], teacher: Mapping[str, float], task: Task) -> float:
    """The share of the teacher's metric on validation rows that the student keeps.

    All of it where the teacher has nothing to keep.
    """
    before, after = (metrics[f"validation_{task.metric}"] for metrics in (teacher, student))
    if metric_of(task).lower_is_better:
        before, after = after, before
    return after / before if before > 0 else 1.0


def num_copies_of(config: DistillationConfig, num_rows: int) -> int:
    """Augmented copies of each of `num_rows` training rows.

    More of a corpus that is too small for the wanted steps, fewer of one that is large anyway.
    """
    training, rows = config.training, max(num_rows, 1)
    step_rows = training.batch_size * training.gradient_accumulation_steps * training.num_workers
    epoch_rows = math.ceil(config.num_steps / training.num_epochs) * step_rows
    num_copies = max(config.num_copies, math.ceil(epoch_rows / rows) - 1)
    return min(num_copies, max(config.max_rows // rows - 1, 0))


def _require_same_rows(teacher: ModelArtifact, splits: Splits) -> None:
    """A teacher of other training rows would be asked about rows that it was trained on."""
    if teacher.data_fingerprint != splits.data_fingerprint:
        raise InputError(
            "a student must be distilled on its teacher's data, however: the fingerprints are "
            f"{teacher.data_fingerprint} (teacher) and {splits.data_fingerprint} (splits)"
        )
    if teacher.splits == splits.uri:
        return
    before = load_splits(teacher.splits).fingerprints
    if before != splits.fingerprints:
        other = next(part for part in PARTS if before[part] != splits.fingerprints[part])
        raise InputError(
            "a student must be distilled on its teacher's splits, however: the part "
            f"{other} of {teacher.splits} is not that of {splits.uri}"
        )
