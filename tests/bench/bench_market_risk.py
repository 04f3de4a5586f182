"""Value at risk on days that trained nothing: python -m tests.bench.bench_market_risk

SPT_DATA_HOME=... python -m tests.bench.bench_market_risk [--seeds 3]

The S&P 500 by time: the first 60 % of days train, 12 % stop training early, 12 % move the
quantiles, the last 16 % test; windows of 250 days reach back over the cuts, which is no leak. The
model is the student's network without a teacher, fitted in this process: half a minute of one core
a seed, and no Ray. Beside it historical simulation (quantiles of the same 250 days) and RiskMetrics
(a normal distribution with an exponentially weighted variance, 0.94 a day; J.P. Morgan, 1996).
Nothing was chosen by the test days.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load as load_weights
from scipy.stats import norm

from cluster.settings import load_settings
from spt_core.artifacts import as_uri
from spt_core.data.catalog import DATASETS
from spt_core.data.conform import conform
from spt_core.data.partition import PARTS
from spt_core.data.series import Cutting, cut
from spt_core.families.series.encoding import encoded
from spt_core.families.series.facts import series_facts
from spt_core.families.series.learner import LEARNER
from spt_core.fitting.loop import BEST, fit
from spt_core.fitting.plan import TrainingRun
from spt_core.fitting.shards import MemoryShard
from spt_core.heads import HEADS
from spt_core.heads.backtest import backtest
from spt_core.heads.forecasts import LEVELS, quantile_loss
from spt_core.heads.outcomes import Outcomes
from spt_core.signature import Field, Signature
from spt_core.task import find
from tests.bench import protocol

NAME = "market-sp500"
SHARES = (0.6, 0.12, 0.12, 0.16)
DECAY = 0.94
Floats = np.ndarray


def windows_of_days(table: pa.Table, field: Field) -> pa.Table:
    """A row for each day with a whole window and a next day, in order of time."""
    assert field.shape is not None
    shape = field.shape
    numbers = [Field(name=name, kind="number") for name in shape.channels]
    carried = [Field(name="session", kind="time"), Field(name="instrument", kind="entity")]
    good, bad = conform(table, [*numbers, *carried])
    assert bad.num_rows == 0, bad.to_pylist()[:3]
    rows = cut(good, Cutting(name=field.name, shape=shape, head="forecasts", label="loss_pct"))
    return rows.filter(rows[field.name].is_valid())


def fitted(parts: list[tuple[Floats, Floats]], facts: Mapping[str, Any], seed: int) -> Any:
    """The network, stopped early on the second part."""
    task = find(DATASETS[NAME].task)
    config = protocol.recipe(task, protocol.bench_storage("market-risk")).distillation.training
    run = TrainingRun(
        learner=LEARNER,
        signature=Signature(fields=task.fields),
        role="student",
        config=dataclasses.replace(config, num_epochs=25, seed=seed, learning_rate=1e-3),
        facts=facts,
        num_rows=len(parts[0][0]),
        row_bytes=4,
        scoring_rows=2048,
        head=task.head,
    )
    shards = [MemoryShard((w, t, np.ones(len(w), np.float32)), seed=seed) for w, t in parts[:2]]
    best: list[bytes] = []

    def keep(metrics: Mapping[str, float], folder: Path | None) -> None:
        if "final" in metrics and folder is not None:
            best.append((folder / BEST).read_bytes())

    fit(run, *shards, report=keep, resume=None)
    network = LEARNER.network(run).eval()
    network.load_state_dict(load_weights(best[-1]))
    return network


def risk_metrics(windows: Floats) -> Floats:
    """Quantiles [N, 1, Q] of losses, which are 0 where a day gains."""
    returns = windows[:, :, 0].astype(np.float64)
    weights = DECAY ** np.arange(returns.shape[1])[::-1]
    spread = np.sqrt((returns**2 * weights).sum(1) / weights.sum())
    return np.maximum(spread[:, None] * norm.ppf(LEVELS), 0.0)[:, None]


def historical(windows: Floats) -> Floats:
    """Quantiles [N, 1, Q] of the losses of the window itself."""
    losses = windows[:, :, 1].astype(np.float64)
    return np.quantile(losses, LEVELS, axis=1, method="inverted_cdf").T[:, None]


def main() -> None:
    """Fit, move, test, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    task, head = find(DATASETS[NAME].task), HEADS["forecasts"]
    dataset, field = DATASETS[NAME], find(DATASETS[NAME].task).subject
    assert dataset.read is not None
    assert field is not None
    assert field.shape is not None
    home = as_uri(load_settings().data_home)
    table = dataset.read(f"{home}/{task.industry}/{dataset.folder}")
    days = windows_of_days(table, field)
    places = np.searchsorted(
        np.cumsum(SHARES)[:-1], np.arange(days.num_rows) / days.num_rows, side="right"
    )
    facts = {"head": task.head, "horizon": 1, "center": [0.0, 0.0]}
    of = [
        encoded(days.take(np.flatnonzero(places == part)), field, "loss_pct", facts, part == 0)
        for part in range(len(SHARES))
    ]
    facts = series_facts(field.shape, of[0][0], head=task.head, target="loss_pct")

    def outcomes(part: int, quantiles: Floats) -> Outcomes:
        flat = quantiles.reshape(len(quantiles), -1)
        return head.fitted(task, (), of[part][1].astype(np.float64), flat)

    def figures(quantiles: Floats) -> dict[str, Any]:
        said = outcomes(3, quantiles)
        series, days = np.zeros(len(said.labels), np.int64), np.arange(len(said.labels))
        return {
            "quantile_loss": quantile_loss(said),
            "backtest": backtest(said, task.backtest_levels, series, days),
        }

    told = {
        "historical simulation": figures(historical(of[3][0])),
        "RiskMetrics": figures(risk_metrics(of[3][0])),
    }
    for seed in range(asked.seeds):
        network = fitted(of, facts, seed)
        with torch.no_grad():
            said = [network(torch.from_numpy(of[part][0])).double().numpy() for part in (2, 3)]
        levels = [values.reshape(len(values), 1, len(LEVELS)) for values in said]
        policy = head.policy(task, outcomes(2, levels[0]))
        told[f"network, seed {seed}"] = figures(policy.moved(levels[1]))
        protocol.say(f"seed {seed}: {told[f'network, seed {seed}']}")
    protocol.finish(
        "market-risk",
        {
            "dataset": NAME,
            "days": {name: len(windows) for name, (windows, _) in zip(PARTS, of, strict=True)},
            "models": told,
        },
    )


if __name__ == "__main__":
    main()
