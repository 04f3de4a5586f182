"""What a training run does, checked on the driver before any worker starts."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from typing import Any, Literal, get_args

from spt_core.errors import InputError, MissingPackageError
from spt_core.fitting.privacy import PrivacyConfig
from spt_core.task import ComplianceCheck, Family, IndustryType, Tracker, industry_named

SaveStrategy = Literal["epoch", "steps", "no"]
EvaluationStrategy = Literal["epoch", "steps", "no"]
ClassWeighting = Literal["none", "balanced"]
ParallelStrategy = Literal["data_parallel", "zero1", "zero2", "zero3"]


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How one model is trained; the fields up to `logging_steps` are the specification's.

    Attributes:
        model_name: name under which the model is kept, below its task.
        industry: must be the industry of the task.
        num_epochs: passes over the training rows, at most.
        batch_size: rows per step and worker.
        learning_rate: peak rate of AdamW.
        warmup_ratio: share of all steps in which the rate rises to its peak; it then falls to zero
            along a cosine.
        weight_decay: AdamW's, on matrices only.
        domain_vocabulary_size: how many values of each category column, or tokens of its texts, the
            model knows at most, the most frequent first. Other values count as unseen, other words
            are spelled in smaller pieces. A vocabulary extension adds at most as many tokens.
        specialized_layers: names of the modules that training may change, all others stay as they
            are initialised; None trains everything.
        compliance_requirements: checks of the task that must pass before promotion; None requires
            none of them: the report shows them all the same.
        use_mixed_precision: bf16 on accelerators that have it, and of texts on CPUs that have it
            (AMX, AVX-512 BF16); other CPUs compute in fp32.
        gradient_checkpointing: recompute activations in the backward pass to save memory.
        dataloader_num_workers: batches to prefetch while a larger-than-memory shard streams.
        output_dir: folder or URI that receives splits, runs and models.
        save_strategy: when a resumable checkpoint is written: each epoch, with each evaluation
            ("steps"), or only at the end ("no").
        evaluation_strategy: when the validation rows are scored: each epoch, every `eval_steps`
            steps, or never ("no": no early stopping, the last weights are kept).
        eval_steps: steps between evaluations under "steps"; one that falls into a group of batches
            whose gradients are still being accumulated waits for the group's end.
        logging_steps: steps between reports of the training loss, which come each ten seconds too.
        task: `industry/task`; needed unless the data is a Splits, which knows its task.
        family: the model family; must be the task's.
        seed: same seed and worker count give the same metrics.
        num_workers: Ray Train workers.
        use_gpu: one accelerator per worker.
        early_stopping_patience: evaluations without a better validation loss before training stops;
            None never stops early.
        class_weighting: "balanced" weights each class by its inverse frequency during training;
            calibration afterwards restores the true base rate. Of texts, those with one label and
            pairs alone can be weighted.
        max_failures: worker failures that Ray Train recovers from by itself.
        cache_bytes: a worker's shard that fits is kept in memory, a larger one streams every epoch.
        trackers: experiment trackers that receive the metrics.
        gradient_accumulation_steps: batches whose gradients make one step of the optimizer.
        strategy: what each worker holds: a whole copy ("data_parallel"), or under DeepSpeed's ZeRO
            shards of the optimizer's state ("zero1"), of the gradients too ("zero2"), of the
            weights too ("zero3"). All train alike; a sharded run resumes on its number of workers.
        optimizer_offload: keep the optimizer in main memory; with "zero2" and "zero3" only.
        network: the family's own parameters; None takes the family's defaults.
        privacy: what the model may tell of its training rows, by noise that has no seed: no private
            run repeats another. None trains without.
    """

    model_name: str = "specialized-model"
    industry: IndustryType = IndustryType.FINANCIAL_SERVICES
    num_epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 2e-5
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01

    domain_vocabulary_size: int = 10000
    specialized_layers: list[str] | None = None
    compliance_requirements: list[ComplianceCheck] | None = None

    use_mixed_precision: bool = True
    gradient_checkpointing: bool = False
    dataloader_num_workers: int = 4

    output_dir: str = "specialized_models"
    save_strategy: SaveStrategy = "epoch"
    evaluation_strategy: EvaluationStrategy = "steps"
    eval_steps: int = 500
    logging_steps: int = 100

    task: str | None = None
    family: Family = "tabular"
    seed: int = 0
    num_workers: int = 1
    use_gpu: bool = False
    early_stopping_patience: int | None = None
    class_weighting: ClassWeighting = "none"
    max_failures: int = 3
    cache_bytes: int = 2_000_000_000
    trackers: tuple[Tracker, ...] = ()
    gradient_accumulation_steps: int = 1
    strategy: ParallelStrategy = "data_parallel"
    optimizer_offload: bool = False
    network: Any = None  # the family's: families/*/config.py
    privacy: PrivacyConfig | None = None

    def __post_init__(self) -> None:
        """Refuse values that no run could honour."""
        for name in ("num_epochs", "batch_size", "domain_vocabulary_size", "eval_steps"):
            _at_least(self, name, 1)
        for name in ("logging_steps", "num_workers", "gradient_accumulation_steps"):
            _at_least(self, name, 1)
        for name in ("dataloader_num_workers", "max_failures", "cache_bytes", "weight_decay"):
            _at_least(self, name, 0)
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate must be above 0, however: {self.learning_rate}")
        if not 0 <= self.warmup_ratio < 1:
            raise InputError(f"warmup_ratio must be in [0, 1), however: {self.warmup_ratio}")
        if not self.model_name.replace("-", "").replace("_", "").isalnum():
            raise InputError(
                "model_name must hold letters, digits, '-' and '_' only, however: "
                f"{self.model_name!r}"
            )
        for name, allowed in _CLOSED.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"{name} must be one of {allowed}, however: {getattr(self, name)!r}"
                )
        industry_named(self.industry, "industry")
        _check_strategy(self)
        if self.privacy is not None:
            _check_private(self)

    def identity(self) -> dict[str, Any]:
        """What decides the result; where it is written and how it is watched is left out."""
        content = dataclasses.asdict(self)
        for name in ("output_dir", "trackers", "max_failures", "logging_steps"):
            del content[name]
        return content


