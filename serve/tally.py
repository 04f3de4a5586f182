"""What each version of a replica did lately: counts by window, latency and request size.

A microsecond a request; one thread (the event loop) writes and reads. The roll-out's watcher merges
the replicas' windows, and compares a new version with the one before it, which stays here.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from spt_core.traffic import WINDOW_S, latency_bin, quantile_ms, size_bin

MAX_WINDOWS = 360  # an hour
MAX_VERSIONS = 3
SLOW = 0.95


class Tally:
    """Windows by version, the oldest forgotten."""

    def __init__(self) -> None:
        self._windows: dict[str, dict[int, dict[str, Any]]] = {}

    def add(self, ref: str, *, is_error: bool, seconds: float, num_bytes: int) -> None:
        """Count one answer."""
        number = int(time.time() / WINDOW_S)
        windows = self._windows.get(ref)
        if windows is None:
            windows = self._version(ref)
        window = windows.get(number)
        if window is None:
            window = windows[number] = {"requests": 0, "errors": 0, "latency": {}, "sizes": {}}
            if len(windows) > MAX_WINDOWS:
                del windows[next(iter(windows))]
        window["requests"] += 1
        window["errors"] += is_error
        for name, key in (("latency", latency_bin(seconds)), ("sizes", size_bin(num_bytes))):
            counts = window[name]
            counts[key] = counts.get(key, 0) + 1

    def windows(self) -> dict[str, list[dict[str, Any]]]:
        """Per version its windows, oldest first, as `window_from_json` reads them."""
        return {
            ref: [
                {
                    "start_s": number * WINDOW_S,
                    "num_requests": window["requests"],
                    "num_errors": window["errors"],
                    "latency": dict(window["latency"]),
                    "sizes": dict(window["sizes"]),
                }
                for number, window in windows.items()
            ]
            for ref, windows in self._windows.items()
        }

    def slow_ms(self) -> float:
        """What 95 % of the requests of the present window do not exceed; 0 where there are none."""
        number, latency = int(time.time() / WINDOW_S), Counter[int]()
        for windows in self._windows.values():
            latency.update(windows.get(number, {}).get("latency", {}))
        return quantile_ms(latency, SLOW) if latency else 0.0

    def _version(self, ref: str) -> dict[int, dict[str, Any]]:
        if len(self._windows) == MAX_VERSIONS:
            del self._windows[next(iter(self._windows))]
        return self._windows.setdefault(ref, {})
