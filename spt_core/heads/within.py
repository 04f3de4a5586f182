"""How probable it is that a number is at most so much, by its interval, and whether that held.

value, interval, coverage, limit -> probability -> Brier score and calibration on labelled rows
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from spt_core.heads.base import Floats
from spt_core.heads.metrics import calibration_error
from spt_core.heads.outcomes import Outcomes

LEAST_SPREAD = 1e-6


def probability_within(
    values: Floats, low: Floats, high: Floats, coverage: float, limit: float
) -> Floats:
    """The probability [N] that each number is at most `limit`, by its value and interval [N].

    The interval's ends are taken for the quantiles (1 - coverage) / 2 on either side, the value for
    the median; between and beyond them the distribution is that of a normal one of as much spread
    on each side. The interval holds on the average of rows, and nothing fits these probabilities:
    `limit_facts` says how good they are.
    """
    side = limit - values
    ends = np.where(side > 0.0, high, low)
    spread = np.maximum(np.abs(ends - values), LEAST_SPREAD) / ndtri((1.0 + coverage) / 2.0)
    return np.asarray(ndtr(side / spread), np.float64)


def limit_facts(of: Outcomes, coverage: float, limits: Sequence[float]) -> list[dict[str, Any]]:
    """How good those probabilities are on labelled rows, for each limit.

    `brier` is the mean squared error of the probability, `brier_of_share` that of telling every row
    the `share` that came; `calibration_error` the expected one over bins of equal count.
    """
    facts: list[dict[str, Any]] = []
    for limit in limits:
        came = (of.labels[:, 0] <= limit).astype(np.float64)
        bounds = of.given[:, 0], of.given[:, 1]
        probabilities = probability_within(of.probabilities[:, 0], *bounds, coverage, limit)
        share = float(came.mean())
        facts.append(
            {
                "limit": limit,
                "num_rows": len(came),
                "share": share,
                "mean_told": float(probabilities.mean()),
                "brier": float(np.mean((probabilities - came) ** 2)),
                "brier_of_share": share * (1.0 - share),
                "calibration_error": calibration_error(came, probabilities),
            }
        )
    return facts
