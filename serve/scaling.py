"""How many replicas a task has, when it has a range of them: by its load and its latency target.

Serve's own policy counts requests under way, of which a model of microseconds rarely shows one. So
each replica says how busy its processor is, and how long its requests take, the wait for the event
loop included; the controller asks LoadAndLatency, with the mean of what each replica said lately.
More come before there is a queue: at 60 % of a processor, or past the latency target.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, final

BUSY_TARGET = 0.6  # of one processor, in each replica
CALM = 0.5  # of the latency target: above it none is taken away
MOST_AT_ONCE = 2.0  # times as many as now
_TICK_S, _KEPT_S = 0.05, 5.0
_BUSY, _LATENCY_MS = "busy", "latency_ms"
_WORST = 0.95


class Load:
    """What one replica measures of itself, once somebody asks."""

    def __init__(self) -> None:
        self._waits: deque[tuple[float, float]] = deque()
        self._ticks: asyncio.Task[None] | None = None
        self._before = (time.monotonic(), time.process_time())

    def figures(self, slow_ms: float) -> dict[str, float]:
        """Since the last call; `slow_ms` is what a slow request takes once it is begun."""
        if self._ticks is None:
            self._ticks = asyncio.get_running_loop().create_task(self._tick())
        now, computed = time.monotonic(), time.process_time()
        wall = max(now - self._before[0], 1e-3)
        busy = (computed - self._before[1]) / wall
        self._before = (now, computed)
        waits = sorted(wait for at, wait in self._waits if at > now - _KEPT_S)
        wait_s = waits[min(int(_WORST * len(waits)), len(waits) - 1)] if waits else 0.0
        return {_BUSY: busy, _LATENCY_MS: 1000 * wait_s + slow_ms}

    async def _tick(self) -> None:
        """How late a timer of the loop fires is what a request waits before it is begun."""
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                start = time.monotonic()
                await asyncio.sleep(_TICK_S)
                now = time.monotonic()
                self._waits.append((now, now - start - _TICK_S))
                while self._waits[0][0] < now - _KEPT_S:
                    self._waits.popleft()


@final
class LoadAndLatency:
    """Serve's autoscaling policy: how many replicas, before Serve's delays and bounds."""

    def __init__(self, latency_target_ms: float) -> None:
        self._latency_target_ms = latency_target_ms

    def __call__(self, ctx: Any) -> tuple[float, dict[str, Any]]:
        """The number for Serve's AutoscalingContext; without figures it stays."""
        figures: Mapping[str, Mapping[Any, float]] = ctx.aggregated_metrics or {}
        busy = list(figures.get(_BUSY, {}).values())
        latency = list(figures.get(_LATENCY_MS, {}).values())
        current: int = ctx.current_num_replicas
        if not busy or not latency or current < 1:
            return ctx.target_num_replicas, {}
        share = sum(busy) / len(busy)
        return num_wanted(current, share, max(latency), self._latency_target_ms), {}


def num_wanted(current: int, busy: float, latency_ms: float, target_ms: float) -> float:
    """How many replicas: as many as the load takes, and more where requests are late.

    `busy` is the mean over `current` replicas. None is taken away while the latency is past half
    of its target, or where those that stay would be too busy.
    """
    by_load = current * busy / BUSY_TARGET
    by_latency = current * min(latency_ms / target_ms, MOST_AT_ONCE) if target_ms > 0 else 0.0
    if by_load > current or latency_ms > target_ms:
        more = min(max(by_load, by_latency), current * MOST_AT_ONCE)
        return max(math.ceil(more), current + 1)
    if latency_ms > CALM * target_ms:
        return current
    return max(math.ceil(by_load), 1)
