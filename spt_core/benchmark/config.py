"""How thoroughly a benchmark measures."""

from __future__ import annotations

import dataclasses

from spt_core.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkConfig:
    """How thoroughly to measure.

    `num_trials` Optuna trials per baseline (0 leaves baselines out), on at most `baseline_rows`
    training rows; `num_resamples` bootstrap draws; `num_calls` timed single-row answers. Of
    held-out rows, `reasoning_rows` are answered without their reasons, and `altered_rows` with
    values missing and with typos.
    """

    num_trials: int = 20
    baseline_rows: int = 2_000_000
    evaluation_rows: int = 1_000_000
    num_resamples: int = 200
    num_calls: int = 2000
    reasoning_rows: int = 200
    altered_rows: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse counts that measure nothing."""
        if self.num_trials < 0 or self.num_resamples < 10 or self.num_calls < 100:
            raise InputError(
                "a benchmark needs num_trials >= 0, num_resamples >= 10 and num_calls >= 100, "
                f"however: {self.num_trials=}, {self.num_resamples=}, {self.num_calls=}"
            )
        if min(self.reasoning_rows, self.altered_rows) < 1:
            raise InputError(
                "reasoning_rows and altered_rows must be at least 1, however: "
                f"{self.reasoning_rows=}, {self.altered_rows=}"
            )
