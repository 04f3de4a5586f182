"""DomainOptimizer: the best model that keeps what an industry, a target and a machine demand.

model -> teacher + students by the techniques -> exported, measured -> the best within limits
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from spt_core.artifacts import ExportedModel, ModelArtifact, lineage, unrefitted
from spt_core.benchmark.compliance import run_checks
from spt_core.compression.limits import Limits
from spt_core.compression.measured import FrontPoint
from spt_core.compression.refitting import student_of
from spt_core.compression.selection import Aim, select
from spt_core.data.splits import Splits
from spt_core.distillation import DistillationConfig
from spt_core.errors import InputError, QualityError, nearest
from spt_core.families.serving import SERVING
from spt_core.heads import HEADS
from spt_core.model import SpecializedModel, default_policy
from spt_core.optimization.config import (
    OptimizationConfig,
    OptimizationTechnique,
    OptimizationType,
)
from spt_core.optimization.techniques import Work, apply_all, techniques_of
from spt_core.policy import Policy
from spt_core.scoring import fitted_policy
from spt_core.task import Task, find
from spt_core.training.trainer import splits_of, training_config_from_json

FOUR_FIFTHS = 0.8  # of the best group's rate: 29 CFR 1607.4(D), which is about approvals
_AIMS: Mapping[OptimizationType, Aim] = {
    OptimizationType.LATENCY_OPTIMIZATION: "latency",
    OptimizationType.MEMORY_OPTIMIZATION: "memory",
    OptimizationType.THROUGHPUT_OPTIMIZATION: "throughput",
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class OptimizationResult:
    """What an optimization came to.

    `before` and `after` are the target metrics on validation rows, of the model that was brought
    and of the one that is handed back. `techniques` say what each did; `front` is what was measured
    with its refusals, `compliance` each check of the task with its fact.
    """

    metric: str
    before: Mapping[str, float]
    after: Mapping[str, float]
    techniques: Mapping[OptimizationTechnique, str]
    front: Sequence[FrontPoint]
    exported: ExportedModel
    policy: Policy
    compliance: Mapping[str, Mapping[str, object]]


class DomainOptimizer:
    """Optimizes models of one industry for one aim."""

    def __init__(self, config: OptimizationConfig) -> None:
        self._config = config

    def optimize_model(
        self, model: SpecializedModel, train_data: Any, eval_data: Any, metric: str
    ) -> tuple[SpecializedModel, OptimizationResult]:
        """The best model that keeps the limits, with its policy; LimitError where none does.

        Args:
            model: a teacher, or a student of one.
            train_data: what the teacher was trained on: a Splits, or what the trainer was given.
            eval_data: the validation rows that the trainer was given; a Splits brings its own.
            metric: of the head's metrics, the one that `target_accuracy` is of, and that accuracy
                optimization makes best, on validation rows.
        """
        config, task = self._config, find(model.artifact.task)
        self._check(task, metric)
        names = techniques_of(config, task)
        artifact = unrefitted(model.artifact)
        teacher = _teacher_of(artifact)
        splits = self._splits(teacher, train_data, eval_data)
        is_given = artifact.role != "teacher"
        if not is_given and not any(name in names for name in _MAKING):
            raise InputError(
                "a teacher is served as its student, however: of techniques none makes one "
                f"({', '.join(_MAKING)})"
            )
        work = apply_all(
            Work(
                config=config,
                splits=splits,
                teacher=SpecializedModel(teacher),
                distillation=self._distillation(teacher, names),
                limits=self._limits(task, splits, metric),
                students={"": SpecializedModel(student_of(artifact))} if is_given else {},
                is_given=is_given,
            ),
            names,
        )
        selection = select(
            work.teacher,
            work.students,
            splits,
            work.limits,
            aim=_AIMS.get(config.optimization_type, "quality"),
            metric=metric,
            with_int8=work.has_int8,
        )
        exported = selection.model
        policy = (fitted_policy if work.has_tuned_policy else _stated_policy)(exported, splits)
        compliance = run_checks(task, exported, policy)
        self._require_compliance(task, compliance)
        shown = list(config.target_metrics or HEADS[task.head].metrics)
        result = OptimizationResult(
            metric=metric,
            before=_metrics(artifact, shown),
            after=_metrics(exported.artifact, shown),
            techniques=work.notes,
            front=selection.front,
            exported=exported,
            policy=policy,
            compliance=compliance,
        )
        return SpecializedModel(exported, policy=policy), result

    def _check(self, task: Task, metric: str) -> None:
        config, metrics = self._config, HEADS[task.head].metrics
        if config.industry != task.industry:
            raise InputError(
                f"OptimizationConfig.industry must be the task's ({task.industry}), however: "
                f"{config.industry}"
            )
        for name in (metric, *(config.target_metrics or ())):
            if name not in metrics:
                raise InputError(
                    f"a metric must be one of a {task.head} task ({', '.join(metrics)}), however: "
                    f"{name!r} is none; {nearest(name, metrics)}"
                )
        usual = OptimizationConfig.__dataclass_fields__["domain_adaptation_weight"].default
        adaptation = OptimizationTechnique.DOMAIN_ADAPTIVE_TRAINING
        is_used = adaptation in techniques_of(config, task)
        if config.domain_adaptation_weight != usual and not is_used:
            raise InputError(
                f"domain_adaptation_weight is the share of {adaptation}, however: of {task.path} "
                "that is not done"
            )

    def _splits(self, teacher: ModelArtifact, train_data: Any, eval_data: Any) -> Splits:
        if eval_data is None and not isinstance(train_data, Splits):
            raise InputError(
                "an optimization is judged on evaluation rows, however: eval_data is None, and "
                "train_data is no Splits, which has its own"
            )
        splits = splits_of(training_config_from_json(teacher.config), train_data, eval_data)
        if splits.task != teacher.task:
            raise InputError(
                f"a model is optimized on rows of its own task, however: it is of {teacher.task}, "
                f"the rows of {splits.task}"
            )
        return splits

    def _distillation(
        self, teacher: ModelArtifact, names: Sequence[OptimizationTechnique]
    ) -> DistillationConfig:
        """How students are made; without vocabulary trimming they keep all tokens."""
        config = self._config
        distillation = config.distillation or DistillationConfig(
            training=training_config_from_json(teacher.config)
        )
        training = distillation.training
        network = training.network or SERVING[training.family].config()
        if hasattr(network, "trim_vocabulary"):
            is_trimmed = OptimizationTechnique.VOCABULARY_TRIMMING in names
            network = dataclasses.replace(network, trim_vocabulary=is_trimmed)
        layers = config.task_specific_layers or training.specialized_layers
        training = dataclasses.replace(training, network=network, specialized_layers=layers)
        return dataclasses.replace(distillation, training=training)

    def _limits(self, task: Task, splits: Splits, metric: str) -> Limits:
        config = self._config
        is_compliance = config.optimization_type == OptimizationType.COMPLIANCE_OPTIMIZATION
        with_groups = is_compliance and task.head == "binary" and splits.protected
        target = config.target_accuracy
        return Limits(
            latency_ms=config.max_latency_ms,
            memory_mb=config.max_memory_mb,
            throughput_qps=config.min_throughput_qps,
            quality={} if target is None else {metric: target},
            impact_ratio=FOUR_FIFTHS if with_groups else None,
        )

    def _require_compliance(
        self, task: Task, compliance: Mapping[str, Mapping[str, object]]
    ) -> None:
        if self._config.optimization_type != OptimizationType.COMPLIANCE_OPTIMIZATION:
            return
        for name, check in compliance.items():
            if not check["passed"]:
                raise QualityError(
                    f"compliance optimization demands every check of {task.path}, however: {name} "
                    f"failed: {check['fact']}"
                )


_MAKING = (
    OptimizationTechnique.DISTILLATION,
    OptimizationTechnique.STRUCTURED_PRUNING,
    OptimizationTechnique.ARCHITECTURE_SEARCH,
)


def _teacher_of(artifact: ModelArtifact) -> ModelArtifact:
    """The teacher, or the student's nearest."""
    for each in lineage(artifact):
        if each.role == "teacher":
            return each
    raise InputError(
        f"an optimization begins with a teacher or its student, however: {artifact.uri} has none"
    )


def _stated_policy(exported: ExportedModel, splits: Splits) -> Policy:
    del splits
    return default_policy(exported)


def _metrics(artifact: ModelArtifact, names: Sequence[str]) -> dict[str, float]:
    return {
        name: artifact.metrics[f"validation_{name}"]
        for name in names
        if f"validation_{name}" in artifact.metrics
    }
