"""Quality figures: of decisions from labels and probabilities [B], of other items from Outcomes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spt_core.heads.outcomes import Outcomes

Array = NDArray[np.float64]
MAX_CONFUSED = 30  # classes of a table of confusions that somebody can read


def average_precision(labels: Array, probabilities: Array, weights: Array | None = None) -> float:
    """Area under the precision-recall curve, by steps (Davis and Goadrich, ICML 2006)."""
    from sklearn.metrics import average_precision_score  # replicas do without it, here and below

    return float(average_precision_score(labels, probabilities, sample_weight=weights))


def roc_auc(labels: Array, probabilities: Array, weights: Array | None = None) -> float:
    """Area under the receiver operating characteristic."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, probabilities, sample_weight=weights))


def recall_at_fpr(
    labels: Array, probabilities: Array, weights: Array | None = None, *, fpr: float = 0.01
) -> float:
    """Recall at the loosest threshold whose false-positive rate is at most `fpr`."""
    from sklearn.metrics import roc_curve

    false_positive, true_positive, _ = roc_curve(
        labels, probabilities, sample_weight=weights, drop_intermediate=False
    )
    return float(true_positive[np.searchsorted(false_positive, fpr, side="right") - 1])


def calibration_error(
    labels: Array, probabilities: Array, weights: Array | None = None, *, num_bins: int = 10
) -> float:
    """Expected calibration error over bins of equal count (Nixon et al., CVPR workshops 2019)."""
    mass = np.ones(len(labels)) if weights is None else weights
    order = np.argsort(probabilities, kind="stable")
    bins = np.array_split(order, num_bins)
    if weights is not None:  # of equal weight
        reached = np.cumsum(mass[order])
        cuts = np.searchsorted(reached, reached[-1] * np.arange(1, num_bins) / num_bins)
        bins = np.split(order, cuts)
    gaps = [
        abs(np.sum(mass[part] * (labels[part] - probabilities[part]))) for part in bins if len(part)
    ]
    return float(sum(gaps) / mass.sum())


def log_score(labels: Array, probabilities: Array, weights: Array | None = None) -> float:
    """Mean negative log-likelihood, in nats."""
    from sklearn.metrics import log_loss

    clipped = np.clip(probabilities, 1e-7, 1 - 1e-7)
    return float(log_loss(labels, clipped, sample_weight=weights, labels=[0, 1]))


def likelier_accuracy(labels: Array, probabilities: Array, weights: Array | None = None) -> float:
    """Share of the rows whose likelier answer, at a probability of one half, is the true one."""
    return float(np.average((probabilities >= 0.5) == (labels == 1), weights=weights))


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
    """Mean F1 of the classes with at least 20 items; NaN where there are none."""
    is_any = bool((of.counted & (of.support >= 20)).any())
    return macro_f1(of, min_support=20) if is_any else np.nan


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
    probabilities = np.clip(of.probabilities, 1e-7, 1 - 1e-7)
    losses = of.labels * np.log(probabilities) + (1 - of.labels) * np.log(1 - probabilities)
    return float(-losses.mean())


def mean_absolute_error(of: Outcomes) -> float:
    """Mean distance of the value from the true one."""
    return float(np.abs(of.labels - of.probabilities).mean())


def root_mean_squared_error(of: Outcomes) -> float:
    """Root of the mean squared distance of the value from the true one."""
    return float(np.sqrt(np.square(of.labels - of.probabilities).mean()))


def r2(of: Outcomes) -> float:
    """Share of the values' variance that is explained; 0 is as good as their mean.

    NaN where they do not vary.
    """
    spread = np.square(of.labels - of.labels.mean()).sum()
    rest = np.square(of.labels - of.probabilities).sum()
    return float(1.0 - rest / spread) if spread else np.nan


def interval_coverage(of: Outcomes) -> float:
    """Share of the true values that lie in their intervals."""
    return float(((of.given[:, :1] <= of.labels) & (of.labels <= of.given[:, 1:])).mean())


def interval_width(of: Outcomes) -> float:
    """Mean width of the intervals."""
    return float((of.given[:, 1] - of.given[:, 0]).mean())


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


def confusion(of: Outcomes) -> dict[str, Any]:
    """How many items of each class (rows) are given each class (columns).

    Empty where items may have several classes, or have more than MAX_CONFUSED.
    """
    is_single = len(of.classes) > 1 and max(of.labels.sum(1).max(), of.given.sum(1).max()) <= 1
    if not is_single or len(of.classes) > MAX_CONFUSED:
        return {}
    return {"classes": list(of.classes), "counts": (of.labels.T @ of.given).astype(int).tolist()}


def _class_f1(of: Outcomes) -> Array:
    hits, total = (of.labels * of.given).sum(0), of.labels.sum(0) + of.given.sum(0)
    return np.where(total > 0, 2 * hits / np.maximum(total, 1), np.nan)


def _f1(hits: float, true: float, given: float) -> float:
    return float(2 * hits / (true + given)) if true + given else 0.0
