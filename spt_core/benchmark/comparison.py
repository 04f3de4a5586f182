"""Candidate beside champion on the same rows: figures, slices, changed answers, golden records.

(champion, candidate) + evaluation sets -> a JSON object that the gate judges and a reviewer reads

Intervals are of the paired difference: the same documents are drawn for both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.artifacts import ExportedModel, ModelArtifact
from spt_core.benchmark.timing import json_record
from spt_core.data.splits import EvaluationSet
from spt_core.errors import InputError
from spt_core.heads import HEADS, metric_of
from spt_core.heads.base import AnswerHead
from spt_core.heads.metrics import class_figures
from spt_core.heads.outcomes import OutcomeMetric, Outcomes, drawn, members_of, values_of
from spt_core.model import artifact_of, open_answerer
from spt_core.policy import Policy
from spt_core.task import Task, find

MIN_SLICE_ROWS = 50
NUM_EXAMPLES = 12
NUM_GOLDEN = 20
SHOWN_CHARACTERS = 400
CLASS = "class:"  # a slice that is one class' items


class Model(NamedTuple):
    """Files with the policy that decides on their answers."""

    source: ModelArtifact | ExportedModel
    policy: Policy


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CompareConfig:
    """How thoroughly to compare; `slices` are columns, or `class:NAME`."""

    slices: tuple[str, ...] = ()
    group: str | None = None
    max_rows: int = 20_000
    num_resamples: int = 200
    seed: int = 0


def compare(
    champion: Model,
    candidate: Model,
    sets: Mapping[str, EvaluationSet],
    config: CompareConfig | None = None,
) -> dict[str, Any]:
    """What the gate needs and a reviewer reads; the first set is the frozen one."""
    config = config or CompareConfig()
    task = find(artifact_of(candidate.source).task)
    head = HEADS[task.head]
    if not head.is_of_record:
        raise InputError(
            "models are compared that say something of a record as a whole, however: "
            f"{task.path} has the head {task.head}"
        )
    answerers = tuple(open_answerer(*model) for model in (champion, candidate))
    results: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    golden: list[dict[str, Any]] = []
    for name, evaluation_set in sets.items():
        table = evaluation_set.table(limit=config.max_rows)
        before, after = (
            answerer.outcomes(table, evaluation_set.label, group=config.group)
            for answerer in answerers
        )
        results.append(_figures(name, evaluation_set, table, task, (before, after), config))
        records = _records(task, table)
        examples += _examples(name, records, head, before, after)
        if not golden:
            golden = _golden(records, head, before, after)
    return {
        "metric": task.metric,
        "lower_is_better": metric_of(task).lower_is_better,
        "sets": results,
        "examples": examples,
        "golden": golden,
        "new_classes": sorted(set(answerers[1].classes) - set(answerers[0].classes)),
    }


def _records(task: Task, table: pa.Table) -> list[dict[str, Any]]:
    """What each row asks."""
    fields = task.fields if task.subject is None else (task.subject,)
    names = [field.name for field in fields if field.name in table.column_names]
    return [json_record(record) for record in table.select(names).to_pylist()]


def _figures(
    name: str,
    evaluation_set: EvaluationSet,
    table: pa.Table,
    task: Task,
    pair: tuple[Outcomes, Outcomes],
    config: CompareConfig,
) -> dict[str, Any]:
    metric, head = metric_of(task), HEADS[task.head]
    before, after = pair
    values = [values_of(head.metrics, of) for of in pair]
    return {
        "name": name,
        "uri": evaluation_set.uri,
        "fingerprint": evaluation_set.fingerprint,
        "num_rows": table.num_rows,
        "num_groups": len(np.unique(before.groups)),
        **paired(metric, before, after, num_resamples=config.num_resamples, seed=config.seed),
        "others": {
            other: {"champion": value, "candidate": values[1][other]}
            for other, value in values[0].items()
            if other != task.metric and other in values[1]
        },
        "slices": [*_slices(table, evaluation_set, metric, pair, config)],
        "churn": float(np.mean([a != b for a, b in zip(*map(head.said, pair), strict=True)])),
    }


def paired(
    metric: OutcomeMetric,
    before: Outcomes,
    after: Outcomes,
    *,
    num_resamples: int = 200,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Both models' figures and their difference, each with a 95 % interval over documents."""
    members, draw = members_of(before.groups), np.random.default_rng(seed)
    pairs: list[tuple[float, float]] = []
    for _ in range(num_resamples):
        items = drawn(draw, members, len(before.groups))
        pairs.append((metric(before.take(items)), metric(after.take(items))))
    values = np.array(pairs)
    first, second = metric(before), metric(after)
    return {
        "champion": _interval(first, values[:, 0]),
        "candidate": _interval(second, values[:, 1]),
        "difference": _interval(second - first, values[:, 1] - values[:, 0]),
    }


