"""Calibration of logits [N, K]: scale and shift [K], fitted on rows that trained nothing.

Cross-fitting chooses among no calibration, one temperature (Guo et al., "On Calibration of Modern
Neural Networks", ICML 2017) and a shift per class beside it (Platt, 1999), that a weak prior holds
near zero, so that few positives do not move it. A softmax whose classes were weighted in training
has its shifts near what takes the weights back: minus their logarithm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax

from spt_core.heads.cross_fitting import Rows, least_cross_fitted
from spt_core.task import Head

Floats = NDArray[np.float64]
Fit = Callable[[Floats, Floats], tuple[Floats, Floats]]  # of logits and targets [N, K]
_PRIOR = 4.0  # pseudo-observations that say "no shift"


def fit_label_calibration(
    head: Head, logits: Floats, targets: Floats, class_weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """(scale, shift) [K] of least log loss on logits and targets [N, K].

    `class_weights` [K] are those of a softmax head's classes in training; None if it had none.
    """
    size = logits.shape[1]
    start = np.zeros(size) if class_weights is None else -np.log(class_weights)
    if head == "regression":  # there is nothing to calibrate: values keep their standard units
        return np.ones(size), np.zeros(size)
    is_softmax = head in ("single_label", "pair", "span")
    labelled = targets.sum(1) > 0 if is_softmax else slice(None)
    logits, targets = logits[labelled], targets[labelled]
    if not len(logits):
        return np.ones(size), start
    fits = _softmax_forms(start, class_weights is None) if is_softmax else _labelwise_forms(head)

    def fitting(fit: Fit) -> Callable[[Rows], tuple[Floats, Floats]]:
        return lambda rows: fit(logits[rows], targets[rows])

    def losses(calibration: tuple[Floats, Floats], rows: Rows) -> Floats:
        odds = logits[rows] * calibration[0] + calibration[1]
        if is_softmax:
            return -(targets[rows] * log_softmax(odds, axis=1)).sum(1)
        return (np.logaddexp(0.0, odds) - targets[rows] * odds).sum(1)

    best = least_cross_fitted([fitting(fit) for fit in fits], losses, len(logits))
    return best(np.arange(len(logits)))


def _softmax_forms(start: Floats, is_unweighted: bool) -> list[Fit]:
    """Nothing but the start, one temperature, and a shift for each class with it."""
    size = len(start)

    def none(*_: Floats) -> tuple[Floats, Floats]:
        return np.ones(size), start

    def temperature(logits: Floats, targets: Floats) -> tuple[Floats, Floats]:
        return np.full(size, _temperature(logits, targets)), np.zeros(size)

    def classwise(logits: Floats, targets: Floats) -> tuple[Floats, Floats]:
        return _classwise(logits, targets, start)

    # A temperature alone would leave the classes' weights in.
    return [none, temperature, classwise] if is_unweighted else [none, classwise]


def _labelwise_forms(head: Head) -> list[Fit]:
    """Nothing, one scale, and a shift for each label with it, which would break an order's rank."""

    def none(logits: Floats, _: Floats) -> tuple[Floats, Floats]:
        return np.ones(logits.shape[1]), np.zeros(logits.shape[1])

    def scale(logits: Floats, targets: Floats) -> tuple[Floats, Floats]:
        return _labelwise(logits, targets, with_shift=False)

    def shifted(logits: Floats, targets: Floats) -> tuple[Floats, Floats]:
        return _labelwise(logits, targets, with_shift=True)

    return [none, scale, shifted] if head == "multi_label" else [none, scale]


def _temperature(logits: Floats, targets: Floats) -> float:
    def loss(log_scale: float) -> float:
        spread = log_softmax(logits * np.exp(log_scale), axis=1)
        return float(-(targets * spread).sum()) + 0.5 * log_scale**2

    optimum: Any = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")  # has no type
    return float(np.exp(optimum.x))


def _classwise(logits: Floats, targets: Floats, start: Floats) -> tuple[Floats, Floats]:
    """One temperature, and a shift per class near `start` [K]."""

    def loss(point: Floats) -> tuple[float, Floats]:
        scale, shift = np.exp(point[0]), point[1:]
        spread = log_softmax(logits * scale + shift, axis=1)
        error = np.exp(spread) - targets
        slope = np.concatenate([[np.sum(error * logits) * scale], error.sum(0)])
        moved = np.concatenate([[point[0]], _PRIOR * (shift - start)])
        total = 0.5 * point[0] ** 2 + 0.5 * _PRIOR * np.sum((shift - start) ** 2)
        return float(total - np.sum(targets * spread)), slope + moved

    bounds = [(-3.0, 3.0), *[(None, None)] * len(start)]
    optimum = minimize(
        loss, np.concatenate([[0.0], start]), jac=True, method="L-BFGS-B", bounds=bounds
    )
    return np.full(len(start), np.exp(optimum.x[0])), optimum.x[1:]


def _labelwise(logits: Floats, targets: Floats, *, with_shift: bool) -> tuple[Floats, Floats]:
    size = logits.shape[1]

    def loss(point: Floats) -> tuple[float, Floats]:
        scale, shift = np.exp(point[0]), point[1:] if with_shift else np.zeros(size)
        odds = logits * scale + shift
        value = np.sum(np.logaddexp(0.0, odds) - targets * odds)
        error = expit(odds) - targets
        slope = np.concatenate([[np.sum(error * logits) * scale], error.sum(0)])
        prior = np.concatenate([[point[0]], _PRIOR * shift])
        total = value + 0.5 * point[0] ** 2 + 0.5 * _PRIOR * np.sum(shift**2)
        return float(total), (slope + prior)[: len(point)]

    start = np.zeros(1 + size if with_shift else 1)
    optimum = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-3, 3)] * len(start))
    shift = optimum.x[1:] if with_shift else np.zeros(size)
    return np.full(size, np.exp(optimum.x[0])), shift
