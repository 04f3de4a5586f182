"""The whole configuration of a run."""

from __future__ import annotations

import dataclasses
from typing import Any

from spt_core.benchmark import BenchmarkConfig
from spt_core.compression.limits import Limits
from spt_core.data.splits import SplitConfig
from spt_core.distillation import DistillationConfig
from spt_core.fitting.privacy import PrivacyConfig
from spt_core.optimization import SearchConfig
from spt_core.signature import Goal
from spt_core.training import TrainingConfig
from spt_core.transfer import TransferConfig
from spt_core.vocabulary.config import StudyConfig


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What a corpus' columns mean beyond the shared flags; windows as in `count(card, 7d)`.

    `types` say what columns hold, as in `diag_1:category` or `booked:time(day_first)`; `gaps` are
    texts that stand for no value; `required` are inputs without which there is no answer; `weight`
    is the column of how many rows a row stands for; `known_in_advance` are the channels of a
    forecast that are known for its horizon too (None: as the task says). `deidentify` removes Safe
    Harbor's identifiers from texts as they are read, of any source (spt_core/deidentification.py).
    """

    protected: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    positive: str | None = None
    windows: tuple[str, ...] = ()
    controllable: tuple[str, ...] = ()
    goal: Goal | None = None
    types: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    weight: str | None = None
    known_in_advance: tuple[str, ...] | None = None
    licences: tuple[str, ...] = ("the owner's own data",)
    deidentify: bool = False
    sample_rows: int = 30_000
    sample_seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PipelineConfig:
    """Everything that decides a run's result.

    `refit`: after the report the chosen model is trained once more, on every row but the test's,
    and that one is registered, with the report of its twin. With `privacy` the teacher is trained
    with differential privacy, and there is no refit.
    """

    data: DataConfig
    split: SplitConfig
    training: TrainingConfig
    distillation: DistillationConfig
    benchmark: BenchmarkConfig
    limits: Limits = dataclasses.field(default_factory=Limits)
    search: SearchConfig = dataclasses.field(default_factory=SearchConfig)
    refit: bool = True
    vocabulary: StudyConfig = dataclasses.field(default_factory=StudyConfig)
    transfer: TransferConfig = dataclasses.field(default_factory=TransferConfig)
    privacy: PrivacyConfig = dataclasses.field(default_factory=PrivacyConfig)


def resized(
    config: PipelineConfig,
    network: Any,
    *,
    num_epochs: int,
    data: DataConfig,
    num_copies: int,
    num_steps: int = 0,
    num_folds: int = 0,
    benchmark: BenchmarkConfig,
    num_trials: int,
) -> PipelineConfig:
    """The configuration with other sizes for both trainings; `network` is the family's."""
    training, distillation = config.training, config.distillation
    student = dataclasses.replace(distillation.training, num_epochs=num_epochs, network=network)
    return dataclasses.replace(
        config,
        data=data,
        training=dataclasses.replace(training, num_epochs=num_epochs, network=network),
        distillation=dataclasses.replace(
            distillation,
            num_copies=num_copies,
            num_steps=num_steps,
            num_folds=num_folds,
            training=student,
        ),
        benchmark=benchmark,
        search=dataclasses.replace(config.search, num_trials=num_trials),
        refit=False,
    )
