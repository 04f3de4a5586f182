"""What is asked of an optimization and of a search, checked before anything runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from enum import StrEnum
from typing import Literal, get_args

from spt_core.distillation.config import DistillationConfig
from spt_core.errors import InputError
from spt_core.task import IndustryType

Sampler = Literal["tpe", "random"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig:
    """How students are searched.

    Attributes:
        num_trials: students that are trained, at most; 0 searches nothing, and serves the
            recipe's own. Asked for more, a search goes on where it ended.
        budget_minutes: no trial begins or goes on after so long; what is finished counts.
        sampler: "tpe" learns from trials (Ozaki et al., "Multiobjective Tree-structured Parzen
            Estimator", JAIR 2022), "random" does not.
        max_students: of the front, how many are exported and measured as they would be served.
        seed: of the sampler.
    """

    num_trials: int = 20
    budget_minutes: float | None = None
    sampler: Sampler = "tpe"
    max_students: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse counts that make no search."""
        if self.num_trials < 0 or self.max_students < 1:
            raise InputError(
                "num_trials must be at least 0 and max_students at least 1, however: "
                f"{self.num_trials=}, {self.max_students=}"
            )
        if self.budget_minutes is not None and not self.budget_minutes > 0:
            raise InputError(f"budget_minutes must be above 0, however: {self.budget_minutes}")
        if self.sampler not in get_args(Sampler):
            raise InputError(f"sampler is one of {get_args(Sampler)}, however: {self.sampler!r}")


class OptimizationType(StrEnum):
    """What the optimized model is to be best at, of all that keep the limits."""

    ACCURACY_OPTIMIZATION = "accuracy"
    LATENCY_OPTIMIZATION = "latency"
    MEMORY_OPTIMIZATION = "memory"
    THROUGHPUT_OPTIMIZATION = "throughput"
    COMPLIANCE_OPTIMIZATION = "compliance"


class OptimizationTechnique(StrEnum):
    """What may be done to a model; techniques.py says how, and for which families."""

    DOMAIN_ADAPTIVE_TRAINING = "domain_adaptive_training"
    VOCABULARY_TRIMMING = "vocabulary_trimming"
    DISTILLATION = "distillation"
    STRUCTURED_PRUNING = "structured_pruning"
    ARCHITECTURE_SEARCH = "architecture_search"
    CALIBRATION = "calibration"
    QUANTIZATION = "quantization"
    THRESHOLD_TUNING = "threshold_tuning"


@dataclasses.dataclass(frozen=True)
class OptimizationConfig:
    """What an optimization is for, what it may do, and what must hold afterwards.

    The fields up to `task_specific_layers` are the specification's.

    Attributes:
        industry: must be the industry of the model's task.
        optimization_type: what is best of those that keep the limits. "accuracy" is the metric that
            `optimize_model` is asked for; of "latency", "memory" and "throughput" what keeps 99 %
            of the best metric is as good, unless `target_accuracy` says what it must be;
            "compliance" demands the task's compliance checks, and of decisions an impact ratio of
            0.8 or more for every protected group (29 CFR 1607.4(D)), and then takes the metric.
        target_metrics: the metrics that the result shows; None shows all of the head's.
        techniques: None takes all that the family has.
        target_accuracy: what the metric must be on validation rows, at least (at most, of one that
            is better lower).
        max_latency_ms: 99th percentile of one answer with its reasons, in process, on this machine.
        max_memory_mb: what opening the model adds to a process that has its code already.
        min_throughput_qps: records that one process answers in a second, one after the other.
        domain_adaptation_weight: of domain-adaptive training, the share of the teacher's
            fine-tuning steps that go to masked-language-model training on its texts before.
        task_specific_layers: modules that a student's training may change; None trains everything.
        distillation: how students are made; None makes them with the teacher's own training.
        search: how many students an architecture search may train.
    """

    industry: IndustryType
    optimization_type: OptimizationType
    target_metrics: Sequence[str] | None = None
    techniques: Sequence[OptimizationTechnique] | None = None

    target_accuracy: float | None = None
    max_latency_ms: float | None = None
    max_memory_mb: float | None = None
    min_throughput_qps: float | None = None

    domain_adaptation_weight: float = 0.1
    task_specific_layers: list[str] | None = None

    distillation: DistillationConfig | None = None
    search: SearchConfig = dataclasses.field(default_factory=SearchConfig)

    def __post_init__(self) -> None:
        """Refuse a share that is none and techniques that are not known."""
        if not 0 <= self.domain_adaptation_weight <= 1:
            raise InputError(
                "domain_adaptation_weight must be in [0, 1], however: "
                f"{self.domain_adaptation_weight}"
            )
        for kind, values in (
            (OptimizationType, [self.optimization_type]),
            (OptimizationTechnique, self.techniques or ()),
        ):
            for value in values:
                if value not in tuple(kind):
                    raise InputError(
                        f"{kind.__name__} is one of {', '.join(kind)}, however: {value!r}"
                    )
        if self.techniques is not None and len(set(self.techniques)) < len(self.techniques):
            raise InputError(f"a technique is named once, however: {list(self.techniques)}")
