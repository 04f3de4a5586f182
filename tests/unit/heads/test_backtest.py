"""Exceedances of value at risk: their number, their distance from each other, their size."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, chi2, norm

from spt_core.benchmark.backtests import backtest_facts
from spt_core.errors import InputError
from spt_core.heads import HEADS
from spt_core.heads.backtest import (
    backtest,
    by_day,
    christoffersen,
    combined,
    coverage,
    expected_shortfall,
    kupiec,
    value_at_risk,
)
from spt_core.heads.forecasts import LEVELS
from spt_core.task import find

TASK = find("financial_services/market_risk")


def hits(num_days, places):
    flags = np.zeros(num_days, bool)
    flags[list(places)] = True
    return flags


def exponential(num_days, seed, scale=1.0):
    """Losses of an exponential distribution, and the quantiles of one of scale 1 for them."""
    losses = np.random.default_rng(seed).exponential(scale, (num_days, 1))
    quantiles = np.tile(-np.log(1 - np.array(LEVELS)), (num_days, 1))
    return HEADS["forecasts"].fitted(TASK, (), losses, quantiles)


# Kupiec (1995), table 1 of his paper and every textbook after it: at 5 % of 255 days a test of 5 %
# rejects fewer than 7 and more than 20 exceedances, at 1 % more than 6.
@pytest.mark.parametrize(
    ("share", "count", "is_rejected"),
    [
        (0.05, 6, True),
        (0.05, 7, False),
        (0.05, 20, False),
        (0.05, 21, True),
        (0.01, 0, True),
        (0.01, 1, False),
        (0.01, 6, False),
        (0.01, 7, True),
    ],
)
def test_kupiec_s_test_rejects_what_his_table_says(share, count, is_rejected):
    assert (kupiec(hits(255, range(count)), share) < 0.05) is is_rejected


def test_the_ratio_of_no_exceedance_is_that_of_the_formula():
    ratio = -2 * 100 * np.log(0.99)

    assert kupiec(hits(100, ()), 0.01) == pytest.approx(chi2.sf(ratio, 1))


def test_exceedances_that_come_together_are_told_from_those_that_come_apart():
    apart, together = hits(500, range(0, 500, 20)), hits(500, range(100, 125))
    assert kupiec(apart, 0.05) == kupiec(together, 0.05)
    assert christoffersen(apart, 0.05)[0] > 0.05
    assert christoffersen(together, 0.05)[0] < 1e-6
    assert christoffersen(together, 0.05)[1] < 1e-6


def test_independence_is_that_of_the_markov_chain():
    flags = np.array([0, 0, 1, 1, 0, 0, 0, 1, 0, 0], bool)
    likelihood = 4 * np.log(4 / 6) + 2 * np.log(2 / 6) + 2 * np.log(2 / 3) + np.log(1 / 3)
    alone = 6 * np.log(6 / 9) + 3 * np.log(3 / 9)

    ratio = max(2 * (likelihood - alone), 0.0)
    assert christoffersen(flags, 0.1)[0] == pytest.approx(chi2.sf(ratio, 1))


def covered(each, share):
    """Of hits [S, T] of series that share their days."""
    each = np.asarray(each)
    series, days = np.indices(each.shape)
    return coverage(each.ravel(), share, series.ravel(), days.ravel())


def test_each_series_is_tested_by_itself_and_counted_where_it_rejects():
    quiet, loud = hits(250, (50, 200)), hits(250, range(0, 120, 10))
    of = covered([quiet, loud], 0.01)
    assert (of["num_series"], of["num_rejecting"], of["num_judged"]) == (2, 1, 2)
    assert of["kupiec_p"] < 1e-3
    # At 1 % of 250 days none and seven or more are rejected: 0.081 + 0.014 of right models.
    by_chance = binom.cdf(0, 250, 0.01) + binom.sf(6, 250, 0.01)
    assert of["expected_rejecting"] == pytest.approx(2 * by_chance)
    assert covered([loud], 0.01)["kupiec_p"] == kupiec(loud, 0.01)
    assert covered([loud], 0.01)["independence_p"] == christoffersen(loud, 0.01)[0]


# Wilson (2019), table 1: harmonic means that are significant at 5 %.
@pytest.mark.parametrize(("size", "mean"), [(10, 0.040), (100, 0.036), (1000, 0.034)])
def test_a_harmonic_mean_of_p_values_is_as_significant_as_its_table_says(size, mean):
    assert combined([mean] * size) == pytest.approx(0.05, abs=0.001)


def test_of_p_values_one_tiny_one_counts_as_bonferroni_s_and_one_alone_as_itself():
    assert combined([1e-7, *[0.9] * 99]) == pytest.approx(1e-5, rel=0.01)
    assert combined([0.3]) == 0.3
    assert combined([0.0, 0.5]) == pytest.approx(0.0, abs=1e-9)


def test_a_bet_on_days_is_a_mixture_of_likelihood_ratios():
    """Of one series with a hit on the second of two days, by hand."""
    others = 0.25 * np.array([0.25, 0.5, 2.0])
    wealth = np.mean((1 - others) / 0.75 * others / 0.25)
    first = np.mean((1 - others) / 0.75)
    expected = 1 / max(wealth, first)
    assert by_day(np.array([False, True]), 0.25, np.arange(2)) == pytest.approx(min(expected, 1))


def spread(num_series, num_days, num_hits):
    """Hits [S, T] of which series have some few, on other days each, and none after another."""
    draw = np.random.default_rng(0)
    places = [2 * draw.permutation(num_days // 2)[:num_hits] for _ in range(num_series)]
    return [hits(num_days, own) for own in places]


@pytest.mark.parametrize(
    ("num_series", "num_days", "num_hits"), [(20, 90, 3), (100, 90, 4), (200, 250, 10)]
)
def test_series_that_all_have_too_many_exceedances_are_refused(num_series, num_days, num_hits):
    of = covered(spread(num_series, num_days, num_hits), 0.01)
    assert of["kupiec_p"] < 1e-6


def test_series_that_move_as_one_say_about_what_one_says():
    moving = [hits(90, range(0, 80, 20))] * 100
    one = kupiec(moving[0], 0.01)
    assert one == pytest.approx(0.0156, abs=1e-4)
    assert one < covered(moving, 0.01)["kupiec_p"] < 0.05
    few = [hits(90, (0, 30, 60))] * 20
    assert covered(few, 0.01)["kupiec_p"] > kupiec(few[0], 0.01) > 0.05


def test_independence_is_judged_of_series_in_which_one_exceedance_can_follow_another():
    single, run = hits(600, (300,)), hits(600, range(300, 310))
    assert covered([single, single], 0.01)["independence_p"] is None
    of = covered([single, run], 0.01)
    assert of["num_judged"] == 1
    assert of["independence_p"] == christoffersen(run, 0.01)[0] < 1e-15


@pytest.mark.parametrize("share", [0.05, 0.01])
@pytest.mark.parametrize("correlation", [0.0, 0.7, 1.0])
def test_a_right_model_is_rejected_in_about_5_percent_however_series_move(correlation, share):
    draw, num_series, num_days = np.random.default_rng(0), 20, 250
    refused, by_themselves = [], []
    for _ in range(150):
        own = draw.standard_normal((num_series, num_days))
        common = draw.standard_normal(num_days)
        moved = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own
        of = covered(moved > norm.ppf(1 - share), share)
        apart = of["independence_p"]
        refused.append((of["kupiec_p"] < 0.05, apart is not None and apart < 0.05))
        by_themselves.append(of["num_rejecting"])
    assert np.mean(refused, 0).max() <= 0.07
    error = np.std(by_themselves) / np.sqrt(len(by_themselves))
    assert abs(np.mean(by_themselves) - of["expected_rejecting"]) < 3 * error


def test_tails_are_those_of_an_exponential_distribution():
    step = dict(zip(LEVELS, (-np.log(1 - np.array(LEVELS))).tolist(), strict=True))
    for level in (0.95, 0.975, 0.99, 0.995):
        assert value_at_risk(step, level) == pytest.approx(-np.log(1 - level))
        assert expected_shortfall(step, level) == pytest.approx(1 - np.log(1 - level))
    with pytest.raises(InputError, match="from 0.95 to below 1"):
        value_at_risk(step, 0.9)


def test_a_model_that_knows_the_losses_passes_and_one_that_halves_them_does_not():
    series, days = np.zeros(4000, np.int64), np.arange(4000)
    for row in backtest(exponential(4000, 0), (0.95, 0.99), series, days):
        assert row["conditional_coverage_p"] > 0.05
        assert row["shortfall_ratio"] == pytest.approx(1.0, abs=0.15)
        assert row["expected"] == pytest.approx(4000 * (1 - row["level"]))
    (_, bad) = backtest(exponential(4000, 0, scale=2.0), (0.95, 0.99), series, days)
    assert bad["kupiec_p"] < 1e-6
    assert bad["shortfall_ratio"] > 1.2
    assert bad["zone"] == "red"


def test_facts_are_of_days_in_order_whatever_the_order_of_the_table():
    table = TASK.sample(1200, 0)
    of = exponential(1200, 1)
    shuffled = np.random.default_rng(0).permutation(1200)
    both = [
        backtest_facts({"model": some}, rows, TASK, "session", "instrument")
        for some, rows in ((of, table), (of.take(shuffled), table.take(shuffled)))
    ]
    assert both[0] == both[1]
    assert [row["level"] for row in both[0]["model"]] == [0.95, 0.99]


def test_a_task_that_asks_for_none_has_no_backtest():
    task = find("manufacturing/supply_chain")
    assert backtest_facts({}, task.sample(90, 0), task, "month", "part") == {}
