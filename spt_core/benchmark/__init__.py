"""Benchmarks: quality with intervals, latency, size and memory, always beside tuned baselines."""

from spt_core.benchmark.config import BenchmarkConfig
from spt_core.benchmark.report import Report, report_from_json
from spt_core.benchmark.suite import BenchmarkSuite

__all__ = ["BenchmarkConfig", "BenchmarkSuite", "Report", "report_from_json"]
