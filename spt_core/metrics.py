"""Quality figures of probabilities against labels, with bootstrap intervals.

All take labels [B] of 0/1 and probabilities [B]; higher is better but for errors and costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score, roc_curve

Array = NDArray[np.float64]
Metric = Callable[[Array, Array], float]


def average_precision(labels: Array, probabilities: Array) -> float:
    """Area under the precision-recall curve, by steps (Davis and Goadrich, ICML 2006)."""
    return float(average_precision_score(labels, probabilities))


def roc_auc(labels: Array, probabilities: Array) -> float:
    """Area under the receiver operating characteristic."""
    return float(roc_auc_score(labels, probabilities))


def recall_at_fpr(labels: Array, probabilities: Array, *, fpr: float = 0.01) -> float:
    """Recall at the loosest threshold whose false-positive rate is at most `fpr`."""
    false_positive, true_positive, _ = roc_curve(labels, probabilities, drop_intermediate=False)
    return float(true_positive[np.searchsorted(false_positive, fpr, side="right") - 1])


def calibration_error(labels: Array, probabilities: Array, *, num_bins: int = 10) -> float:
    """Expected calibration error over bins of equal count (Nixon et al., CVPR workshops 2019)."""
    order = np.argsort(probabilities, kind="stable")
    gaps = [
        len(part) * abs(labels[part].mean() - probabilities[part].mean())
        for part in np.array_split(order, num_bins)
        if len(part)
    ]
    return float(sum(gaps) / len(labels))


def log_score(labels: Array, probabilities: Array) -> float:
    """Mean negative log-likelihood, in nats."""
    return float(log_loss(labels, np.clip(probabilities, 1e-7, 1 - 1e-7), labels=[0, 1]))


METRICS: Mapping[str, Metric] = {
    "average_precision": average_precision,
    "roc_auc": roc_auc,
    "recall_at_fpr_1pct": recall_at_fpr,
    "calibration_error": calibration_error,
    "log_loss": log_score,
}


def bootstrap_interval(
    metric: Metric,
    labels: Array,
    probabilities: Array,
    *,
    groups: NDArray[np.int64] | None = None,
    num_resamples: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95 % percentile interval of a metric; with `groups` [B], whole groups are resampled.

    Resamples that hold only one class are drawn again, as no ranking metric exists for them.
    """
    draw = np.random.default_rng(seed)
    members = _members(groups, len(labels))
    values: list[float] = []
    while len(values) < num_resamples:
        chosen = draw.integers(0, len(members), len(members))
        rows = np.concatenate([members[i] for i in chosen]) if groups is not None else chosen
        if 0 < labels[rows].sum() < len(rows):
            values.append(metric(labels[rows], probabilities[rows]))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _members(groups: NDArray[np.int64] | None, num_rows: int) -> list[NDArray[np.int64]]:
    if groups is None:
        return [np.array([i]) for i in range(num_rows)]
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
