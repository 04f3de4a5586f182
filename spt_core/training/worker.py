"""What one Ray Train worker runs: its shards, its checkpoint, the loop; imports no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train
import torch

from spt_core.models.text import num_logits_of
from spt_core.models.token_rows import TokenRow, token_rows
from spt_core.training.loop import TrainingRun, fit
from spt_core.training.shards import Arrays, MemoryShard, Shard, StreamShard
from spt_core.training.token_shards import TokenShard, TokenStreamShard


def work(config: dict[str, Any]) -> None:
    """One Ray Train worker."""
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
    if checkpoint is None:
        fit(run, train, validation, report=report, resume=None)
        return
    with checkpoint.as_directory() as path:
        fit(run, train, validation, report=report, resume=Path(path))


def _shard(name: str, run: TrainingRun) -> Shard:
    config = run.config
    iterator = ray.train.get_dataset_shard(name)
    assert iterator is not None, f"the trainer must pass the dataset {name}"

    def read() -> Iterable[Any]:  # of dicts of arrays, as asked for
        return iterator.iter_batches(
            batch_size=16_384,
            batch_format="numpy",
            prefetch_batches=config.dataloader_num_workers,
        )

    num_rows = run.num_rows // config.num_workers
    is_large = name == "train" and num_rows * run.row_bytes > config.cache_bytes
    return _SHARDS[config.family](read, run, num_rows if is_large else None)


def _table_shard(
    read: Callable[[], Iterable[Any]], run: TrainingRun, num_rows: int | None
) -> Shard:
    """Rows of a table; with `num_rows` they are streamed."""

    def arrays() -> Iterator[Arrays]:
        for batch in read():
            yield tuple(np.array(batch[c]) for c in ("features", "target", "weight"))  # type: ignore[misc]  # three

    if num_rows is not None:
        return StreamShard(arrays, num_rows=num_rows, seed=run.config.seed)
    features, targets, weights = zip(*arrays(), strict=True)
    held = (np.concatenate(features), np.concatenate(targets), np.concatenate(weights))
    return MemoryShard(held, seed=run.config.seed)


def _text_shard(read: Callable[[], Iterable[Any]], run: TrainingRun, num_rows: int | None) -> Shard:
    """Tokenized texts; with `num_rows` they are streamed."""
    pad, seed = run.facts["pad"], run.config.seed
    size = num_logits_of(run.head, len(run.facts["classes"]))

    def rows() -> Iterator[TokenRow]:
        for batch in read():
            yield from token_rows(batch, size)

    if num_rows is not None:
        return TokenStreamShard(rows, num_rows=num_rows, pad=pad, seed=seed)
    return TokenShard(list(rows()), pad=pad, seed=seed)


_SHARDS = {"tabular": _table_shard, "text": _text_shard}
