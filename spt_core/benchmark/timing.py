"""Times of single calls, and the figures that are told of them."""

from __future__ import annotations

import base64
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

Array = NDArray[np.float64]


def timed_calls(call: Callable[[Any], Any], inputs: list[Any], num_calls: int) -> Array:
    """Seconds of each of `num_calls` calls over the inputs, after some that warm up."""
    for value in inputs[:50]:
        call(value)
    seconds = np.empty(num_calls)
    for number in range(num_calls):
        value = inputs[number % len(inputs)]
        start = time.perf_counter()
        call(value)
        seconds[number] = time.perf_counter() - start
    return seconds


def json_record(record: dict[str, Any]) -> dict[str, Any]:
    """A row as a client would send it: times as text, bytes in base64, missing values as null."""
    return {name: _json_value(value) for name, value in record.items()}


def _json_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else value


def quantiles(seconds: Array) -> dict[str, float]:
    """The median and two tails in milliseconds."""
    p50, p90, p99 = np.quantile(seconds, [0.5, 0.9, 0.99]) * 1000
    return {"p50": float(p50), "p90": float(p90), "p99": float(p99)}


def percentiles(seconds: Array) -> list[float]:
    """The 1st to the 99th percentile in milliseconds."""
    return (np.percentile(seconds, np.arange(1, 100)) * 1000).tolist()


def machine() -> str:
    """What the times were taken on."""
    return f"{platform.machine()}, {psutil.cpu_count()} logical CPUs, {platform.system()}"
