"""What a model takes, as it is measured here, and which limit it does not keep.

exported model -> FrontPoint -> the first limit that it breaks, in a few words
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answering import Answerer
from spt_core.artifacts import ExportedModel
from spt_core.benchmark.memory import resident_bytes
from spt_core.benchmark.subgroups import (
    MIN_GROUP_ROWS,
    compared_outcomes,
    members,
    subgroup_figures,
)
from spt_core.benchmark.tasks import listed
from spt_core.benchmark.timing import json_record, timed_calls
from spt_core.compression.limits import Limits
from spt_core.data.splits import Splits
from spt_core.errors import InputError
from spt_core.families.candidate import Candidate
from spt_core.heads import HEADS
from spt_core.heads.binary import cost_metric
from spt_core.model import default_policy, open_answerer
from spt_core.policy import DecisionPolicy
from spt_core.scoring import fitted_policy
from spt_core.task import ComparedRate, Task

NUM_ROUNDS = 5  # of calls: what a busy machine does to one, it seldom does to all
MIN_CALLS, MAX_CALLS, ROUND_S = 50, 500, 0.3
BATCH_ROWS = 256
MIN_BATCHES, BATCHES_S = 5, 3.0  # of batches; a slow model needs few of them
TIMED_ROWS = 200
BUSY_RATIO = 8.0  # of a limit over the median, from which on a tail beyond it is the machine's
POLICY_ROWS = 20_000  # validation rows that decisions are looked at on


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FrontPoint:
    """A candidate as it was measured.

    `latency_ms` holds the median of single answers (`p50`) and their 99th percentile, the least and
    the greatest of NUM_ROUNDS rounds (`low`, `high`). `metrics` are those on validation rows, and
    `metric` is the task's among them; `throughput_qps` records answered in a second. `memory_mb`,
    `cost_per_case` and `impact_ratio` (the least of all groups, and which) are measured where they
    are limited; `not_compared` says why there is no impact ratio. `refusal` says which limit is not
    kept.
    """

    name: str
    parts: Mapping[str, float]
    loss: float
    metric: float
    metrics: Mapping[str, float]
    size_mb: float
    latency_ms: Mapping[str, float]
    throughput_qps: float = 0.0
    memory_mb: float | None = None
    cost_per_case: float | None = None
    impact_ratio: float | None = None
    least_group: str = ""
    not_compared: str = ""
    refusal: str = ""
    chosen: bool = False

    def to_json(self) -> dict[str, Any]:
        """A JSON object with all fields."""
        return dataclasses.asdict(self)


def measured(
    candidate: Candidate, exported: ExportedModel, splits: Splits, limits: Limits, name: str = ""
) -> FrontPoint:
    """The point of an exported candidate, with its refusal if there is one."""
    answerer = open_answerer(exported, default_policy(exported))
    table = splits.table("validation", limit=TIMED_ROWS)
    fields = [f.name for f in exported.artifact.signature.fields if f.name in table.column_names]
    records = [json_record(record) for record in table.select(fields).to_pylist()]
    each_s = float(np.median(timed_calls(answerer.answer, records[:MIN_CALLS], MIN_CALLS)))
    num_calls = int(min(max(ROUND_S / each_s, MIN_CALLS), MAX_CALLS))
    rounds = [timed_calls(answerer.answer, records, num_calls) * 1000 for _ in range(NUM_ROUNDS)]
    tails = [float(np.quantile(times, 0.99)) for times in rounds]
    p50 = float(np.median(np.concatenate(rounds)))
    throughput = 1000 / p50
    if limits.in_batches:
        throughput = _throughput_qps(answerer, records)
    memory = None if limits.memory_mb is None else resident_bytes(exported).model / 1e6
    point = FrontPoint(
        name=name or candidate.name,
        parts=candidate.parts,
        loss=candidate.loss,
        metric=candidate.metrics[f"validation_{answerer.task.metric}"],
        metrics={
            metric: candidate.metrics[f"validation_{metric}"]
            for metric in HEADS[answerer.task.head].metrics
            if f"validation_{metric}" in candidate.metrics
        },
        size_mb=exported.size_bytes / 1e6,
        latency_ms={"p50": p50, "low": min(tails), "high": max(tails)},
        throughput_qps=throughput,
        memory_mb=memory,
    )
    if limits.cost_per_case is not None or limits.impact_ratio is not None:
        point = _with_decisions(point, exported, splits)
    task = answerer.task
    refusal = over_budget(point, limits, task) or _bad_quality(point, limits, task)
    return dataclasses.replace(point, refusal=refusal)


def _throughput_qps(answerer: Answerer, records: list[dict[str, Any]]) -> float:
    """Records answered in a second, BATCH_ROWS at a time."""
    batches = [(records * (BATCH_ROWS // len(records) + 1))[:BATCH_ROWS]]
    each_s = float(timed_calls(answerer.answers, batches, 1)[0])
    num_calls = int(min(max(BATCHES_S / each_s, MIN_BATCHES), MIN_CALLS))
    return BATCH_ROWS / float(np.median(timed_calls(answerer.answers, batches, num_calls)))


def _with_decisions(point: FrontPoint, exported: ExportedModel, splits: Splits) -> FrontPoint:
    """What the decisions of a candidate's own policy cost on validation rows, and whom they meet.

    Groups are those of subgroup_figures, which says what an impact ratio is.
    """
    policy = fitted_policy(exported, splits)
    if not isinstance(policy, DecisionPolicy):
        raise InputError(
            "cost_per_case and impact_ratio are limits of decisions alone, however: "
            f"{splits.task} has none"
        )
    answerer = open_answerer(exported, policy)
    compared = answerer.task.compared_rate
    table, corpus = splits.table("validation", limit=POLICY_ROWS), splits.corpus
    of = answerer.outcomes(table, splits.label, group=corpus.group, weight=corpus.weight)
    cost = cost_metric(policy)(of)
    ratios = {
        f"{column} {row['group']}": row["impact_ratio"]
        for column, rows in subgroup_figures(table, splits.protected, of, policy, compared).items()
        for row in rows
        if row["impact_ratio"] is not None
    }
    least = min(ratios, key=ratios.__getitem__, default="")
    return dataclasses.replace(
        point,
        cost_per_case=cost,
        impact_ratio=ratios.get(least),
        least_group=least,
        not_compared=""
        if ratios
        else _not_compared(
            table, splits.protected, compared_outcomes(of, policy, compared)[0], compared
        ),
    )


def _not_compared(
    table: pa.Table,
    protected: tuple[str, ...],
    counted: NDArray[np.bool_],
    compared: ComparedRate,
) -> str:
    """Why no two groups could be compared; `counted` [N] are the rows that the rate is a share of.

    In a few words.
    """
    columns = {
        column: {name: int((rows & counted).sum()) for name, rows in groups}
        for column, groups in members(table, protected)
    }
    if not columns:
        return "they hold no protected or monitored attribute"
    noun = "rows" if compared == "approval_rate" else "positive rows"
    few = [
        f"{column} {name} {size}"
        for column, sizes in columns.items()
        for name, size in sizes.items()
        if size < MIN_GROUP_ROWS
    ]
    if all(sum(n >= MIN_GROUP_ROWS for n in sizes.values()) < 2 for sizes in columns.values()):
        others = f"; groups with fewer: {listed(few)}" if few else ""
        return f"two groups of {MIN_GROUP_ROWS} {noun} or more are needed{others}"
    return f"the {compared.replace('_', ' ')} is 0 in every group"


def over_budget(point: FrontPoint, limits: Limits, task: Task) -> str:
    """Of which limit a candidate takes more than it may, in a few words.

    A latency that somebody asked for must be kept in every round; one that is the task's own is not
    broken by a machine that was busy in some.
    """
    budget = limits.of(task)
    if point.size_mb > budget.size_mb:
        return f"{point.size_mb:.2f} MB, of {budget.size_mb:g}"
    if budget.memory_mb is not None and (point.memory_mb or 0.0) > budget.memory_mb:
        return f"{point.memory_mb:.1f} MB of memory, of {budget.memory_mb:g}"
    if budget.throughput_qps is not None and point.throughput_qps < budget.throughput_qps:
        return f"{point.throughput_qps:,.0f} records a second, of {budget.throughput_qps:g}"
    p50, low, high = (point.latency_ms[name] for name in ("p50", "low", "high"))
    if low > budget.latency_ms and p50 * BUSY_RATIO >= budget.latency_ms:
        return f"{low:.3f} ms at the 99th percentile, of {budget.latency_ms:g}"
    if limits.latency_ms is not None and high > budget.latency_ms:
        return (
            f"{low:.3f} to {high:.3f} ms at the 99th percentile (median {p50:.3f}), of "
            f"{budget.latency_ms:g}: the machine is too busy to tell"
        )
    return ""


def _bad_quality(point: FrontPoint, limits: Limits, task: Task) -> str:
    """Which limit of quality a candidate does not keep, in a few words."""
    metrics = HEADS[task.head].metrics
    for name, limit in limits.quality.items():
        if name not in metrics:
            raise InputError(
                f"quality names metrics of a {task.head} task ({', '.join(metrics)}), however: "
                f"{name!r}"
            )
        value = point.metrics.get(name, float("nan"))
        if not metrics[name].sign * value >= metrics[name].sign * limit:
            return f"{name.replace('_', ' ')} {value:.4f} on validation rows, of {limit:g}"
    if limits.cost_per_case is not None and (point.cost_per_case or 0.0) > limits.cost_per_case:
        return f"a case costs {point.cost_per_case:.3f}, of {limits.cost_per_case:g}"
    if limits.impact_ratio is None:
        return ""
    if point.impact_ratio is None:
        return f"no impact ratio could be measured on validation rows: {point.not_compared}"
    if point.impact_ratio < limits.impact_ratio:
        rate = task.compared_rate.replace("_", " ")
        return (
            f"an impact ratio of {point.impact_ratio:.2f} ({rate} of {point.least_group}), of "
            f"{limits.impact_ratio:g}"
        )
    return ""
