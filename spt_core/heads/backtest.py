"""Whether quantiles of losses held: exceedances counted, and tested to be so many and far apart.

Value at risk at a level is that quantile of the loss; a loss beyond it is an exceedance.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy
from scipy.stats import binom

from spt_core.errors import InputError
from spt_core.heads.forecasts import LEVELS, by_step
from spt_core.heads.outcomes import Array, Outcomes

TAIL = (0.95, 0.99)  # the levels that the tail is drawn through
ZONE_DAYS, ZONE_LEVEL = 250, 0.99
YELLOW_FROM, RED_FROM = 5, 10  # exceedances at 99 % in 250 days
REJECTED_BELOW = 0.05  # of p-values of a series by itself
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


def christoffersen(hits: Hits, share: float) -> tuple[float, float]:
    """The p-values of exceedances that come apart from each other, and of that and their number.

    Christoffersen, "Evaluating Interval Forecasts", International Economic Review 1998:
    independence against a first-order Markov chain (one degree of freedom), and conditional
    coverage (two).
    """
    before, after = hits[:-1], hits[1:]
    counts = np.zeros((2, 2))
    np.add.at(counts, (before.astype(int), after.astype(int)), 1)
    chain = sum(_log_likelihood(row[0], row[1]) for row in counts)
    alone = _log_likelihood(counts[:, 0].sum(), counts[:, 1].sum())
    apart = max(2.0 * (chain - alone), 0.0)
    return _p_value(apart, 1), _p_value(apart + _coverage_ratio(hits, share), 2)


def coverage(hits: Hits, share: float, series: NDArray[np.int64]) -> dict[str, Any]:
    """The tests of each series by itself, and of all of them.

    Of all a p-value is the smallest of the series' times their number (Bonferroni; Holm's procedure
    rejects some series just where this does): it holds however the series move together. Pooled
    days would be taken for independent ones, and instruments of one market would reject a right
    model on half of all occasions. `num_rejecting` counts the series that Kupiec's test rejects at
    5 % by themselves, `expected_rejecting` how many it would of a right model on average, of
    exceedances that are binomial: where series move together they reject together or not at all.
    """
    each = [hits[series == number] for number in np.unique(series)]
    number = [kupiec(own, share) for own in each]
    apart, conditional = zip(*(christoffersen(own, share) for own in each), strict=True)
    return {
        "num_series": len(each),
        "kupiec_p": _smallest(number),
        "independence_p": _smallest(apart),
        "conditional_coverage_p": _smallest(conditional),
        "num_rejecting": sum(p < REJECTED_BELOW for p in number),
        "expected_rejecting": sum(_rejected_by_chance(len(own), share) for own in each),
    }


def _smallest(of_series: Sequence[float]) -> float:
    return min(len(of_series) * min(of_series), 1.0)


@functools.cache
def _rejected_by_chance(num_days: int, share: float) -> float:
    """How often Kupiec's test rejects a right model: not in 5 %, as exceedances are whole."""
    counts = np.arange(num_days + 1)
    p_values = [_p_value(_count_ratio(count, num_days, share), 1) for count in counts.tolist()]
    return float(binom.pmf(counts, num_days, share)[np.array(p_values) < REJECTED_BELOW].sum())


def backtest(
    of: Outcomes, levels: Sequence[float], series: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """What was exceeded at each level on the first step of forecasts in order of time.

    `series` [N] numbers what each row is of, rows of one in a row; days and exceedances are those
    of all series, the tests as `coverage` says. `shortfall_ratio` is the mean
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
    return {
        "level": level,
        "num_days": len(hits),
        "exceedances": int(hits.sum()),
        "expected": len(hits) * share,
        **coverage(hits, share, series),
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
    return _count_ratio(int(hits.sum()), len(hits), share)


def _count_ratio(num_hits: int, num_days: int, share: float) -> float:
    others = num_days - num_hits
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
