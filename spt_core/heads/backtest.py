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
from scipy.stats import binom, landau

from spt_core.errors import InputError
from spt_core.heads.forecasts import LEVELS, by_step
from spt_core.heads.outcomes import Array, Outcomes

TAIL = (0.95, 0.99)  # the levels that the tail is drawn through
ZONE_DAYS, ZONE_LEVEL = 250, 0.99
YELLOW_FROM, RED_FROM = 5, 10  # exceedances at 99 % in 250 days
REJECTED_BELOW = 0.05  # of p-values of a series by itself
MIN_HITS = 2  # exceedances of a series, below which none can follow another
ALTERNATIVES = 2.0 ** np.array((-2, -1, 1, 2, 3, 4, 5, 6))  # shares bet on, over the right one
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


def coverage(
    hits: Hits, share: float, series: NDArray[np.int64], days: NDArray[Any]
) -> dict[str, Any]:
    """The tests of each series by itself, and of all of them; rows [N] of a series are in order.

    `days` [N] say which rows are of one day. Of all series a p-value is their harmonic mean
    (`combined`); that of Kupiec's test is twice the smaller one of it and of `by_day`, which sees
    exceedances of many series that are too few in each. Pooled days would be taken for independent
    ones, and instruments of one market would reject a right model on half of all occasions.

    Independence is judged of the `num_judged` series with MIN_HITS exceedances, and None without
    one. `num_rejecting` counts the series that Kupiec's test rejects at 5 % by themselves,
    `expected_rejecting` how many it would of a right model on average, of exceedances that are
    binomial: where series move together they reject together or not at all.
    """
    each = [hits[series == number] for number in np.unique(series)]
    number = [kupiec(own, share) for own in each]
    apart, conditional = zip(*(christoffersen(own, share) for own in each), strict=True)
    judged = [p for p, own in zip(apart, each, strict=True) if own.sum() >= MIN_HITS]
    kupiec_p = combined(number)
    if len(each) > 1:
        kupiec_p = min(2.0 * min(kupiec_p, by_day(hits, share, days)), 1.0)
    return {
        "num_series": len(each),
        "num_judged": len(judged),
        "kupiec_p": kupiec_p,
        "independence_p": combined(judged) if judged else None,
        "conditional_coverage_p": combined(conditional),
        "num_rejecting": sum(p < REJECTED_BELOW for p in number),
        "expected_rejecting": sum(_rejected_by_chance(len(own), share) for own in each),
    }


def combined(of_series: Sequence[float]) -> float:
    """The p-value of all series: that of the harmonic mean of theirs.

    Wilson, "The harmonic mean p-value for combining dependent tests", PNAS 2019: the inverse of the
    mean of many p-values follows a Landau distribution, and hardly another one where they depend on
    each other. Equal p-values count as about one of them, which is right where series move as one;
    one tiny one counts as Bonferroni's. (Of equal ones Bonferroni's p-value is their number times
    too large, and many bad series would reject less than one.)
    """
    size = len(of_series)
    if size == 1:
        return of_series[0]
    inverse = float(np.mean(1.0 / np.maximum(of_series, np.finfo(float).tiny)))
    place = math.log(size) + 1.0 - np.euler_gamma + math.log(math.pi / 2.0)
    return float(landau.sf(inverse, loc=place, scale=math.pi / 2.0))


def by_day(hits: Hits, share: float, days: NDArray[Any]) -> float:
    """The p-value of the share of series that exceed on each day, however they move together.

    A bettor against the model stakes each day on the series' mean, and the greatest wealth is the
    inverse of a p-value by Ville's inequality, for any number of days: Waudby-Smith and Ramdas,
    "Estimating means of bounded random variables by betting", JRSS B 2024, 4. The stakes are those
    of likelihood ratios of `ALTERNATIVES`, an equal part of the wealth on each.
    """
    _, day = np.unique(days, return_inverse=True)
    shares = np.bincount(day, hits) / np.bincount(day)
    others = share * ALTERNATIVES[share * ALTERNATIVES < 1.0]
    stakes = (others - share) / (share * (1.0 - share))
    log_wealth = np.log1p(stakes[:, None] * (shares - share)).cumsum(1)
    return float(
        min(np.exp(-(np.logaddexp.reduce(log_wealth, 0) - math.log(len(others))).max()), 1.0)
    )


@functools.cache
def _rejected_by_chance(num_days: int, share: float) -> float:
    """How often Kupiec's test rejects a right model: not in 5 %, as exceedances are whole."""
    counts = np.arange(num_days + 1)
    p_values = [_p_value(_count_ratio(count, num_days, share), 1) for count in counts.tolist()]
    return float(binom.pmf(counts, num_days, share)[np.array(p_values) < REJECTED_BELOW].sum())


def backtest(
    of: Outcomes, levels: Sequence[float], series: NDArray[np.int64], days: NDArray[Any]
) -> list[dict[str, Any]]:
    """What was exceeded at each level on the first step of forecasts in order of time.

    `series` [N] numbers what each row is of, rows of one in a row, `days` [N] are their times;
    counts of days and exceedances are those of all series, the tests as `coverage` says.
    `shortfall_ratio` is the mean loss on days of exceedances over the expected shortfall that was
    told for them: above 1 losses were worse. `zone` is that of Basel's traffic light, of the last
    250 days of each series at 99 % (Basel Committee, "Supervisory framework for the use of
    backtesting", 1996): that of the worst series, "" where no series has as many days.
    """
    return [_at_level(of, level, series, days) for level in levels]


def _at_level(
    of: Outcomes, level: float, series: NDArray[np.int64], days: NDArray[Any]
) -> dict[str, Any]:
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
        **coverage(hits, share, series, days),
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
