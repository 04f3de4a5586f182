"""What was foretold beside what came: totals, losses, and numbers within a limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from spt_core.data.series import moments
from spt_core.heads.backtest import backtest, in_order, series_of
from spt_core.heads.outcomes import Outcomes
from spt_core.heads.totals import totals_held
from spt_core.heads.within import limit_facts as facts_of_limits
from spt_core.policy import IntervalPolicy, Policy
from spt_core.task import Task


def backtest_facts(
    outcomes: Mapping[str, Outcomes],
    table: pa.Table,
    task: Task,
    time: str | None,
    unit: str | None,
) -> dict[str, list[dict[str, Any]]]:
    """Of each model what was exceeded at the task's levels; empty where it names none."""
    if not task.backtest_levels or time not in table.column_names:
        return {}
    names = table[unit].to_pylist() if unit in table.column_names else None
    series = series_of(names, table.num_rows)
    times = moments(table[time])
    order = in_order(series, times)
    return {
        name: backtest(of.take(order), task.backtest_levels, series[order], times[order])
        for name, of in outcomes.items()
    }


def total_facts(outcomes: Mapping[str, Outcomes], task: Task) -> dict[str, list[dict[str, Any]]]:
    """Of each model how often the total of several steps stayed within its quantiles.

    Empty where a task foretells no several steps.
    """
    if task.head != "forecasts":
        return {}
    return {name: totals_held(of) for name, of in outcomes.items() if of.labels.shape[1] > 1}


def limit_facts(own: Outcomes, task: Task, policy: Policy) -> list[dict[str, Any]]:
    """How good the model's probabilities of the task's limits are; empty where it names none."""
    if not task.limits or not isinstance(policy, IntervalPolicy):
        return []
    return facts_of_limits(own, policy.coverage, task.limits)
