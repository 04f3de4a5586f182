"""How many replicas a task has: by load before there is a queue, and by its latency target."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from serve.scaling import Load, LoadAndLatency, num_wanted
from serve.tally import Tally

TARGET_MS = 5.0


@pytest.mark.parametrize(
    ("current", "busy", "latency_ms", "number"),
    [
        (1, 0.1, 0.5, 1),  # nothing to do
        (1, 0.7, 0.5, 2),  # busy, and nobody waits yet
        (4, 0.9, 0.5, 6),
        (1, 0.1, 6.0, 2),  # late, though hardly busy: others have the processor
        (2, 0.1, 500.0, 4),  # at most twice as many at once
        (4, 0.1, 1.0, 1),  # calm: as many as the load takes
        (4, 0.3, 1.0, 2),
        (4, 0.1, 3.0, 4),  # within the target, but not by half: none is taken away
        (4, 0.0, 0.0, 1),
    ],
)
def test_the_number_follows_load_and_latency(
    current: int, busy: float, latency_ms: float, number: int
) -> None:
    assert num_wanted(current, busy, latency_ms, TARGET_MS) == number


def test_the_policy_takes_the_mean_load_and_the_slowest_replica() -> None:
    policy = LoadAndLatency(latency_target_ms=TARGET_MS)
    figures = {"busy": {"a": 0.2, "b": 0.4}, "latency_ms": {"a": 1.0, "b": 7.5}}
    ctx = SimpleNamespace(aggregated_metrics=figures, current_num_replicas=2, target_num_replicas=2)
    assert policy(ctx) == (3, {})


@pytest.mark.parametrize("figures", [None, {}, {"busy": {}, "latency_ms": {}}])
def test_without_figures_the_number_stays(figures: object) -> None:
    ctx = SimpleNamespace(aggregated_metrics=figures, current_num_replicas=1, target_num_replicas=3)
    assert LoadAndLatency(TARGET_MS)(ctx) == (3, {})


def test_a_replica_says_how_long_requests_wait_for_its_loop() -> None:
    async def blocked() -> tuple[dict[str, float], dict[str, float]]:
        load = Load()
        load.figures(0.0)
        await asyncio.sleep(0.12)
        calm = load.figures(0.0)
        time.sleep(0.2)  # what a request of that length does to the others
        await asyncio.sleep(0.02)
        return calm, load.figures(1.5)

    calm, late = asyncio.run(blocked())
    assert calm["latency_ms"] < late["latency_ms"]
    assert late["latency_ms"] > 100
    assert late["busy"] < 0.5  # it slept


def test_the_slow_ones_of_the_present_window_count() -> None:
    tally = Tally()
    assert tally.slow_ms() == 0.0
    for milliseconds in [1.0] * 10 + [50.0]:
        tally.add("a@1", is_error=False, seconds=milliseconds / 1000, num_bytes=10)
    assert tally.slow_ms() == pytest.approx(50, rel=0.1)
