"""What a version did in a stretch of time, small enough to count on every request.

Counts by window of WINDOW_S, by bin of latency and of request size: they add up over replicas.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

STEPS_PER_DOUBLING = 8  # of the latency histogram: its bins are 9 % wide
WINDOW_S = 10.0


class Window(NamedTuple):
    """What one version did in `WINDOW_S` from `start_s`: counts by bin of latency and of size."""

    start_s: float
    num_requests: int
    num_errors: int
    latency: Mapping[int, int]
    sizes: Mapping[int, int]


def merged(windows: Iterable[Window]) -> Window:
    """The windows as one."""
    windows = list(windows)
    latency, sizes = Counter[int](), Counter[int]()
    for window in windows:
        latency.update(window.latency)
        sizes.update(window.sizes)
    return Window(
        min((window.start_s for window in windows), default=0.0),
        sum(window.num_requests for window in windows),
        sum(window.num_errors for window in windows),
        latency,
        sizes,
    )


def joined(windows: Iterable[Window]) -> list[Window]:
    """The windows of several replicas as those of one, oldest first."""
    groups: dict[float, list[Window]] = {}
    for window in windows:
        groups.setdefault(window.start_s, []).append(window)
    return [merged(groups[start]) for start in sorted(groups)]


def window_from_json(content: Mapping[str, Any]) -> Window:
    """A window as a replica or the audit log has it, its bins named by texts."""
    return Window(
        float(content["start_s"]),
        int(content["num_requests"]),
        int(content["num_errors"]),
        {int(name): int(count) for name, count in content["latency"].items()},
        {int(name): int(count) for name, count in content["sizes"].items()},
    )


def window_to_json(window: Window) -> dict[str, Any]:
    """The window as plain JSON."""
    content = window._asdict()
    for name in ("latency", "sizes"):
        content[name] = {str(key): count for key, count in sorted(content[name].items())}
    return content


def latency_bin(seconds: float) -> int:
    """The bin of a latency; bins grow by 9 %."""
    return round(math.log2(max(seconds * 1e6, 1.0)) * STEPS_PER_DOUBLING)


def size_bin(num_bytes: int) -> int:
    """The bin of a request's size; each is twice as wide as the one before."""
    return max(num_bytes, 1).bit_length()


def quantile_ms(latency: Mapping[int, int], share: float) -> float:
    """The latency that this share of the requests does not exceed, in ms; NaN of none."""
    total, seen = sum(latency.values()), 0
    for number in sorted(latency):
        seen += latency[number]
        if seen >= share * total:
            return 2 ** (number / STEPS_PER_DOUBLING) / 1000
    return math.nan
