"""Trading: what is left after costs on held-out time, and how long one event takes to a decision.

SPT_DATA_HOME=... python -m tests.bench.bench_trading btc|gbpusd|book|sample
    [--recipe quick|smoke|sample|default] [--seed 0] [--events 20000]

The rows of a data set are split in time, parts a horizon and the longest time constant apart; the
model that the recipe makes is measured on the last ones, which trained, chose and calibrated
nothing. Beside it: the shares of training rows (majority), the last direction and the sign of the
last order flow or quote imbalance with a logistic regression, both calibrated on training rows. A
position is taken where a decision says so, held for the horizon, and pays the spread and two fees;
`gross` is before that. Intervals resample whole blocks of time (days; of a book, 5 seconds), so
that overlapping moves stay together. Sizes are of one unit: nothing here moves the price.

Latency is of `MarketFeatures.update` and of `TradingSession.decide` on one thread, in wall time and
in the thread's own CPU time, which other processes on the machine do not lengthen.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from cluster.settings import load_settings
from industries.financial_services import trading
from industries.financial_services.trading_costs import interval, left_over, numbers
from industries.financial_services.trading_session import TradingSession
from jobs.recipes import RECIPES
from jobs.recipes.config import DataConfig, PipelineConfig, resized
from spt_core.artifacts import as_uri
from spt_core.benchmark import BenchmarkConfig
from spt_core.compression.limits import Limits
from spt_core.data.catalog import market
from spt_core.data.corpus import DatasetInfo, Roles
from spt_core.data.market import Event, MarketFeatures
from spt_core.data.market_rows import DIRECTION, DIRECTIONS, MarketRows, market_rows
from spt_core.data.partition import PARTS
from spt_core.data.sources import open_corpus
from spt_core.data.splits import SplitConfig, Splits
from spt_core.data.splitting import split
from spt_core.families.tabular.config import TabularConfig
from spt_core.model import SpecializedModel
from spt_core.scoring import fitted_policy
from spt_core.task import Task, find
from tests.bench import protocol

TASK = find("financial_services/trading")
SAMPLE_QUOTES = 24_000
DAY_S = 86_400.0
Array = NDArray[np.float64]


class Bench(NamedTuple):
    """A data set: rows and events (of a book, BTC's), a block's seconds, how rows are dealt."""

    rows: Callable[[str], MarketRows]
    events: Callable[[str], Iterable[Event]]
    dataset: str
    block_s: float
    drop: tuple[str, ...] = ()
    shares: tuple[float, float, float, float] = (0.6, 0.15, 0.1, 0.15)


BENCHES: Mapping[str, Bench] = {
    "btc": Bench(market.btc_rows, market.btc_bars, "trading-ohlcv", DAY_S),
    "gbpusd": Bench(market.gbpusd_rows, market.gbpusd_bars, "trading-ohlcv", DAY_S),
    "book": Bench(
        lambda folder: market.binance_rows(folder, "btcusdt"),
        lambda folder: market.binance_events(folder, "btcusdt"),
        "trading-binance-lob",
        5.0,
        drop=("time",),
        shares=(0.4, 0.2, 0.2, 0.2),  # 34 s apart, of 340
    ),
    "sample": Bench(
        lambda folder: market_rows(
            trading.sample_events(SAMPLE_QUOTES, 0),
            horizon_s=trading.SAMPLE_HORIZON_S,
            fee_bps=trading.SAMPLE_FEE_BPS,
            step_s=trading.SAMPLE_STEP_S,
        ),
        lambda folder: trading.sample_events(SAMPLE_QUOTES, 1),
        "",
        DAY_S / 24.0,
    ),
}


def quick(task: Task) -> PipelineConfig:
    """Between smoke and sample: a minute or two on idle cores."""
    network = TabularConfig(num_bins=16, teacher_members=8, teacher_width=32, booster_trials=2)
    return resized(
        RECIPES["default"](task),
        network,
        num_epochs=3,
        data=DataConfig(),
        num_copies=1,
        num_steps=600,
        benchmark=BenchmarkConfig(),
        num_trials=2,
    )


def of_probabilities(probabilities: Array, labels: NDArray[np.int64]) -> dict[str, float]:
    """Log loss and accuracy of probabilities [N, 3] of true directions [N]."""
    true = probabilities[np.arange(len(labels)), labels]
    return {
        "log_loss": float(-np.log(np.maximum(true, 1e-12)).mean()),
        "accuracy": float((probabilities.argmax(1) == labels).mean()),
    }


def places_of(table: pa.Table) -> NDArray[np.int64]:
    """The true directions [N] as places in DIRECTIONS."""
    return np.array([DIRECTIONS.index(name) for name in table[DIRECTION].to_pylist()])


def last_direction(table: pa.Table) -> NDArray[np.int64]:
    """The direction [N] of the last move, as a place in DIRECTIONS."""
    return np.array([DIRECTIONS.index(name) for name in trading.last_direction(table)])


def baselines(train: pa.Table, test: pa.Table) -> dict[str, Array]:
    """Probabilities [N, 3] of test rows by what needs no model, calibrated on training rows."""
    labels = places_of(train)
    shares = np.bincount(labels, minlength=3) / len(labels)
    table = np.array(
        [
            (np.bincount(labels[last_direction(train) == last], minlength=3) + shares)
            for last in range(3)
        ]
    )
    table /= table.sum(1, keepdims=True)
    name = "quote_imbalance" if "quote_imbalance" in train.column_names else "last_move_bps"
    scale = numbers(train, name).std()
    linear = LogisticRegression().fit(numbers(train, name)[:, None] / scale, labels)
    return {
        "majority": np.tile(shares, (test.num_rows, 1)),
        "last direction": table[last_direction(test)],
        f"logistic regression on {name}": linear.predict_proba(
            numbers(test, name)[:, None] / scale
        ),
    }


def quality(
    model: SpecializedModel, splits: Splits, rows: MarketRows, block_s: float
) -> dict[str, Any]:
    """Directions, and what is left after costs, of the test rows."""
    test, train = splits.table("test"), splits.table("train")
    move_at = dict(zip(rows.table["time"].to_pylist(), rows.moves_bps.tolist(), strict=True))
    times = test["time"].cast(pa.timestamp("us"))
    moves = np.array([move_at[moment] for moment in times.to_pylist()])
    blocks = (np.asarray(times.cast(pa.int64())) / 1e6 // block_s).astype(np.int64)
    answers = model.open().table(test)[1]
    labels = places_of(test)
    said = np.array([[answer["probabilities"][name] for name in DIRECTIONS] for answer in answers])
    sides = np.array([{"buy": 1.0, "sell": -1.0, "hold": 0.0}[a["action"]] for a in answers])
    expected = np.array([1e4 * answer["expected_return"] for answer in answers])
    spreads, fees = numbers(test, "spread_bps"), numbers(test, "fee_bps")
    costs = spreads + 2.0 * fees
    last = np.sign(numbers(test, "last_move_bps"))
    tilts = {
        "served": np.sign(said[:, 2] - said[:, 0]),
        "last direction": last,
        "against the last direction": -last,
    }
    moved = moves != 0.0
    signs = {
        name: interval((tilt == np.sign(moves))[moved & (tilt != 0)].astype(float),
                       blocks[moved & (tilt != 0)])
        for name, tilt in tilts.items()
    }  # fmt: skip
    everything = {"served": said, **baselines(train, test)}
    losses = -np.log(np.maximum(said[np.arange(len(labels)), labels], 1e-12))
    gains = {
        name: interval(
            -np.log(np.maximum(p[np.arange(len(labels)), labels], 1e-12)) - losses, blocks
        )
        for name, p in everything.items()
        if name != "served"
    }
    free = np.where(np.abs(expected) > spreads, np.sign(expected), 0.0)
    return {
        "rows": {part: splits.num_rows[part] for part in splits.num_rows},
        "test_from": str(times[0]),
        "test_to": str(times[-1]),
        "blocks": len(np.unique(blocks)),
        "mean_cost_bps": float(costs.mean()),
        "mean_absolute_move_bps": float(np.abs(moves).mean()),
        "directions": {name: of_probabilities(p, labels) for name, p in everything.items()},
        "log_loss_saved_by_served": gains,
        "sign_right": signs,
        "slope_of_move_on_expected": float(np.polyfit(expected, moves, 1)[0]),
        "after_costs": {
            "served": left_over(sides, moves, costs, blocks),
            "served, fee of 0": left_over(free, moves, spreads, blocks),
            "last direction, always": left_over(last, moves, costs, blocks),
            "against it, fee of 0": left_over(-last, moves, spreads, blocks),
            "always long": left_over(np.ones(len(moves)), moves, costs, blocks),
        },
    }


def timed(call: Callable[[Event], Any], events: list[Event]) -> dict[str, dict[str, float]]:
    """Microseconds of the calls that gave something: quantiles of wall and of CPU time."""
    times: list[tuple[int, int]] = []
    for event in events:
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        result = call(event)
        wall, cpu = time.perf_counter_ns() - wall, time.thread_time_ns() - cpu
        if result is not None:
            times.append((wall, cpu))
    return {
        clock: {
            f"p{share:g}": float(np.quantile([pair[place] for pair in times], share / 100) / 1e3)
            for share in (50, 90, 99)
        }
        for place, clock in enumerate(("wall_us", "cpu_us"))
    }


def latency(model: SpecializedModel, features: dict[str, float], events: list[Event]) -> Any:
    """Features alone, and event in, decision out; and whether a restart changes any digit."""
    signature = model.artifact.signature
    session = TradingSession(model.open(), signature, MarketFeatures(**features))
    alone = MarketFeatures(**features)
    result = {
        "events": len(events),
        "features": timed(alone.update, events),
        "event_to_decision": timed(session.decide, events),
        "load_average": os.getloadavg()[0],
    }
    first, second = MarketFeatures(**features), MarketFeatures(**features)
    for number, event in enumerate(events):
        if number % 500 == 0:
            second = MarketFeatures.restored(json.loads(json.dumps(second.state())))
        if first.update(event) != second.update(event):
            raise SystemExit(f"features must be equal to the last digit, however: at {event}")
    return {**result, "features_equal_after_restarts": True}


def main() -> None:
    """Read, train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=BENCHES)
    parser.add_argument(
        "--recipe", choices=("quick", "smoke", "sample", "default"), default="quick"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--events", type=int, default=20_000)
    arguments = parser.parse_args()
    bench, settings = BENCHES[arguments.which], load_settings()
    folder = f"{as_uri(settings.data_home)}/{TASK.industry}/{bench.dataset}"
    rows = bench.rows(folder)
    (horizon_s,), (fee_bps,) = (
        set(rows.table[name].to_pylist()) for name in ("horizon_s", "fee_bps")
    )
    storage = protocol.bench_storage(f"trading-{arguments.which}")
    recipe = quick if arguments.recipe == "quick" else RECIPES[arguments.recipe]
    config = dataclasses.replace(
        protocol.recipe(TASK, storage, recipe), limits=Limits(latency_ms=1000.0)
    )
    with protocol.local_session(storage):
        corpus = open_corpus(
            TASK,
            rows.table,
            storage=storage,
            roles=Roles(drop=bench.drop),
            info=DatasetInfo(
                name=f"trading-{arguments.which}", synthetic=arguments.which == "sample"
            ),
        )
        delay = 17.0 * horizon_s / DAY_S
        parts = dict(zip(PARTS, bench.shares, strict=True))
        settled = SplitConfig(kind="time", label_delay_days=delay, **parts)
        splits = split(TASK, corpus, storage, settled)
        exported, _ = protocol.served_model(splits, config, arguments.seed)
        model = SpecializedModel(exported, policy=fitted_policy(exported, splits))
        figures = quality(model, splits, rows, bench.block_s)
    events = list(itertools.islice(bench.events(folder), arguments.events))
    features = {"horizon_s": horizon_s, "fee_bps": fee_bps}
    sound = [event for event in events if _is_sound(event, features)]
    protocol.finish(
        f"trading-{arguments.which}",
        {
            "command": f"python -m tests.bench.bench_trading {arguments.which} --recipe "
            f"{arguments.recipe} --seed {arguments.seed} --events {arguments.events}",
            "synthetic": arguments.which == "sample",
            "served": {"role": exported.artifact.role, "size_bytes": exported.size_bytes},
            "refused_events": dict(rows.refused),
            "horizon_s": horizon_s,
            "fee_bps": fee_bps,
            "held_out": figures,
            "latency": latency(model, features, sound),
        },
    )


def _is_sound(event: Event, features: Mapping[str, float]) -> bool:
    """Whether an event is none of those that are refused and counted."""
    try:
        MarketFeatures(**features).update(event)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    main()
