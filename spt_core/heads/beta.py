"""Beta calibration (Kull, Silva Filho and Flach, AISTATS 2017): smooth, monotone, three numbers.

calibrated log-odds = a * log(p) - b * log(1 - p) + c with a, b > 0 and p = sigmoid(logit), which
is a * z + (b - a) * softplus(z) + c in terms of the logit z.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

IDENTITY = (1.0, 1.0, 0.0)


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
    """(a, b, c) of least log loss on held-out rows, held near the identity by a weak prior.

    Weights [B] are how many rows each stands for; the prior is held against as many rows as there
    are, so they are brought to a mean of 1.

    The prior (one pseudo-observation's weight on log a and log b) keeps few positives from bending
    the curve.
    """

    mass = np.ones(len(labels)) if weights is None else weights / weights.mean()

    def loss(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        a, b, c = float(np.exp(point[0])), float(np.exp(point[1])), float(point[2])
        odds = apply_calibration(logits, (a, b, c))
        value = float(np.sum(mass * (np.logaddexp(0.0, odds) - labels * odds)))
        error = mass * (expit(odds) - labels)
        softplus = np.logaddexp(0.0, logits)
        slope = np.array([a * np.sum(error * (logits - softplus)), b * np.sum(error * softplus), 0])
        slope[2] = error.sum()
        prior = np.array([point[0], point[1], 0.0])
        return value + float(prior @ prior) / 2, slope + prior

    optimum = minimize(
        loss, np.zeros(3), jac=True, method="L-BFGS-B", bounds=[(-3, 3)] * 2 + [(-9, 9)]
    )
    a, b = np.exp(optimum.x[:2])
    return float(a), float(b), float(optimum.x[2])
