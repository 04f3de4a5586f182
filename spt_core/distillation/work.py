"""One distillation in progress: what it was asked for, and where its parts are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from spt_core.artifacts import ModelArtifact
from spt_core.data.corpus import Corpus
from spt_core.data.splits import Splits
from spt_core.distillation.config import DistillationConfig
from spt_core.training.loop import TrainingRun
from spt_core.training.progress import OnMetrics


class Student(NamedTuple):
    """What training made: the run, the model's files, figures on validation rows."""

    run: TrainingRun
    files: Mapping[str, bytes]
    metrics: Mapping[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Distillation:
    """A teacher, the splits, more texts without labels, and the addresses of what is to be made."""

    config: DistillationConfig
    teacher: ModelArtifact
    splits: Splits
    name: str
    uri: str
    soft: str
    unlabelled: Corpus | None
    on_metrics: OnMetrics | None

    @property
    def num_copies(self) -> int:
        """Augmented copies of each training row: fewer of a corpus that is large anyway."""
        rows = max(self.splits.num_rows["train"], 1)
        return min(self.config.num_copies, max(self.config.max_rows // rows - 1, 0))
