"""Distillation: a teacher's soft answers on augmented rows make a student of microseconds.

Splits + teacher -> augmented rows with soft labels (Parquet) -> student -> ModelArtifact
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from spt_core.artifacts import (
    ModelArtifact,
    as_uri,
    has_manifest,
    load_artifact,
    merge_licences,
    remove,
)
from spt_core.data.partition import PARTS
from spt_core.data.splits import Splits, load_splits
from spt_core.distillation.config import DistillationConfig
from spt_core.distillation.tables import distill_table
from spt_core.distillation.texts import distill_text
from spt_core.distillation.unlabelled import unlabelled_corpus
from spt_core.distillation.work import Distillation, Student
from spt_core.errors import InputError, SptError
from spt_core.metrics import LOWER_IS_BETTER
from spt_core.model import SpecializedModel
from spt_core.task import find
from spt_core.training.network import run_digest, write_artifact
from spt_core.training.progress import OnMetrics
from spt_core.training.trainer import checked_config

_DISTILL: dict[str, Callable[[Distillation], Student]] = {
    "tabular": distill_table,
    "text": distill_text,
}


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
        training = checked_config(training, find(splits.task), splits)
        recipe = {
            name: value
            for name, value in dataclasses.asdict(config).items()
            if name not in ("training", "output_dir", "teacher_model_path")
        }
        root = as_uri(training.output_dir)
        more = None
        if config.unlabelled is not None:
            more = unlabelled_corpus(config.unlabelled, find(splits.task), root)
            recipe["unlabelled"] = more.identity
        name = f"student-{run_digest(training, splits, source.signature, recipe, source.files)}"
        work = Distillation(
            config=dataclasses.replace(config, training=training),
            teacher=source,
            splits=splits,
            name=name,
            uri=f"{root}/{splits.task}/{training.model_name}/{name}",
            soft=f"{root}/runs/{name}-soft",
            unlabelled=more,
            on_metrics=on_metrics,
        )
        if fresh:  # what is finished stays until its successor is, as in training
            for folder in (work.soft, f"{root}/runs/{name}"):
                remove(folder)
        elif has_manifest(work.uri):
            return SpecializedModel(load_artifact(work.uri), reused=True)
        student = _DISTILL[training.family](work)
        self._check_quality(student.metrics, source, find(splits.task).metric)
        parents = (source.uri,)
        artifact = write_artifact(
            work.uri,
            splits,
            student.run,
            student.files,
            student.metrics,
            parents,
            licences=merge_licences(
                [source.licences, config.unlabelled_licences if more is not None else ()]
            ),
        )
        remove(work.soft)
        return SpecializedModel(artifact)

    def _teacher(self, teacher: SpecializedModel | None) -> ModelArtifact:
        if teacher is not None:
            return teacher.artifact
        if self._config.teacher_model_path is None:
            raise InputError(
                "distillation needs a teacher, however: teacher_model_path is None too"
            )
        return load_artifact(self._config.teacher_model_path)

    def _check_quality(
        self, metrics: Mapping[str, float], teacher: ModelArtifact, metric: str
    ) -> None:
        target = self._config.target_accuracy
        if target is None:
            return
        kept = share_kept(metrics, teacher.metrics, metric)
        if kept < target:
            name = f"validation_{metric}"
            raise SptError(
                f"the student must keep {target:.1%} of the teacher's {metric}, however: it keeps "
                f"{kept:.1%} ({metrics[name]:.4f} of {teacher.metrics[name]:.4f}); try more "
                "copies, epochs or a wider student"
            )


def share_kept(student: Mapping[str, float], teacher: Mapping[str, float], metric: str) -> float:
    """The share of the teacher's metric on validation rows that the student keeps.

    All of it where the teacher has nothing to keep.
    """
    before, after = (metrics[f"validation_{metric}"] for metrics in (teacher, student))
    if metric in LOWER_IS_BETTER:
        before, after = after, before
    return after / before if before > 0 else 1.0


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
