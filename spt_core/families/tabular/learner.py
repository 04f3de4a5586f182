"""What a worker asks of the family of tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spt_core.families.tabular.network import StudentNetwork, TeacherNetwork, table_network
from spt_core.families.tabular.rows import shard_of
from spt_core.fitting import losses
from spt_core.fitting.losses import Loss
from spt_core.fitting.plan import Read, TrainingRun
from spt_core.fitting.shards import Batch, MemoryShard, StreamShard
from spt_core.task import Head

SCORING_ROWS = 8192
# To train on, where each member learns by itself, and to stop by, where they answer together.
LOSSES: Mapping[Head, tuple[Loss, Loss]] = {
    "binary": (losses.binary_loss, losses.binary_mean_loss),
    "single_label": (losses.of_members(losses.soft_cross_entropy), losses.class_mean_loss),
    "ordinal": (losses.of_members(losses.labelwise_cross_entropy), losses.rank_mean_loss),
    "regression": (losses.of_members(losses.squared_error), losses.value_mean_loss),
}


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
        """Each member's own loss."""
        loss, _ = LOSSES[run.head]
        return loss(_of_members(model(*batch.inputs), run), batch.targets, batch.weights)

    def stopping_loss(self, model: Any, batch: Batch, run: TrainingRun) -> Tensor:
        """That of what the members say together."""
        _, loss = LOSSES[run.head]
        return loss(_of_members(model(*batch.inputs), run), batch.targets, batch.weights)

    def shard(
        self, read: Read, run: TrainingRun, num_rows: int | None
    ) -> MemoryShard | StreamShard:
        """Encoded rows."""
        return shard_of(read, num_rows=num_rows, seed=run.config.seed)


LEARNER = TabularLearner()


def row_bytes(num_columns: int, num_targets: int = 1) -> int:
    """About what a row takes in a shard."""
    return 4 * (num_columns + num_targets + 1)


def _of_members(logits: Tensor, run: TrainingRun) -> Tensor:
    """Logits [B, k] of decisions, [B, k, K] of others; a student is its only member."""
    is_alone = run.role == "student" and run.head != "binary"
    return (logits.unsqueeze(1) if is_alone else logits).float()
