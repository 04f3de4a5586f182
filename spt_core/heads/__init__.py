"""Kinds of answers. Adding one: a module with an AnswerHead, and one line here."""

from collections.abc import Mapping

from spt_core.errors import InputError
from spt_core.heads.anomalies import AnomalyHead
from spt_core.heads.base import AnswerHead, ItemHead
from spt_core.heads.binary import Binary
from spt_core.heads.forecasts import ForecastHead
from spt_core.heads.labels import MULTI_LABEL, ORDINAL, SINGLE_LABEL
from spt_core.heads.outcomes import OutcomeMetric
from spt_core.heads.pairs import PairHead
from spt_core.heads.spans import SpanHead
from spt_core.heads.values import ValueHead
from spt_core.task import Head, Task

ITEM_HEADS: Mapping[Head, ItemHead] = {
    "binary": Binary(),
    "single_label": SINGLE_LABEL,
    "multi_label": MULTI_LABEL,
    "ordinal": ORDINAL,
    "pair": PairHead(),
    "regression": ValueHead(),
    "anomalies": AnomalyHead(),
    "forecasts": ForecastHead(),
}
HEADS: Mapping[Head, AnswerHead] = {**ITEM_HEADS, "span": SpanHead()}

LOWER_IS_BETTER = frozenset(
    name
    for head in HEADS.values()
    for name, metric in head.metrics.items()
    if metric.lower_is_better
)


def metric_of(task: Task) -> OutcomeMetric:
    """The metric that a task is measured by; InputError says which its head has."""
    metrics = HEADS[task.head].metrics
    if task.metric not in metrics:
        raise InputError(
            f"the metric of a {task.head} task is one of {', '.join(metrics)}, however: "
            f"{task.path} names {task.metric!r}"
        )
    return metrics[task.metric]


def validation_loss(task: Task, metrics: Mapping[str, float]) -> float:
    """What a search makes small, of figures on validation rows: a proper score where there is one.

    That is log loss, or the root mean squared error of numbers; spans have neither, and their
    task's metric stands for it.
    """
    for name in ("log_loss", "rmse"):
        if f"validation_{name}" in metrics:
            return metrics[f"validation_{name}"]
    return -metric_of(task).sign * metrics[f"validation_{task.metric}"]