def _interval(value: float, values: NDArray[np.float64]) -> dict[str, float]:
    low, high = np.nanquantile(values, [0.025, 0.975])
    return {"value": float(value), "low": float(low), "high": float(high)}


def _slices(
    table: pa.Table,
    evaluation_set: EvaluationSet,
    metric: OutcomeMetric,
    pair: tuple[Outcomes, Outcomes],
    config: CompareConfig,
) -> list[dict[str, Any]]:
    """Groups of protected columns and of those that were asked for, and classes."""
    slices: list[dict[str, Any]] = []
    for column in dict.fromkeys((*evaluation_set.protected, *config.slices)):
        if column.startswith(CLASS):
            slices.append(_class_slice(column, pair))
            continue
        if column not in table.column_names:
            raise InputError(
                f"a slice must be a column of the evaluation set or {CLASS}NAME, however: "
                f"{column!r} is neither"
            )
        values = table[column].to_pylist()
        for group in sorted({str(value) for value in values if value is not None}):
            items = np.flatnonzero([value is not None and str(value) == group for value in values])
            if len(items) >= MIN_SLICE_ROWS:
                before, after = (metric(of.take(items)) for of in pair)
                row = {"slice": f"{column}={group}", "num_rows": len(items)}
                slices.append({**row, "champion": before, "candidate": after})
    return slices


def _class_slice(column: str, pair: tuple[Outcomes, Outcomes]) -> dict[str, Any]:
    name = column.removeprefix(CLASS)
    rows = [next((r for r in class_figures(of) if r["label"] == name), None) for of in pair]
    if rows[0] is None or rows[1] is None:
        raise InputError(
            f"a slice must name a class of both models, however: {name!r} is not one of "
            f"{', '.join(pair[0].classes)}"
        )
    before, after = (row["f1"] or 0.0 for row in rows if row is not None)
    return {
        "slice": column,
        "num_rows": rows[0]["support"],
        "champion": before,
        "candidate": after,
        "lower_is_better": False,
    }


def _examples(
    name: str,
    records: Sequence[Mapping[str, Any]],
    head: AnswerHead,
    before: Outcomes,
    after: Outcomes,
) -> list[dict[str, Any]]:
    """Items whose answer changed, those about which the candidate is surest first."""
    true, old, new = head.said(before, of_labels=True), head.said(before), head.said(after)
    changed = [number for number in range(len(records)) if old[number] != new[number]]
    changed.sort(key=lambda number: -float(after.probabilities[number].max()))
    return [
        {
            "set": name,
            "record": {k: _shown(value) for k, value in records[number].items()},
            "true": list(true[number]),
            "champion": list(old[number]),
            "candidate": list(new[number]),
            "champion_probability": round(float(before.probabilities[number].max()), 4),
            "candidate_probability": round(float(after.probabilities[number].max()), 4),
        }
        for number in changed[:NUM_EXAMPLES]
    ]


def _golden(
    records: Sequence[Mapping[str, Any]], head: AnswerHead, before: Outcomes, after: Outcomes
) -> list[dict[str, Any]]:
    """Records that the champion answers rightly and surely, from as many classes as there are.

    `labels` are what it says; `candidate_right` whether the candidate said so when it was judged.
    """
    old, new = head.said(before), head.said(after)
    right = np.array([a == b for a, b in zip(old, head.said(before, of_labels=True), strict=True)])
    sure = np.where(right, before.probabilities.max(1), -1.0)
    turns: dict[tuple[str, ...], int] = {}
    ranked: list[tuple[int, float, int]] = []
    for number in np.argsort(-sure, kind="stable").tolist():
        if sure[number] < 0:
            break
        turns[old[number][:1]] = turns.get(old[number][:1], 0) + 1
        ranked.append((turns[old[number][:1]], -float(sure[number]), number))
    chosen = [number for _, _, number in sorted(ranked)[:NUM_GOLDEN]]
    return [
        {
            "record": records[number],
            "labels": list(old[number]),
            "candidate_right": old[number] == new[number],
        }
        for number in sorted(chosen)
    ]


def _shown(value: Any) -> Any:
    return value[:SHOWN_CHARACTERS] if isinstance(value, str) else value
