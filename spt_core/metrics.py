"""Quality figures of predictions against labels, with bootstrap intervals.

Binary decisions: METRICS take labels [B] of 0/1 and probabilities [B]. Every other head:
HEAD_METRICS take Outcomes. Higher is better but for errors, losses and costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

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


class Outcomes(NamedTuple):
    """What is true of N items (texts, pairs of mentions, spans), and what a model says of them.

    `labels`, `probabilities` and `given` have shape [N, K] over `classes`: labels 0/1, `given` 0/1
    for what the policy gives. Regression has the values [N, 1] in `labels` and in `probabilities`.
    `groups` [N] are the documents that the items are of, `negative` is the class that says
    "nothing", `support` [K] counts the items of each class before any were left out by `take`.
    """

    classes: tuple[str, ...]
    labels: Array
    probabilities: Array
    given: Array
    groups: NDArray[np.int64]
    support: NDArray[np.int64]
    negative: int | None = None

    def take(self, items: NDArray[np.int64]) -> Outcomes:
        """Some of the items, or some several times."""
        return self._replace(
            labels=self.labels[items],
            probabilities=self.probabilities[items],
            given=self.given[items],
            groups=self.groups[items],
        )

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which classes [K] say something."""
        return np.arange(len(self.classes)) != self.negative


OutcomeMetric = Callable[[Outcomes], float]


def outcomes(
    classes: Sequence[str],
    labels: Array,
    probabilities: Array,
    given: Array,
    *,
    groups: NDArray[np.int64] | None = None,
    negative_class: str | None = None,
) -> Outcomes:
    """Outcomes of labels, probabilities and given [N, K]; without groups each item is its own."""
    return Outcomes(
        tuple(classes),
        np.asarray(labels, np.float64),
        np.asarray(probabilities, np.float64),
        np.asarray(given, np.float64),
        np.arange(len(labels)) if groups is None else groups,
        np.asarray(labels).sum(0).astype(np.int64),
        None if negative_class is None else tuple(classes).index(negative_class),
    )


def accuracy(of: Outcomes) -> float:
    """Share of the items that are given exactly their labels."""
    return float((of.labels == of.given).all(1).mean())


def micro_f1(of: Outcomes) -> float:
    """F1 over all decisions on the classes other than the negative one."""
    true, given = of.labels[:, of.counted], of.given[:, of.counted]
    return _f1((true * given).sum(), true.sum(), given.sum())


def macro_f1(of: Outcomes, *, min_support: int = 1) -> float:
    """Mean F1 of the classes with that many items, the negative one left out.

    A class that a resample neither holds nor is given says nothing, and is left out of its mean.
    """
    figures = _class_f1(of)[of.counted & (of.support >= min_support)]
    return float(np.nanmean(figures)) if not np.isnan(figures).all() else 0.0


def macro_f1_frequent(of: Outcomes) -> float:
    """Mean F1 of the classes with at least 20 items."""
    return macro_f1(of, min_support=20)


def any_label_f1(of: Outcomes) -> float:
    """F1 of whether an item has any label but the negative one."""
    true, given = of.labels[:, of.counted].any(1), of.given[:, of.counted].any(1)
    return _f1((true & given).sum(), true.sum(), given.sum())


def rank_error(of: Outcomes) -> float:
    """Mean number of ranks between the given class and the true one; 0 is best."""
    return float(np.abs(of.labels.argmax(1) - of.given.argmax(1)).mean())


def class_log_loss(of: Outcomes) -> float:
    """Mean negative log-probability of the items' classes, in nats."""
    true = np.clip((of.labels * of.probabilities).sum(1), 1e-7, None)
    return float(-np.log(true).mean())


def label_log_loss(of: Outcomes) -> float:
    """Mean over items and labels of the binary negative log-likelihood, in nats."""
    found = np.clip(of.probabilities, 1e-7, 1 - 1e-7)
    losses = of.labels * np.log(found) + (1 - of.labels) * np.log(1 - found)
    return float(-losses.mean())


def mean_absolute_error(of: Outcomes) -> float:
    """Mean distance of the value from the true one."""
    return float(np.abs(of.labels - of.probabilities).mean())


def root_mean_squared_error(of: Outcomes) -> float:
    """Root of the mean squared distance of the value from the true one."""
    return float(np.sqrt(np.square(of.labels - of.probabilities).mean()))


def r2(of: Outcomes) -> float:
    """Share of the values' variance that is explained; 0 is as good as their mean."""
    spread = np.square(of.labels - of.labels.mean()).sum()
    return float(1.0 - np.square(of.labels - of.probabilities).sum() / max(spread, 1e-12))


_SINGLE = {
    "macro_f1": macro_f1,
    "macro_f1_frequent": macro_f1_frequent,
    "micro_f1": micro_f1,
    "accuracy": accuracy,
    "log_loss": class_log_loss,
}
HEAD_METRICS: Mapping[str, Mapping[str, OutcomeMetric]] = {
    "single_label": _SINGLE,
    "multi_label": {
        "macro_f1": macro_f1,
        "macro_f1_frequent": macro_f1_frequent,
        "micro_f1": micro_f1,
        "any_label_f1": any_label_f1,
        "accuracy": accuracy,
        "log_loss": label_log_loss,
    },
    "ordinal": {"mean_rank_error": rank_error, **_SINGLE},
    "pair": {"micro_f1": micro_f1, "any_label_f1": any_label_f1, "macro_f1": macro_f1,
             "log_loss": class_log_loss},
    "span": {"span_f1": micro_f1, "macro_f1": macro_f1},
    "regression": {
        "rmse": root_mean_squared_error,
        "mae": mean_absolute_error,
        "r2": r2,
    },
}  # fmt: skip
LOWER_IS_BETTER = frozenset({"log_loss", "mean_rank_error", "rmse", "mae", "calibration_error"})


def outcome_interval(
    metric: OutcomeMetric, of: Outcomes, *, num_resamples: int = 200, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval of a metric when whole groups are resampled."""
    draw = np.random.default_rng(seed)
    members = _members(of.groups, len(of.groups))
    values = [
        metric(of.take(np.concatenate([members[i] for i in chosen])))
        for chosen in draw.integers(0, len(members), (num_resamples, len(members)))
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def class_figures(of: Outcomes) -> list[dict[str, Any]]:
    """Support, precision, recall and F1 of each class, in order; None where nothing was divided."""
    hits, true, given = ((of.labels * of.given).sum(0), of.labels.sum(0), of.given.sum(0))
    return [
        {
            "label": name,
            "support": int(true[k]),
            "precision": float(hits[k] / given[k]) if given[k] else None,
            "recall": float(hits[k] / true[k]) if true[k] else None,
            "f1": _f1(hits[k], true[k], given[k]) if true[k] + given[k] else None,
        }
        for k, name in enumerate(of.classes)
    ]


def _class_f1(of: Outcomes) -> Array:
    hits, total = (of.labels * of.given).sum(0), of.labels.sum(0) + of.given.sum(0)
    return np.where(total > 0, 2 * hits / np.maximum(total, 1), np.nan)


def _f1(hits: float, true: float, given: float) -> float:
    return float(2 * hits / (true + given)) if true + given else 0.0


def _members(groups: NDArray[np.int64] | None, num_rows: int) -> list[NDArray[np.int64]]:
    if groups is None:
        return [np.array([i]) for i in range(num_rows)]
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
