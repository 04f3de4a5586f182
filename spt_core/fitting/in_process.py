"""A network fitted in the process that asks for it, as a trial of a search does; no Ray Train."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spt_core.data.read import Dataset
from spt_core.fitting.loop import BEST, BEST_EPOCH
from spt_core.fitting.loops import loop_of
from spt_core.fitting.plan import Fitted, TrainingRun
from spt_core.fitting.shards import Shard


def fit_in_process(run: TrainingRun, train: Dataset, validation: Dataset | None) -> Fitted:
    """The best weights, by the one training loop."""
    fitted = Fitted(b"", 0)

    def keep(metrics: Mapping[str, float], folder: Path | None) -> None:
        nonlocal fitted
        if "final" in metrics and folder is not None:
            fitted = Fitted((folder / BEST).read_bytes(), int(metrics[BEST_EPOCH]))

    held_out = None if validation is None else _shard(validation, run, None)
    shard = _shard(train, run, run.streamed_rows)
    loop_of(run)(run, shard, held_out, report=keep, resume=None)
    return fitted


def _shard(rows: Dataset, run: TrainingRun, num_rows: int | None) -> Shard:
    def read() -> Iterable[Any]:  # of dicts of arrays, as asked for
        return rows.iter_batches(batch_size=run.rows_at_once, batch_format="numpy")

    rows.context.execution_options.preserve_order = True  # as a seed promises
    return run.learner.shard(read, run, num_rows)
