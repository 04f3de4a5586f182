"""Beta calibration (Kull, Silva Filho and Flach, AISTATS 2017): smooth, monotone, three numbers.

calibrated log-odds = a * log(p) - b * log(1 - p) + c with a, b > 0 and p = sigmoid(logit), which
is a * z + (b - a) * softplus(z) + c in terms of the logit z.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from spt_core.heads.cross_fitting import Rows, least_cross_fitted

IDENTITY = (1.0, 1.0, 0.0)
# What is free of (log a, log b, c), a row each.
FORMS = (
    np.empty((0, 3)),
    np.array([[1.0, 1.0, 0.0]]),
    np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
    np.eye(3),
)


def apply_calibration(
    logits: NDArray[np.float64], parameters: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Calibrated log-odds [B] of logits [B]."""
    a, b, c = parameters
    return a * logits + (b - a) * np.logaddexp(0.0, logits) + c


def fit_calibration(
    logits: NDArray[np.float64],
    labels: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
) -> tuple[float, float, float]:
    """(a, b, c) of the form that cross-fitting chooses, fitted on all rows.

    Forms are none at all, one temperature (a = b, c = 0), Platt's two numbers (a = b), and all
    three. Weights [B] are how many rows each stands for; the prior is held against as many rows as
    there are, so they are brought to a mean of 1.
    """
    mass = np.ones(len(labels)) if weights is None else weights / weights.mean()

    def fitting(form: NDArray[np.float64]) -> Callable[[Rows], tuple[float, float, float]]:
        return lambda rows: _fitted(form, logits[rows], labels[rows], mass[rows])

    def losses(parameters: tuple[float, float, float], rows: Rows) -> NDArray[np.float64]:
        odds = apply_calibration(logits[rows], parameters)
        return mass[rows] * (np.logaddexp(0.0, odds) - labels[rows] * odds)

    fit = least_cross_fitted([fitting(form) for form in FORMS], losses, len(labels))
    return fit(np.arange(len(labels)))


def _fitted(
    form: NDArray[np.float64],
    logits: NDArray[np.float64],
    labels: NDArray[np.float64],
    mass: NDArray[np.float64],
) -> tuple[float, float, float]:
    """(a, b, c) of least log loss on held-out rows, held near the identity by a weak prior.

    The prior (one pseudo-observation's weight on log a and log b) keeps few positives from bending
    the curve.
    """
    if not len(form):
        return IDENTITY
    softplus = np.logaddexp(0.0, logits)

    def loss(free: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        point = free @ form
        a, b, c = float(np.exp(point[0])), float(np.exp(point[1])), float(point[2])
        odds = apply_calibration(logits, (a, b, c))
        value = float(np.sum(mass * (np.logaddexp(0.0, odds) - labels * odds)))
        error = mass * (expit(odds) - labels)
        slope = np.array([a * np.sum(error * (logits - softplus)), b * np.sum(error * softplus), 0])
        slope[2] = error.sum()
        prior = np.array([point[0], point[1], 0.0])
        return value + float(prior @ prior) / 2, form @ (slope + prior)

    bounds = [(-9, 9) if row[2] else (-3, 3) for row in form]
    optimum = minimize(loss, np.zeros(len(form)), jac=True, method="L-BFGS-B", bounds=bounds)
    point = optimum.x @ form
    a, b = np.exp(point[:2])
    return float(a), float(b), float(point[2])
