"""Whether quantiles of losses held: exceedances counted, and tested to be so many and far apart.

Value at risk at a level is that quantile of the loss; a loss beyond it is an exceedance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from spt_core.errors import InputError
from spt_core.heads.forecasts import LEVELS, by_step
from spt_core.heads.outcomes import Array, Outcomes

TAIL = (0.95, 0.99)  # the levels that the tail is drawn through
ZONE_DAYS, ZONE_LEVEL = 250, 0.99
YELLOW_FROM, RED_FROM = 5, 10  # exceedances at 99 % in 250 days
Hits = NDArray[np.bool_]


def value_at_risk(step: Mapping[float, float], level: float) -> float:
    """The loss that is not exceeded with a probability from 95 % on, by a step's quantiles.

    Between and beyond the 95 and 99 % quantiles the tail is exponential, the generalized Pareto
    distribution of shape 0 (McNeil, Frey and Embrechts, "Quantitative Risk Management", 2015, 5.2).
    """
    if not TAIL[0] <= level < 1.0:
        raise InputError(f"a level must be from {TAIL[0]:g} to below 1, however: it is {level:g}")
    return step[TAIL[0]] + _scale(step) * math.log((1.0 - TAIL[0]) / (1.0 - level))


def expected_shortfall(step: Mapping[float, float], level: float) -> float:
    """The mean of losses beyond the value at risk: that, and the scale of the exponential tail.

    It falls short where the tail is heavier than exponential.
    """
    return value_at_risk(step, level) + _scale(step)


def _scale(step: Mapping[float, float]) -> float:
    low, high = (step[level] for level in TAIL)
    return max(high - low, 0.0) / math.log((1.0 - TAIL[0]) / (1.0 - TAIL[1]))


def kupiec(hits: Hits, share: float) -> float:
    """The p-value of as many exceedances where each comes with a probability of `share`.

    Kupiec, "Techniques for Verifying the Accuracy of Risk Measurement Models", Journal of
    Derivatives 1995: proportion of failures, a likelihood ratio with one degree of freedom.
    """
    return _p_value(_coverage_ratio(hits, share), 1)


def christoffersen(
    hits: Hits, share: float, follows: NDArray[np.int64] | None = None
) -> tuple[float, float]:
    """The p-values of exceedances that come apart from each other, and of that and their number.

    Christoffersen, "Evaluating Interval Forecasts", International Economic Review 1998:
    independence against a first-order Markov chain (one degree of freedom), and conditional
    coverage (two). `follows` [N] are numbers of the series that each day is of: the first day of a
    series follows none.
    """
    pairs = slice(None) if follows is None else np.flatnonzero(np.diff(follows) == 0)
    before, after = hits[:-1][pairs], hits[1:][pairs]
    counts = np.zeros((2, 2))
    np.add.at(counts, (before.astype(int), after.astype(int)), 1)
    chain = sum(_log_likelihood(row[0], row[1]) for row in counts)
    alone = _log_likelihood(counts[:, 0].sum(), counts[:, 1].sum())
    apart = max(2.0 * (chain - alone), 0.0)
    return _p_value(apart, 1), _p_value(apart + _coverage_ratio(hits, share), 2)


def backtest(
    of: Outcomes, levels: Sequence[float], series: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """What was exceeded at each level on the first step of forecasts in order of time.

    `series` [N] numbers what each row is of, rows of one in a row. `shortfall_ratio` is the mean
    loss on days of exceedances over the expected shortfall that was told for them: above 1 losses
    were worse. `zone` is that of Basel's traffic light, of the last 250 days of each series at
    99 % (Basel Committee, "Supervisory framework for the use of backtesting", 1996): that of the
    worst series, "" where no series has as many days.
    """
    return [_at_level(of, level, series) for level in levels]


def _at_level(of: Outcomes, level: float, series: NDArray[np.int64]) -> dict[str, Any]:
    losses, quantiles = of.labels[:, 0], by_step(of)[:, 0]
    steps = [dict(zip(LEVELS, row, strict=True)) for row in quantiles.tolist()]
    at_risk = np.array([value_at_risk(step, level) for step in steps])
    shortfall = np.array([expected_shortfall(step, level) for step in steps])
    hits, share = losses > at_risk, 1.0 - level
    apart, conditional = christoffersen(hits, share, series)
    return {
        "level": level,
        "num_days": len(hits),
        "exceedances": int(hits.sum()),
        "expected": len(hits) * share,
        "kupiec_p": kupiec(hits, share),
        "independence_p": apart,
        "conditional_coverage_p": conditional,
        "mean_value_at_risk": float(at_risk.mean()),
        "shortfall_ratio": float(losses[hits].mean() / shortfall[hits].mean())
        if hits.any() and shortfall[hits].mean() > 0
        else None,
        "zone": _zone(hits, series) if level == ZONE_LEVEL else "",
    }


def _zone(hits: Hits, series: NDArray[np.int64]) -> str:
    of_series = [hits[series == number] for number in np.unique(series)]
    counts = [int(own[-ZONE_DAYS:].sum()) for own in of_series if len(own) >= ZONE_DAYS]
    if not counts:
        return ""
    worst = max(counts)
    return "red" if worst >= RED_FROM else "yellow" if worst >= YELLOW_FROM else "green"


def _coverage_ratio(hits: Hits, share: float) -> float:
    num_hits = float(hits.sum())
    others = len(hits) - num_hits
    expected = float(xlogy(others, 1.0 - share) + xlogy(num_hits, share))
    return max(2.0 * (_log_likelihood(others, num_hits) - expected), 0.0)


def _log_likelihood(others: float, num_hits: float) -> float:
    """Of hits that come with the share that they have."""
    total = max(others + num_hits, 1.0)
    return float(xlogy(others, others / total) + xlogy(num_hits, num_hits / total))


def _p_value(ratio: float, degrees: int) -> float:
    """The chance of a larger ratio by the chi-squared distribution of one or two degrees."""
    return math.exp(-ratio / 2.0) if degrees == 2 else math.erfc(math.sqrt(ratio / 2.0))


def series_of(names: Sequence[Any] | None, num_rows: int) -> NDArray[np.int64]:
    """A number [N] for each row's series; one for all where no column says."""
    if names is None:
        return np.zeros(num_rows, np.int64)
    return np.unique(np.array([str(name) for name in names]), return_inverse=True)[1]


def in_order(series: NDArray[np.int64], times: Array) -> NDArray[np.int64]:
    """The rows [N] by series, then by time."""
    return np.lexsort((times, series))
