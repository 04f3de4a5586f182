"""A search of students by Optuna's sampler, beside one of random points: time and hypervolume.

SPT_DATA_HOME=... python -m tests.bench.bench_search [--trials 40] [--seeds 3]

Card payments of two days (fraud-ulb-sampled) under the default recipe. The hypervolume is that of
(loss on validation rows, median latency of the shape) below a point that both samplers share: the
worst of either among all trials of a seed. Both search the same shapes with one table of latencies,
as a search measures them before it trains.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from optuna._hypervolume import compute_hypervolume

from cluster.settings import load_settings
from spt_core.compression.limits import Limits
from spt_core.data.sources import open_corpus
from spt_core.data.splitting import split
from spt_core.optimization import SearchConfig
from spt_core.optimization.search import SearchResult, search
from spt_core.task import find
from spt_core.training import SpecializedModelTrainer
from tests.bench import protocol
from tests.bench.bench_served import cards

LIMITS = Limits(latency_ms=5.0, size_mb=10.0)


def main() -> None:
    """All seeds, and the result as JSON."""
    command_line = argparse.ArgumentParser(description=__doc__)
    command_line.add_argument("--trials", type=int, default=40)
    command_line.add_argument("--seeds", type=int, default=3)
    arguments = command_line.parse_args()
    storage = protocol.bench_storage("search")
    with protocol.local_session(storage):
        rows = measured(arguments.trials, arguments.seeds, storage)
    command = f"python -m tests.bench.bench_search --trials {arguments.trials}"
    protocol.finish("search", {"command": command, "rows": rows})


def measured(num_trials: int, num_seeds: int, storage: str) -> list[dict[str, Any]]:
    """Of each seed the seconds, the hypervolumes, and the least loss of both samplers."""
    path, table, roles = cards(Path(load_settings(storage=storage).data_home or ""))
    task = find(path)
    splits = split(task, open_corpus(task, table, storage=storage, roles=roles), storage)
    config = protocol.recipe(task, storage)
    teacher = SpecializedModelTrainer(config.training).train(splits)
    rows: list[dict[str, Any]] = []
    for seed in range(num_seeds):
        results: dict[str, SearchResult] = {}
        seconds: dict[str, float] = {}
        for sampler in ("tpe", "random"):
            start = time.monotonic()
            own = SearchConfig(num_trials=num_trials, sampler=sampler, seed=seed)
            results[sampler] = search(teacher, splits, config.distillation, LIMITS, own, fresh=True)
            seconds[sampler] = time.monotonic() - start
        rows.append({"seed": seed, "seconds": seconds, **_volumes(results)})
        protocol.say(json.dumps(rows[-1]))
    return rows


def _volumes(results: dict[str, SearchResult]) -> dict[str, Any]:
    # Shapes were timed once for each search: the first one's times stand for both.
    times = {t.point["shape"]: t.latency_ms for r in results.values() for t in r.trials}
    points = {
        sampler: np.array([[t.loss, times[t.point["shape"]]] for t in result.trials])
        for sampler, result in results.items()
    }
    worst = np.concatenate(list(points.values())).max(0)
    volumes = {name: float(compute_hypervolume(own, worst)) for name, own in points.items()}
    return {
        "hypervolume": volumes,
        "ratio": volumes["tpe"] / volumes["random"],
        "least_loss": {name: float(own[:, 0].min()) for name, own in points.items()},
    }


if __name__ == "__main__":
    main()
