"""Benchmarks: quality with intervals, latency, size and memory, always beside tuned baselines."""

from typing import TYPE_CHECKING, Any

from spt_core.benchmark.config import BenchmarkConfig
from spt_core.benchmark.tasks import BenchmarkTask, BenchmarkType

if TYPE_CHECKING:
    from spt_core.benchmark.report import Report, report_from_json
    from spt_core.benchmark.suite import BenchmarkSuite

__all__ = [
    "BenchmarkConfig",
    "BenchmarkSuite",
    "BenchmarkTask",
    "BenchmarkType",
    "Report",
    "report_from_json",
]


def __getattr__(name: str) -> Any:
    """What needs baselines and charts, imported on first use: a configuration needs neither."""
    if name == "BenchmarkSuite":
        from spt_core.benchmark.suite import BenchmarkSuite

        return BenchmarkSuite
    if name in ("Report", "report_from_json"):
        from spt_core.benchmark import report

        return getattr(report, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
