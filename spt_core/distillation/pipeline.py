"""Distillation: a teacher's soft answers on augmented rows make a student of microseconds.

Splits + teacher -> augmented rows with soft labels (Parquet) -> student -> ModelArtifact
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spt_core.artifacts import (
    ModelArtifact,
    as_uri,
    digest,
    load_artifact,
    merge_licences,
    remove,
)
from spt_core.compression.drafts import draft_points, fits
from spt_core.compression.limits import Limits
from spt_core.compression.mobile import mobile
from spt_core.compression.selection import LimitError, limits_sentence, select
from spt_core.data.folds import folds_of
from spt_core.data.partition import PARTS
from spt_core.data.sources import open_corpus
from spt_core.data.splits import Splits, load_splits, refit_splits
from spt_core.distillation.config import DistillationConfig
from spt_core.distillation.targets import DeploymentTarget, TargetResult, deployment_targets
from spt_core.errors import InputError, SptError
from spt_core.families.serving import SERVING
from spt_core.families.training import TRAINING
from spt_core.fitting.lesson import Lesson, StudentSizeError
from spt_core.fitting.progress import OnMetrics
from spt_core.fitting.ray_train import Fit, fit_model
from spt_core.heads import metric_of
from spt_core.model import SpecializedModel
from spt_core.scoring import fitted_policy
from spt_core.task import Task, find
from spt_core.training.trainer import (
    checked_config,
    fit_like,
    refit_config,
    splits_of,
    training_config_from_json,
)

NARROWING = 0.7  # of a student's width, which takes half of its weights


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
        on_fold: Callable[[int, int], None] | None = None,
        soft: str | None = None,
        fit: Fit | None = None,
    ) -> SpecializedModel:
        """The student; an unfinished run of the same content resumes, a finished one is reused.

        `on_fold` is called with the number of a fold, and of all, before its teacher is trained.
        `soft` is a folder of rows that the teacher answered and that several students share, and
        `fit` takes the place of Ray Train: see fit_model.
        """
        config, lesson = self._config, self.lesson(teacher, splits, soft=soft)
        source, training = lesson.teacher, lesson.training
        if source.twin:
            raise InputError(
                "a teacher must have left rows out that its student is judged by, however: "
                f"{source.uri} was refitted on them; its twin is {source.twin}"
            )
        licences = config.unlabelled_licences if lesson.unlabelled is not None else ()
        lesson = cross_fitted(lesson, fresh=fresh, on_metrics=on_metrics, on_fold=on_fold)
        artifact, reused = fit_model(
            TRAINING[training.family].distill(lesson),
            splits,
            training,
            parents=(source.uri, *_fold_teachers(lesson)),
            licences=merge_licences([source.licences, licences]),
            fresh=fresh,
            on_metrics=on_metrics,
            accept=lambda metrics: self._check_quality(metrics, source, find(splits.task)),
            fit=fit,
        )
        return SpecializedModel(artifact, reused=reused)

    def refit(
        self,
        twin: SpecializedModel,
        teacher: SpecializedModel,
        splits: Splits,
        *,
        fresh: bool = False,
        on_metrics: OnMetrics | None = None,
        on_fold: Callable[[int, int], None] | None = None,
    ) -> SpecializedModel:
        """The student `twin` once more, of a refitted teacher, on every row but the test's."""
        config, whole = self._config, refit_splits(splits)
        training = refit_config(training_config_from_json(twin.artifact.config), twin.artifact)
        if config.training.output_dir != training.output_dir:
            training = dataclasses.replace(training, output_dir=config.training.output_dir)
        own = DistillationPipeline(
            dataclasses.replace(config, training=training, target_accuracy=None)
        )
        lesson = dataclasses.replace(
            own.lesson(teacher, whole),
            twin=twin.artifact,
            num_folds=num_folds_of(config, splits.num_rows["train"]),  # as its twin was taught
        )
        lesson = cross_fitted(lesson, fresh=fresh, on_metrics=on_metrics, on_fold=on_fold)
        artifact, reused = fit_model(
            TRAINING[training.family].distill(lesson),
            whole,
            lesson.training,
            parents=(teacher.artifact.uri, twin.artifact.uri, *_fold_teachers(lesson)),
            licences=lesson.teacher.licences,
            fresh=fresh,
            on_metrics=on_metrics,
            twin=twin.artifact.uri,
        )
        return SpecializedModel(artifact, reused=reused)

    def lesson(
        self, teacher: SpecializedModel | None, splits: Splits, *, soft: str | None = None
    ) -> Lesson:
        """What the student is to learn, checked; `soft` is a folder that several students share."""
        config = self._config
        source, training = self._teacher(teacher), config.training
        _require_same_rows(source, splits)
        if config.output_dir is not None:
            training = dataclasses.replace(training, output_dir=config.output_dir)
        task = find(splits.task)
        training = checked_config(training, task, splits)
        if config.num_folds and not TRAINING[training.family].cross_fits:
            raise InputError(
                f"num_folds must be 0 for the {training.family} family, whose students learn from "
                f"one teacher, however: it is {config.num_folds}"
            )
        root = as_uri(training.output_dir)
        more = None
        if config.unlabelled is not None:
            more = open_corpus(task, config.unlabelled, storage=root, require_label=False)
        return Lesson(
            teacher=source,
            splits=splits,
            training=training,
            copying=config.copying,
            num_copies=num_copies_of(config, splits.num_rows["train"]),
            hard_label_weight=config.hard_label_weight,
            compression_ratio=config.compression_ratio,
            unlabelled=more,
            soft=soft,
            num_folds=0 if source.privacy else num_folds_of(config, splits.num_rows["train"]),
        )

    def run_comprehensive_distillation(
        self,
        teacher_model: SpecializedModel | None,
        train_data: Any,
        eval_data: Any,
        targets: Sequence[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]],
        *,
        fresh: bool = False,
        on_metrics: OnMetrics | None = None,
        on_target: Callable[[str], None] | None = None,
    ) -> dict[str, TargetResult]:
        """For each target the best model that keeps its limits, or the reason why there is none.

        Args:
            teacher_model: None takes `teacher_model_path`.
            train_data: what the teacher was trained on: a Splits, or what the trainer was given.
            eval_data: the validation rows that the trainer was given; None where there were none.
            targets: the specification's dictionaries, in a list or by name (targets.py).
            fresh: forget earlier students of the same content.
            on_metrics: called with each report of a student's training.
            on_target: called with the name of each target before it is worked on.
        """
        source = self._teacher(teacher_model)
        task = find(source.task)
        read = deployment_targets(targets, task)
        teacher = teacher_model or SpecializedModel(source)
        training = dataclasses.replace(self._config.training, task=task.path)
        splits = splits_of(training, train_data, eval_data)
        results: dict[str, TargetResult] = {}
        for target in read:
            if on_target is not None:
                on_target(target.name)
            try:
                student = self._fitting(teacher, splits, target, fresh, on_metrics)
                selection = select(teacher, {"": student}, splits, target.limits, fresh=fresh)
            except SptError as error:  # the other targets are not lost by it
                results[target.name] = TargetResult(target=target, refusal=str(error))
                continue
            exported = selection.model if target.place != "mobile" else mobile(selection.model)
            metrics = exported.artifact.metrics
            results[target.name] = TargetResult(
                target=target,
                exported=exported,
                policy=fitted_policy(exported, splits),
                share_kept=share_kept(metrics, source.metrics, task),
                front=selection.front,
            )
        return results

    def _fitting(
        self,
        teacher: SpecializedModel,
        splits: Splits,
        target: DeploymentTarget,
        fresh: bool,
        on_metrics: OnMetrics | None,
    ) -> SpecializedModel:
        """The widest student of the configuration that takes no more than the target allows."""
        config, training = self._config, self._config.training
        narrowed = TRAINING[training.family].narrowed
        network = training.network or SERVING[training.family].config()
        if target.pruning_ratio:
            network = narrowed(network, teacher.artifact, 1 - target.pruning_ratio)
        while True:
            own = DistillationPipeline(
                dataclasses.replace(
                    config,
                    compression_ratio=target.compression_ratio or config.compression_ratio,
                    training=dataclasses.replace(training, network=network),
                )
            )
            try:
                own.require_fitting(teacher, splits, target.limits)
                return own.distill(teacher, splits, fresh=fresh, on_metrics=on_metrics)
            except (LimitError, StudentSizeError) as error:
                try:
                    network = narrowed(network, teacher.artifact, NARROWING)
                except InputError:
                    raise error from None  # there is nothing smaller to be had

    def require_fitting(self, teacher: SpecializedModel, splits: Splits, limits: Limits) -> None:
        """LimitError where the student will take more than the limits allow, whatever it learns."""
        if limits == Limits():
            return
        lesson = self.lesson(teacher, splits)
        root, name = (
            as_uri(lesson.training.output_dir),
            digest([lesson.training.identity(), splits.fingerprints, *lesson.identity]),
        )
        uri = f"{root}/runs/draft-{name}"
        try:
            points = draft_points(lesson, "student", uri, limits)
        finally:
            remove(uri)
        if not fits(points):
            raise LimitError(limits_sentence(points, limits, find(splits.task)))

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


