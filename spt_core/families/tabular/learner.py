"""What a worker asks of the family of tables."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spt_core.families.tabular.network import StudentNetwork, TeacherNetwork, table_network
from spt_core.families.tabular.rows import MemoryShard, StreamShard, shard_of
from spt_core.fitting.losses import binary_loss, binary_mean_loss
from spt_core.fitting.plan import Read, TrainingRun
from spt_core.fitting.shards import Batch


class TabularLearner:
    """The Learner of tables: each member is trained by itself, all are stopped together."""

    def network(
        self, run: TrainingRun, *, is_start: bool = False
    ) -> StudentNetwork | TeacherNetwork:
        """The network of a run; tables start from random weights."""
        del is_start
        return table_network(run.signature, run.role, run.config.network, run.facts)

    def rate(self, name: str, run: TrainingRun) -> float:
        """The run's rate for all."""
        del name, run
        return 1.0

    def loss(self, model: Any, batch: Batch, run: TrainingRun) -> Tensor:
        """Each member's own cross-entropy."""
        del run
        return binary_loss(model(*batch.inputs).float(), batch.targets, batch.weights)

    def stopping_loss(self, model: Any, batch: Batch, run: TrainingRun) -> Tensor:
        """That of the members' mean probability."""
        del run
        return binary_mean_loss(model(*batch.inputs).float(), batch.targets, batch.weights)

    def shard(
        self, read: Read, run: TrainingRun, num_rows: int | None
    ) -> MemoryShard | StreamShard:
        """Encoded rows."""
        return shard_of(read, num_rows=num_rows, seed=run.config.seed)


LEARNER = TabularLearner()
SCORING_ROWS = 8192


def row_bytes(num_columns: int) -> int:
    """About what a row takes in a shard."""
    return 4 * (num_columns + 2)
