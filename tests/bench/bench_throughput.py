"""Rows a second of prepare and train, beside a plain loop: python -m tests.bench.bench_throughput

Ours: `split` and one epoch of the TabM teacher network by `fit_network` (default sizes, batch 512,
one worker, no forests, no validation rows, no window features) on Parquet files of the SYNTHETIC
fraud sample. Plain: pandas and torch in one process read the same file, encode and split it and
train one epoch of the same network with the same batch size. Sizes follow each other in one process
and one Ray, so what starting costs is in the first and cancels out of the marginal rates; memory is
that of the driver and of all its descendants, sampled. Writes bench_results/throughput.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import torch

from cluster.lifecycle import ray_session
from cluster.settings import load_settings
from spt_core.data.corpus import Roles
from spt_core.data.sources import open_corpus
from spt_core.data.splitting import split
from spt_core.families.tabular.config import TabularConfig
from spt_core.families.tabular.learner import LEARNER, SCORING_ROWS, row_bytes
from spt_core.families.tabular.network import table_facts, table_network
from spt_core.families.tabular.rows import encoded_arrays, encoded_dataset
from spt_core.families.tabular.teaching import FACT_ROWS
from spt_core.fitting.losses import binary_loss
from spt_core.fitting.plan import TrainingRun
from spt_core.fitting.ray_train import fit_network
from spt_core.signature import Signature
from spt_core.task import find
from spt_core.training import TrainingConfig

TASK = find("financial_services/fraud_detection")
SIZES = (100_000, 1_000_000, 5_000_000)
PIECE_ROWS = 500_000
BATCH_ROWS = 512
RATE = 4e-3
SAMPLE_S = 0.25
RESULT = Path(__file__).parents[2] / "bench_results" / "throughput.json"


class Memory(threading.Thread):
    """Peaks of resident memory while it runs; pages that processes share count in each of them."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._done = threading.Event()
        self.peaks = {"driver": 0, "largest_descendant": 0, "all": 0, "all_unshared": 0}

    def run(self) -> None:
        driver = psutil.Process()
        while not self._done.wait(SAMPLE_S):
            own = driver.memory_info()
            others = list(_memory(driver))
            found = {
                "driver": own.rss,
                "largest_descendant": max((m.rss for m in others), default=0),
                "all": own.rss + sum(m.rss for m in others),
                "all_unshared": sum(m.rss - m.shared for m in (own, *others)),
            }
            self.peaks = {name: max(peak, found[name]) for name, peak in self.peaks.items()}

    def stop(self) -> dict[str, float]:
        """The peaks in megabytes."""
        self._done.set()
        self.join()
        return {f"{name}_mb": round(peak / 1e6, 1) for name, peak in self.peaks.items()}


def main() -> None:
    """Measure all sizes, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    sizes = sorted(parser.parse_args().sizes)
    with tempfile.TemporaryDirectory() as folder:
        paths = {size: _write(Path(folder) / f"{size}.parquet", size) for size in sizes}
        runs: dict[str, dict[int, dict[str, Any]]] = {"spt": {}, "plain": {}}
        settings = load_settings(storage=f"{folder}/storage")
        prepared: dict[int, tuple[Signature, Mapping[str, Any]]] = {}
        with ray_session(settings):
            for size in sizes:
                with _measured(runs["spt"], size) as seconds:
                    prepared[size] = _ours(paths[size], settings.storage, seconds)
        for size in sizes:  # after Ray has ended: neither disturbs the other
            with _measured(runs["plain"], size) as seconds:
                _plain(paths[size], *prepared[size], seconds)
    report = {
        "sizes": sizes,
        **{name: {"runs": found, **_rates(found)} for name, found in runs.items()},
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load": os.getloadavg(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=1))
    _print(report)


def _ours(
    path: Path, storage: str, seconds: dict[str, float]
) -> tuple[Signature, Mapping[str, Any]]:
    """Prepare and train one epoch; the Signature and facts that the plain loop's network needs."""
    start = time.monotonic()
    splits = split(TASK, open_corpus(TASK, path, storage=storage, roles=Roles(windows=())), storage)
    seconds["prepare"] = time.monotonic() - start
    start = time.monotonic()
    config = TrainingConfig(
        task=TASK.path,
        num_epochs=1,
        batch_size=BATCH_ROWS,
        learning_rate=RATE,
        evaluation_strategy="no",
        save_strategy="no",
        output_dir=storage,
        network=TabularConfig(),
    )
    sample, labels = encoded_arrays(splits, "train", splits.signature, limit=FACT_ROWS)
    facts = table_facts(splits.signature, config.network, sample, labels)
    run = TrainingRun(
        learner=LEARNER,
        signature=splits.signature,
        role="teacher",
        config=config,
        facts=facts,
        num_rows=splits.num_rows["train"],
        row_bytes=row_bytes(len(splits.signature.columns)),
        scoring_rows=SCORING_ROWS,
    )
    rows = encoded_dataset(splits, "train", splits.signature)
    fit_network(run, rows, None, name=f"bench-{path.stem}")
    seconds["train"] = time.monotonic() - start
    return splits.signature, facts