def cross_fitted(
    lesson: Lesson,
    *,
    fresh: bool = False,
    on_metrics: OnMetrics | None = None,
    on_fold: Callable[[int, int], None] | None = None,
) -> Lesson:
    """The lesson with the teachers of its folds, trained like its own; those that exist are reused.

    Each ends where the teacher was best: to stop it by the rows that it answers would bias its
    answers. The teacher itself answers rows that nothing can be learnt from before.
    """
    if not lesson.num_folds:
        return lesson
    teacher = SpecializedModel(lesson.teacher)
    root = lesson.training.output_dir
    training = training_config_from_json(lesson.teacher.config)
    training = dataclasses.replace(training, output_dir=root)
    folds = folds_of(lesson.splits, lesson.num_folds, root)
    answers: list[tuple[Splits, ModelArtifact]] = []
    for number, fold in enumerate(folds):
        own = teacher
        if fold.learnt is not None:
            if on_fold is not None:
                on_fold(number + 1, len(folds))
            own = fit_like(teacher, fold.learnt, training, fresh=fresh, on_metrics=on_metrics)
        answers.append((fold.answered, own.artifact))
    return dataclasses.replace(lesson, folds=tuple(answers))


def _fold_teachers(lesson: Lesson) -> tuple[str, ...]:
    uris = (teacher.uri for _, teacher in lesson.folds)
    return tuple(uri for uri in uris if uri != lesson.teacher.uri)


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


def num_folds_of(config: DistillationConfig, num_rows: int) -> int:
    """In how many folds a teacher of `num_rows` training rows is cross-fitted; 0 of many rows."""
    return config.num_folds if num_rows <= config.max_fold_rows else 0


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
