"""Whether answers to held-out rows are right: the task's metric, beside the head's others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spt_core.benchmark.subject import Subject, percentiles_of, resamples
from spt_core.benchmark.tasks import BenchmarkResult, BenchmarkType
from spt_core.heads.outcomes import Outcomes, interval
from spt_core.policy import DecisionPolicy

# Of a head whose usual metric is an error, the first of these that it has is the score.
SHARES = ("accuracy", "r2")


def accuracy(subject: Subject) -> list[BenchmarkResult]:
    """One benchmark: quality on held-out rows."""
    head, config, of = subject.answerer.head, subject.config, subject.of
    figures: dict[str, Any] = {}
    for name, metric in head.metrics_under(subject.answerer.policy).items():
        low, high = interval(metric, of, num_resamples=config.num_resamples, seed=config.seed)
        figures[name] = {"value": _number(metric(of)), "low": _number(low), "high": _number(high)}
    if isinstance(subject.answerer.policy, DecisionPolicy):
        figures |= _flagged(of)
    name, note = _share(subject)
    if name is None:
        values = [_against_size(subject.metric(of.take(i))) for i in resamples(of, config)]
        score, (low, high) = _against_size(subject.metric(of)), percentiles_of(values)
    else:
        score, low, high = (figures[name][key] for key in ("value", "low", "high"))
    return [
        BenchmarkResult(
            task_id="accuracy",
            name="Accuracy on held-out rows",
            benchmark_type=BenchmarkType.DOMAIN_KNOWLEDGE,
            note=note,
            score=_bounded(score),
            low=_bounded(low),
            high=_bounded(high),
            figures=figures,
            not_measured=""
            if score is not None
            else _undefined(name or subject.answerer.task.metric),
        )
    ]


def _share(subject: Subject) -> tuple[str | None, str]:
    """Which of the head's figures is the score, and why; None for an error without a share."""
    task, metrics = subject.answerer.task, subject.answerer.head.metrics
    words = task.metric.replace("_", " ")
    if not subject.metric.lower_is_better:
        return task.metric, f"the task's metric, {words}"
    for name in SHARES:
        if name in metrics:
            return name, f"{name.replace('_', ' ')}: the task's metric, {words}, is an error"
    return None, f"1 less the {words}, which is 0 at best and 1 where errors are as large as values"


def _flagged(of: Outcomes) -> dict[str, Any]:
    """Precision, recall and F1 of the cases that are not approved."""
    mass = np.ones(len(of.labels)) if of.weights is None else of.weights
    true, flagged = of.labels[:, 0] == 1, of.given[:, 0] > 0
    hits = float(mass[true & flagged].sum())
    precision = hits / total if (total := float(mass[flagged].sum())) else None
    recall = hits / total if (total := float(mass[true].sum())) else None
    both = float(mass[flagged].sum() + mass[true].sum())
    return {
        "precision_of_flagged": {"value": precision},
        "recall_of_flagged": {"value": recall},
        "f1_of_flagged": {"value": 2 * hits / both if both else None},
    }


def _against_size(loss: float) -> float:
    return 1.0 - loss


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _bounded(value: float | None) -> float | None:
    return None if value is None else min(max(value, 0.0), 1.0)


def _undefined(name: str) -> str:
    return f"{name.replace('_', ' ')} is not defined on the held-out rows, such as of one class"
