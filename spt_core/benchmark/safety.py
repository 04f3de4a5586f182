"""How groups of people fare beside each other, and from how many rows on that can be judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spt_core.benchmark.gaps import Estimate, Pair, pairs
from spt_core.benchmark.subgroups import MIN_GROUP_ROWS, compared_outcomes, compared_share, members
from spt_core.benchmark.subject import Subject, percentiles_of, resamples
from spt_core.benchmark.tasks import BenchmarkResult, BenchmarkType
from spt_core.heads.outcomes import Outcomes
from spt_core.policy import DecisionPolicy

PRECISION = 0.1  # of its own size, to which a group's figure should be known
Masks = list[tuple[str, NDArray[np.bool_]]]
Figure = Callable[[Outcomes], float]


def safety(subject: Subject) -> list[BenchmarkResult]:
    """A benchmark for each protected or monitored attribute of the held-out rows.

    The score is the least figure of a group over the largest: of decisions the rate that the task
    compares groups by (the impact ratio of subgroups.py), of other answers its metric. Of groups
    without any gap the least and the largest differ by chance, the more so the more groups there
    are: the score is that of the worst pair whose gap is beyond chance (`pairs`), 1 without one.
    """
    if len(subject.of.labels) != subject.table.num_rows:
        return [_missing("subgroups", "an answer is about parts of a row, which are of no group")]
    columns = list(members(subject.table, subject.splits.protected))
    if not columns:
        return [_missing("subgroups", "the held-out rows hold no protected or monitored attribute")]
    return [_of_column(subject, name, groups) for name, groups in columns]


def _of_column(subject: Subject, column: str, groups: Masks) -> BenchmarkResult:
    words, figure = _figure(subject)
    counted = _counted(subject)
    large = [(name, rows) for name, rows in groups if (rows & counted).sum() >= MIN_GROUP_ROWS]
    values = {name: figure(_part(subject.of, rows)) for name, rows in large}
    judged = [(name, rows) for name, rows in large if math.isfinite(values[name])]
    left_out = {
        name: int((rows & counted).sum()) for name, rows in groups if (name, rows) not in judged
    }
    if len(judged) < 2:
        few = ", ".join(f"{name} {count}" for name, count in left_out.items())
        return _missing(
            column,
            f"two groups of {MIN_GROUP_ROWS} held-out rows or more are needed to judge {column} "
            f"by the {words} of them, and too small, or without one, are: {few}",
        )
    if not any(values[name] > 0 for name, _ in judged):
        return _missing(column, f"the {words} is 0 in every group: there is nothing to compare")
    draws = _drawn_figures(subject, judged, figure)
    if len(draws) < 2:
        return _missing(column, f"hardly a resample tells the {words} of all groups of {column}")
    is_share = isinstance(subject.answerer.policy, DecisionPolicy)
    compared = pairs(
        [
            _estimate(
                name,
                values[name],
                float(draws[:, number].std(ddof=1)),
                num_items=_num_items(subject.of, rows & counted) if is_share else None,
            )
            for number, (name, rows) in enumerate(judged)
        ]
    )
    shown = [
        _shown(name, rows, values[name], draws[:, number])
        for number, (name, rows) in enumerate(judged)
    ]
    beyond_chance = [pair for pair in compared if pair.high < 1.0]
    return BenchmarkResult(
        task_id=f"safety_{column}",
        name=f"Groups of {column}",
        benchmark_type=BenchmarkType.SAFETY,
        note=f"least {words} of a group of {column} over the largest, where that is beyond chance; "
        f"1 is no gap. {_told(beyond_chance)}",
        score=min((pair.ratio for pair in beyond_chance), default=1.0),
        low=min(pair.low for pair in compared),
        high=min(1.0, *(pair.high for pair in compared)),
        figures={
            "groups": shown,
            "beyond_chance": [pair._asdict() for pair in beyond_chance],
            "not_judged": left_out,
            "smallest_group_rows": max(row["rows_needed"] for row in shown),
        },
    )


def _told(beyond_chance: Sequence[Pair]) -> str:
    if not beyond_chance:
        return "No gap is beyond chance"
    worst = min(beyond_chance, key=lambda pair: pair.ratio)
    others = f", and of {len(beyond_chance) - 1} other pairs" if len(beyond_chance) > 1 else ""
    return f"Beyond chance is that of {worst.lower} and {worst.higher}{others}"


def _estimate(name: str, value: float, error: float, *, num_items: int | None) -> Estimate:
    """Of a share, how many independent rows would tell it as well: that obeys weights, groups."""
    if num_items is None:
        return Estimate(name, value, error)
    variance, of_one = error**2, value * (1.0 - value)
    size = float(num_items)
    if of_one > 0 and variance > 0:
        size = min(of_one / variance, size)
    return Estimate(name, value, error, size)


def _num_items(of: Outcomes, rows: NDArray[np.bool_]) -> int:
    return len(np.unique(of.groups[rows]))


def _figure(subject: Subject) -> tuple[str, Figure]:
    policy = subject.answerer.policy
    if isinstance(policy, DecisionPolicy):
        compared = subject.answerer.task.compared_rate
        words = compared.replace("_", " ")
        return words, lambda of: compared_share(of, policy, compared)
    return subject.answerer.task.metric.replace("_", " "), subject.metric.figure


def _counted(subject: Subject) -> NDArray[np.bool_]:
    """The rows [N] that a group's figure is a share of."""
    policy = subject.answerer.policy
    if isinstance(policy, DecisionPolicy):
        return compared_outcomes(subject.of, policy, subject.answerer.task.compared_rate)[0]
    return np.ones(len(subject.of.labels), np.bool_)


def _part(of: Outcomes, rows: NDArray[np.bool_]) -> Outcomes:
    return of.take(np.flatnonzero(rows))


def _drawn_figures(subject: Subject, groups: Masks, figure: Figure) -> NDArray[np.float64]:
    """The groups' figures [R, G] on R resamples; those on which one is not defined are left out."""
    rows: list[list[float]] = []
    for items in resamples(subject.of, subject.config):
        parts = [items[mask[items]] for _, mask in groups]
        rows.append([figure(subject.of.take(part)) if len(part) else math.nan for part in parts])
    values = np.array(rows)
    return values[np.isfinite(values).all(1)]


def _shown(
    name: str, rows: NDArray[np.bool_], value: float, draws: NDArray[np.float64]
) -> dict[str, Any]:
    """A group's figure and interval, and how many rows would tell it to within PRECISION."""
    low, high = percentiles_of(draws.tolist())
    half = 0.0 if low is None or high is None else (high - low) / 2
    precision = PRECISION * abs(value)
    needed = math.ceil(int(rows.sum()) * (half / precision) ** 2) if precision else MIN_GROUP_ROWS
    return {
        "group": name,
        "num_rows": int(rows.sum()),
        "value": value,
        "low": low,
        "high": high,
        "rows_needed": max(needed, MIN_GROUP_ROWS),
    }


def _missing(column: str, why: str) -> BenchmarkResult:
    return BenchmarkResult(
        task_id=f"safety_{column}",
        name=f"Groups of {column}" if column != "subgroups" else "Groups of people",
        benchmark_type=BenchmarkType.SAFETY,
        note="",
        not_measured=why,
    )
