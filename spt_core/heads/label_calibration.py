"""Calibration of text logits [N, K]: scale and shift [K], fitted on rows that trained nothing.

Softmax heads get one temperature (Guo et al., "On Calibration of Modern Neural Networks", ICML
2017); heads whose classes stand for themselves one scale, and a shift per class (Platt, 1999) that
a weak prior holds near zero, so that few positives do not move it. A softmax whose classes were
weighted in training gets such shifts too, near what takes the weights back: minus their logarithm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax

from spt_core.task import Head

Floats = NDArray[np.float64]
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
    rows = targets.sum(1) > 0 if head in ("single_label", "pair", "span") else slice(None)
    logits, targets = logits[rows], targets[rows]
    if not len(logits):
        return np.ones(size), start
    if head in ("multi_label", "ordinal"):
        return _labelwise(logits, targets, with_shift=head == "multi_label")
    if class_weights is not None:
        return _classwise(logits, targets, start)
    return np.full(size, _temperature(logits, targets)), np.zeros(size)


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