_CLOSED: Mapping[str, tuple[str, ...]] = {
    "save_strategy": get_args(SaveStrategy),
    "evaluation_strategy": get_args(EvaluationStrategy),
    "class_weighting": get_args(ClassWeighting),
    "family": get_args(Family),
    "strategy": get_args(ParallelStrategy),
}


def _at_least(config: TrainingConfig, name: str, floor: float) -> None:
    if getattr(config, name) < floor:
        raise InputError(f"{name} must be at least {floor}, however: {getattr(config, name)}")


# What a private training of a table is: one worker, one batch a step, no choice by held-out rows.
_PRIVATE: Mapping[str, Any] = {
    "family": "tabular",
    "num_workers": 1,
    "use_gpu": False,
    "gradient_accumulation_steps": 1,
    "strategy": "data_parallel",
    "early_stopping_patience": None,
    "class_weighting": "none",
    "specialized_layers": None,
    "gradient_checkpointing": False,
}


def _check_private(config: TrainingConfig) -> None:
    for name, value in _PRIVATE.items():
        if getattr(config, name) != value:
            raise InputError(
                f"{name} must be {value} of a training with privacy, however: it is "
                f"{getattr(config, name)!r}"
            )
    if config.privacy is not None and config.privacy.epsilon is None:
        raise InputError("privacy.epsilon must be set of a training with privacy, however: None")


def _check_strategy(config: TrainingConfig) -> None:
    """What DeepSpeed would refuse in each worker is refused once, before any starts."""
    if config.optimizer_offload and config.strategy not in ("zero2", "zero3"):
        raise InputError(
            "optimizer_offload must go with the strategy zero2 or zero3, however: "
            f"{config.strategy=}"
        )
    if config.strategy != "data_parallel" and importlib.util.find_spec("deepspeed") is None:
        raise MissingPackageError(
            f"the strategy {config.strategy} needs DeepSpeed: DS_BUILD_OPS=0 pip install -c "
            "constraints.txt '.[deepspeed]' or take data_parallel"
        )
