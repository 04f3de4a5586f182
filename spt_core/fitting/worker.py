"""What one Ray Train worker runs: its shards, its checkpoint, the loop; imports no more."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch

from spt_core.fitting.loops import loop_of
from spt_core.fitting.plan import TrainingRun
from spt_core.fitting.shards import Shard

GIVES_WAY = 15  # as Ray's own default for all its workers, those that serve included


def work(config: dict[str, Any]) -> None:
    """One Ray Train worker."""
    give_way()
    run: TrainingRun = ray.get(config["run"])
    torch.set_num_threads(config["num_threads"])
    progress = config["progress"]
    is_main = ray.train.get_context().get_world_rank() == 0

    def report(metrics: Mapping[str, float], folder: Path | None) -> None:
        if progress is not None and is_main:
            progress.add.remote(dict(metrics))
        if "validation_loss" in metrics or "final" in metrics or folder is not None:
            checkpoint = None if folder is None else ray.train.Checkpoint.from_directory(folder)
            ray.train.report(dict(metrics), checkpoint=checkpoint)

    train = _shard("train", run)
    validation = _shard("validation", run) if run.config.evaluation_strategy != "no" else None
    checkpoint = ray.train.get_checkpoint()
    trained = loop_of(run)
    if checkpoint is None:
        trained(run, train, validation, report=report, resume=None)
        return
    with checkpoint.as_directory() as path:
        trained(run, train, validation, report=report, resume=Path(path))


def give_way() -> None:
    """Let whatever serves on this machine go first; for processes that end with what they train."""
    os.nice(max(GIVES_WAY - os.nice(0), 0))


def _shard(name: str, run: TrainingRun) -> Shard:
    config = run.config
    iterator = ray.train.get_dataset_shard(name)
    assert iterator is not None, f"the trainer must pass the dataset {name}"

    def read() -> Iterable[Any]:  # of dicts of arrays, as asked for
        return iterator.iter_batches(
            batch_size=run.rows_at_once,
            batch_format="numpy",
            prefetch_batches=config.dataloader_num_workers,
        )

    return run.learner.shard(read, run, run.streamed_rows if name == "train" else None)
