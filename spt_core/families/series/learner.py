"""What a worker asks of the family of series."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spt_core.families.series.network import QUANTILES, num_outputs, series_network
from spt_core.families.series.rows import shard_of
from spt_core.fitting import losses
from spt_core.fitting.plan import Read, TrainingRun
from spt_core.fitting.shards import Batch, MemoryShard, StreamShard
from spt_core.heads.forecasts import LEVELS

SCORING_ROWS = 2048


class SeriesLearner:
    """The Learner of series: each member is trained by itself, all are stopped together."""

    def network(self, run: TrainingRun, *, is_start: bool = False) -> nn.Module:
        """The network of a run; series start from random weights."""
        del is_start
        return series_network(run.config.network, run.role, run.facts)

    def rate(self, name: str, run: TrainingRun) -> float:
        """The run's rate for all."""
        del name, run
        return 1.0

    def loss(self, model: Any, batch: Batch, run: TrainingRun) -> Tensor:
        """Each member's own loss."""
        outputs = model(*batch.inputs).float().unflatten(1, (-1, num_outputs(run.facts)))
        size = outputs.shape[1]
        return _loss(
            outputs.flatten(0, 1),
            batch.targets.repeat_interleave(size, 0),
            batch.weights.repeat_interleave(size, 0),
            run,
        )

    def stopping_loss(self, model: Any, batch: Batch, run: TrainingRun) -> Tensor:
        """That of what the members say together."""
        outputs = model(*batch.inputs).float().unflatten(1, (-1, num_outputs(run.facts))).mean(1)
        return _loss(outputs, batch.targets, batch.weights, run)

    def shard(
        self, read: Read, run: TrainingRun, num_rows: int | None
    ) -> MemoryShard | StreamShard:
        """Encoded windows."""
        return shard_of(read, facts=run.facts, num_rows=num_rows, seed=run.config.seed)


LEARNER = SeriesLearner()


def _loss(outputs: Tensor, targets: Tensor, weights: Tensor, run: TrainingRun) -> Tensor:
    """The mean loss of outputs [N, K] of the head."""
    if run.head == "single_label":
        return losses.soft_cross_entropy(outputs, targets, weights)
    if run.head == "forecasts":
        return _forecast_loss(outputs, targets, weights, run)
    if targets.shape[1] == outputs.shape[1]:  # of a teacher's answers, or readings to come
        return losses.squared_error(outputs, targets, weights) / outputs.shape[1]
    value = losses.squared_error(outputs[:, :1], targets, weights)
    return value + pinball(outputs[:, 1:], targets, outputs.new_tensor(QUANTILES), weights)


def _forecast_loss(outputs: Tensor, targets: Tensor, weights: Tensor, run: TrainingRun) -> Tensor:
    """Of quantiles [N, H * Q]: against what came [N, H], or against a teacher's, in mean demand."""
    unit = float(run.facts["value_scale"])
    if targets.shape[1] == outputs.shape[1]:
        return losses.squared_error(outputs / unit, targets / unit, weights) / outputs.shape[1]
    steps = outputs.unflatten(1, (-1, len(LEVELS))).flatten(0, 1)
    levels = outputs.new_tensor(LEVELS)
    each = weights.repeat_interleave(targets.shape[1])
    return pinball(steps, targets.reshape(-1, 1), levels, each) / unit


def pinball(outputs: Tensor, targets: Tensor, levels: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean quantile loss (Koenker and Bassett, 1978) of outputs [N, Q], targets [N, 1]."""
    error = targets - outputs
    each = torch.maximum(levels * error, (levels - 1.0) * error).mean(1)
    return (each * weights).sum() / weights.sum().clamp_min(1e-12)