def _plain(
    path: Path, signature: Signature, facts: Mapping[str, Any], seconds: dict[str, float]
) -> None:
    """What a notebook does: read, encode, split by time, one epoch."""
    start = time.monotonic()
    table = pd.read_parquet(path).sort_values("time", kind="stable", ignore_index=True)
    features = torch.from_numpy(_encoded(table, signature))
    labels = torch.from_numpy(table[TASK.label].to_numpy(np.float32))
    num_train = int(len(table) * 0.6)
    seconds["prepare"] = time.monotonic() - start
    start = time.monotonic()
    torch.manual_seed(0)
    network = table_network(signature, "teacher", TabularConfig(), facts)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, fused=True)
    ones = torch.ones(BATCH_ROWS)
    network.train()
    for rows in torch.randperm(num_train).split(BATCH_ROWS):
        loss = binary_loss(network(features[rows]), labels[rows], ones[: len(rows)])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    seconds["train"] = time.monotonic() - start


def _encoded(table: pd.DataFrame, signature: Signature) -> np.ndarray:
    """Columns [N, F] in the Signature's order, by pandas alone."""
    columns: list[Any] = []
    for column in signature.columns:
        values = table[column.field]
        match column.part:
            case "hour":
                moment = values.dt
                columns.append(moment.hour + moment.minute / 60 + moment.second / 3600)
            case "weekday":
                columns.append(values.dt.day_of_week)
            case "index":
                known = signature.field(column.field).categories
                columns.append(pd.Categorical(values, categories=known).codes + 1)
            case _:
                columns.append(values)
    return np.column_stack([np.asarray(values, np.float32) for values in columns])


def _write(path: Path, num_rows: int) -> Path:
    """The sample generator's rows as Parquet, in pieces of other seeds."""
    writer: pq.ParquetWriter | None = None
    for seed, start in enumerate(range(0, num_rows, PIECE_ROWS)):
        table = TASK.sample(min(PIECE_ROWS, num_rows - start), seed)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=125_000)
    assert writer is not None
    writer.close()
    return path


def _memory(process: psutil.Process) -> Iterator[Any]:
    for child in process.children(recursive=True):
        try:
            yield child.memory_info()
        except psutil.Error:  # it has just ended
            continue


@contextmanager
def _measured(runs: dict[int, dict[str, Any]], size: int) -> Iterator[dict[str, float]]:
    seconds: dict[str, float] = {}
    memory = Memory()
    memory.start()
    start = time.monotonic()
    yield seconds
    total = time.monotonic() - start
    found = {name: round(value, 2) for name, value in {**seconds, "total": total}.items()}
    runs[size] = {"seconds": found, "peak_memory": memory.stop()}


def _rates(runs: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Rows a second from one size to the next, of all and of each stage; and their last ratio."""

    def rate(small: int, large: int, stage: str) -> float:
        took = runs[large]["seconds"][stage] - runs[small]["seconds"][stage]
        return round((large - small) / took, 1) if took > 0 else float("inf")

    steps = list(pairwise(sorted(runs)))
    marginal = {
        f"{small}->{large}": {s: rate(small, large, s) for s in ("prepare", "train", "total")}
        for small, large in steps
    }
    totals = [rates["total"] for rates in marginal.values()]
    ratio = {"ratio": round(totals[-1] / totals[0], 3)} if len(totals) > 1 else {}
    return {"marginal_rows_per_s": marginal, **ratio}


def _print(report: Mapping[str, Any]) -> None:
    say: Callable[[str], Any] = lambda text: sys.stdout.write(f"{text}\n")  # noqa: E731
    for name in ("spt", "plain"):
        for size, found in report[name]["runs"].items():
            seconds, memory = found["seconds"], found["peak_memory"]
            say(
                f"{name:6} {size:>10,} rows: prepare {seconds['prepare']:.1f} s, train "
                f"{seconds['train']:.1f} s, total {seconds['total']:.1f} s; peak memory "
                f"{memory['driver_mb']:,.0f} MB driver, {memory['all_mb']:,.0f} MB all"
            )
        say(f"{name:6} marginal rows/s: {report[name]['marginal_rows_per_s']}")
    say(f"written: {RESULT}")


if __name__ == "__main__":
    main()
