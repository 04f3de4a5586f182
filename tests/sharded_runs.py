"""One of two workers without Ray: python -m tests.sharded_runs FOLDER RANK PORT STRATEGY...

It trains each strategy in turn by the loop that a Ray Train worker runs, on its half of the rows of
tests/tiny_text_runs.py, and leaves losses (JSON) and whole weights (safetensors) in FOLDER. Six
runs on Ray Train take minutes to start; these start once.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from spt_core.families.text.network import num_logits_of
from spt_core.families.text.rows import TokenShard
from spt_core.families.text.token_rows import token_rows
from spt_core.fitting.loop import BEST, fit
from tests.tiny_text_runs import (
    CLASSES,
    CONFIG,
    NUM_TEXTS,
    NUM_VALIDATION_TEXTS,
    tiny_rows,
    tiny_run,
)

NUM_WORKERS = 2


def shard(num_texts: int, seed: int, rank: int) -> TokenShard:
    """Every second row."""
    rows = tiny_rows(num_texts, seed)[rank::NUM_WORKERS]
    batch = {name: [row[name] for row in rows] for name in rows[0]}
    size = num_logits_of("multi_label", len(CLASSES))
    return TokenShard(token_rows(batch, size), pad=0, seed=CONFIG.seed)


def train(folder: Path, name: str, rank: int) -> None:
    """One run; the main worker writes what it ends with."""
    strategy, _, offload = name.partition("+")
    config = dataclasses.replace(CONFIG, strategy=strategy, optimizer_offload=bool(offload))
    losses: list[float] = []

    def report(metrics: Mapping[str, float], checkpoint: Path | None) -> None:
        if "validation_loss" in metrics:
            losses.append(metrics["validation_loss"])
        if rank == 0 and checkpoint is not None and (checkpoint / BEST).is_file():
            shutil.copy(checkpoint / BEST, folder / f"{name}.safetensors")

    fit(
        tiny_run(folder / str(rank), config),
        shard(NUM_TEXTS, 1, rank),
        shard(NUM_VALIDATION_TEXTS, 2, rank),
        report=report,
        resume=None,
    )
    if rank == 0:
        (folder / f"{name}.json").write_text(json.dumps(losses))


def main() -> None:
    """Join the other worker, train."""
    folder, rank, port, *names = sys.argv[1:]
    os.environ.update(
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=port,
        RANK=rank,
        LOCAL_RANK=rank,
        WORLD_SIZE=str(NUM_WORKERS),
    )
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    for name in names:
        train(Path(folder), name, int(rank))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
