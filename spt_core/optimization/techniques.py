"""What may be done to a model on the way to a service: one frozen dataclass each, with `apply`.

Work -> technique -> Work, in the order of TECHNIQUES. Adding one: a class, and one line there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Protocol, get_args

from spt_core.artifacts import WEIGHTS, as_uri, digest, has_manifest, load_artifact
from spt_core.compression.limits import Limits
from spt_core.compression.selection import LimitError
from spt_core.data.splits import Splits
from spt_core.distillation import DistillationConfig, DistillationPipeline
from spt_core.distillation.pipeline import NARROWING
from spt_core.errors import InputError
from spt_core.families.text.bases import find_base, num_new_tokens
from spt_core.families.training import TRAINING
from spt_core.fitting.lesson import StudentSizeError
from spt_core.fitting.ray_train import write_artifact
from spt_core.heads import metric_of, validation_loss
from spt_core.model import SpecializedModel
from spt_core.optimization.config import (
    OptimizationConfig,
    OptimizationTechnique,
    OptimizationType,
)
from spt_core.optimization.search import search
from spt_core.task import Family, Task, find
from spt_core.training import SpecializedModelTrainer
from spt_core.training.trainer import training_config_from_json
from spt_core.vocabulary.config import MaskedConfig
from spt_core.vocabulary.masked_lm import adapt
from spt_core.vocabulary.raw_text import FileTexts


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """An optimization under way.

    `students` are by what tells them apart; `has_int8` and `has_tuned_policy` say what the model
    that is served may have. `notes` are what each technique did, a sentence each.
    """

    config: OptimizationConfig
    splits: Splits
    teacher: SpecializedModel
    distillation: DistillationConfig
    limits: Limits
    students: Mapping[str, SpecializedModel]
    is_given: bool = False  # the student was brought, not made
    has_int8: bool = False
    has_tuned_policy: bool = False
    notes: Mapping[OptimizationTechnique, str] = dataclasses.field(
        default_factory=dict[OptimizationTechnique, str]
    )

    @property
    def task(self) -> Task:
        """The task of it all."""
        return find(self.splits.task)

    def done(self, technique: OptimizationTechnique, note: str, **changes: Any) -> Work:
        """The work with changes, and what was done in a sentence."""
        return dataclasses.replace(self, notes={**self.notes, technique: note}, **changes)

    def pipeline(self, **network: Any) -> DistillationPipeline:
        """How a student is made, of a network with other sizes."""
        training = self.distillation.training
        own = dataclasses.replace(training.network, **network)
        training = dataclasses.replace(training, network=own)
        return DistillationPipeline(dataclasses.replace(self.distillation, training=training))


class Technique(Protocol):
    """What an optimization may do."""

    def apply(self, work: Work) -> Work:
        """The work afterwards; an SptError where it cannot be done."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class DomainAdaptiveTraining:
    """Masked-language-model training on the training rows' texts, then the teacher once more.

    After Gururangan et al., "Don't Stop Pretraining", ACL 2020. The teacher that is better on
    validation rows teaches.
    """

    name = OptimizationTechnique.DOMAIN_ADAPTIVE_TRAINING

    def apply(self, work: Work) -> Work:
        """Another teacher, if it is as good."""
        artifact, splits, task = work.teacher.artifact, work.splits, work.task
        training = training_config_from_json(artifact.config)
        epoch_steps = math.ceil(splits.num_rows["train"] / training.batch_size)
        share = work.config.domain_adaptation_weight
        num_steps = round(share * epoch_steps * training.num_epochs)
        if not num_steps:
            return work.done(self.name, f"a weight of {share:g} leaves no step for it")
        root = as_uri(training.output_dir)
        base = find_base(training.network.base, root)
        adapted = adapt(
            base,
            FileTexts(splits.files("train"), "parquet", task.text_field.name),
            fingerprint=splits.fingerprints["train"],
            storage=root,
            config=MaskedConfig(num_steps=num_steps, first_steps=num_steps // 3),
            licences=splits.licences,
            num_new=num_new_tokens(base),
        )
        network = dataclasses.replace(training.network, base=adapted.base.uri)
        teacher = SpecializedModelTrainer(dataclasses.replace(training, network=network)).train(
            splits
        )
        name, sign = f"validation_{task.metric}", metric_of(task).sign
        before, after = artifact.metrics[name], teacher.artifact.metrics[name]
        figures = f"{num_steps} steps; the teacher's {task.metric} {before:.4f} -> {after:.4f}"
        if sign * after < sign * before:
            return work.done(self.name, f"{figures}: not kept")
        return work.done(self.name, figures, teacher=teacher)


@dataclasses.dataclass(frozen=True, slots=True)
class VocabularyTrimming:
    """Students drop the tokens that their training texts never use."""

    name = OptimizationTechnique.VOCABULARY_TRIMMING

    def apply(self, work: Work) -> Work:
        """Students to come are trimmed."""
        training = work.distillation.training
        network = dataclasses.replace(training.network, trim_vocabulary=True)
        distillation = dataclasses.replace(
            work.distillation, training=dataclasses.replace(training, network=network)
        )
        return work.done(
            self.name, "students keep the tokens of their texts", distillation=distillation
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Distillation:
    """The student of the configuration, as DistillationPipeline makes it."""

    name = OptimizationTechnique.DISTILLATION

    def apply(self, work: Work) -> Work:
        """A student more."""
        student = work.pipeline().distill(work.teacher, work.splits)
        return work.done(
            self.name,
            _figure(work.task, student),
            students={**work.students, "": student},
            is_given=False,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class StructuredPruning:
    """A student that loses whole units of each layer, or attention heads, before it is taught."""

    name = OptimizationTechnique.STRUCTURED_PRUNING

    def apply(self, work: Work) -> Work:
        """A narrower student more."""
        network = work.distillation.training.network
        narrowed = TRAINING[work.task.family].narrowed
        own = narrowed(network, work.teacher.artifact, NARROWING)
        changes = {f.name: getattr(own, f.name) for f in dataclasses.fields(own)}
        student = work.pipeline(**changes).distill(work.teacher, work.splits)
        students = {**work.students, "pruned": student}
        note = f"{_figure(work.task, student)}{_computed(student, work.students.get(''))}"
        return work.done(self.name, note, students=students)


@dataclasses.dataclass(frozen=True, slots=True)
class ArchitectureSearch:
    """Students of many shapes and rates, searched on Ray Tune: search.py."""

    name = OptimizationTechnique.ARCHITECTURE_SEARCH

    def apply(self, work: Work) -> Work:
        """The students of the front more."""
        result = search(
            work.teacher, work.splits, work.distillation, work.limits, work.config.search
        )
        best = min(trial.loss for trial in result.trials)
        note = f"{len(result.trials)} students, least loss {best:.4f}: {result.uri}"
        return work.done(self.name, note, students={**work.students, **result.students})


@dataclasses.dataclass(frozen=True, slots=True)
class Calibration:
    """A student that was brought is calibrated anew, where that has less loss.

    Those that an optimization makes are calibrated as they are made.
    """

    name = OptimizationTechnique.CALIBRATION

    def apply(self, work: Work) -> Work:
        """The student as it is, or calibrated anew."""
        if not work.is_given:
            return work.done(self.name, "students are calibrated as they are made")
        students = {name: _calibrated(work, student) for name, student in work.students.items()}
        losses = [
            validation_loss(work.task, of[""].artifact.metrics) for of in (work.students, students)
        ]
        figures = f"loss on validation rows {losses[0]:.4f} -> {losses[1]:.4f}"
        if losses[1] >= losses[0]:
            return work.done(self.name, f"{figures}: not kept")
        return work.done(self.name, figures, students=students)


@dataclasses.dataclass(frozen=True, slots=True)
class Quantization:
    """INT8 beside full precision, where the metric stays: compression/quantize.py."""

    name = OptimizationTechnique.QUANTIZATION

    def apply(self, work: Work) -> Work:
        """Both are offered."""
        return work.done(self.name, "each student is offered in INT8 too", has_int8=True)


@dataclasses.dataclass(frozen=True, slots=True)
class ThresholdTuning:
    """The policy that calibration rows ask for, at the task's costs; else its stated one."""

    name = OptimizationTechnique.THRESHOLD_TUNING

    def apply(self, work: Work) -> Work:
        """The served model gets the fitted policy."""
        return work.done(
            self.name, "the policy is fitted on calibration rows", has_tuned_policy=True
        )


_ALL: tuple[Family, ...] = get_args(Family)
# In the order in which they are applied, with the families that have them.
TECHNIQUES: Mapping[OptimizationTechnique, tuple[Technique, tuple[Family, ...]]] = {
    OptimizationTechnique.DOMAIN_ADAPTIVE_TRAINING: (DomainAdaptiveTraining(), ("text",)),
    OptimizationTechnique.VOCABULARY_TRIMMING: (VocabularyTrimming(), ("text",)),
    OptimizationTechnique.DISTILLATION: (Distillation(), _ALL),
    OptimizationTechnique.STRUCTURED_PRUNING: (StructuredPruning(), _ALL),
    OptimizationTechnique.ARCHITECTURE_SEARCH: (ArchitectureSearch(), _ALL),
    OptimizationTechnique.CALIBRATION: (Calibration(), _ALL),
    OptimizationTechnique.QUANTIZATION: (Quantization(), ("text", "image")),
    OptimizationTechnique.THRESHOLD_TUNING: (ThresholdTuning(), _ALL),
}
# Takes another fine-tuning of the teacher, which no smaller or faster model asks for.
_OF_QUALITY = {OptimizationTechnique.DOMAIN_ADAPTIVE_TRAINING}


def techniques_of(config: OptimizationConfig, task: Task) -> list[OptimizationTechnique]:
    """Those that are asked for, in their order; InputError for one that the family lacks.

    Without a list all of the family's, but those of quality alone where another aim is asked for.
    """
    offered = [name for name, (_, families) in TECHNIQUES.items() if task.family in families]
    if config.techniques is None:
        aims = (OptimizationType.ACCURACY_OPTIMIZATION, OptimizationType.COMPLIANCE_OPTIMIZATION)
        is_quality = config.optimization_type in aims
        return [name for name in offered if is_quality or name not in _OF_QUALITY]
    for name in config.techniques:
        if name not in offered:
            raise InputError(
                f"techniques must be those of the {task.family} family ({', '.join(offered)}), "
                f"however: {name} is asked for {task.path}"
            )
    return [name for name in offered if name in config.techniques]


def apply_all(work: Work, names: list[OptimizationTechnique]) -> Work:
    """The work after all of the techniques; what one of several cannot do is a note of it."""
    is_alone = len(names) == 1
    for name in names:
        technique, _ = TECHNIQUES[name]
        try:
            work = technique.apply(work)
        except (LimitError, StudentSizeError) as error:
            if is_alone:
                raise
            work = work.done(name, f"not done: {error}")
    return work


def _figure(task: Task, student: SpecializedModel) -> str:
    value = student.artifact.metrics[f"validation_{task.metric}"]
    return f"{task.metric.replace('_', ' ')} {value:.4f} on validation rows"


def _computed(pruned: SpecializedModel, whole: SpecializedModel | None) -> str:
    """How much less is computed, where the family counts it."""
    counts = [
        model.artifact.metrics.get("multiply_adds", 0.0) if model else 0.0
        for model in (pruned, whole)
    ]
    return f", {counts[0] / counts[1]:.0%} of the unpruned one's products" if all(counts) else ""


def _calibrated(work: Work, student: SpecializedModel) -> SpecializedModel:
    """The same weights, finished once more: calibration is a student's last step."""
    artifact = student.artifact
    training = training_config_from_json(artifact.config)
    own = dataclasses.replace(work.distillation, training=training)
    lesson = DistillationPipeline(own).lesson(work.teacher, work.splits)
    plan = TRAINING[work.task.family].distill(lesson)
    run = plan.draft()
    uri = f"{artifact.uri}-calibrated-{digest([artifact.files, work.splits.fingerprints])}"
    if has_manifest(uri):
        return SpecializedModel(load_artifact(uri))
    trained = plan.finish(artifact.read(WEIGHTS))
    return SpecializedModel(write_artifact(uri, work.splits, run, trained, artifact.parents))
