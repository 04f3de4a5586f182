"""Probabilities that a number is at most so much, by its interval, and how good they are."""

import numpy as np
import pytest

from spt_core.heads.outcomes import outcomes
from spt_core.heads.within import limit_facts, probability_within

NUM_ROWS = 4000
LIMIT = 30.0


def of_spread(told, true=10.0):
    """Values of a normal error of `true`, with the 90 % interval of one of `told`."""
    draw = np.random.default_rng(0)
    values = draw.uniform(0.0, 100.0, NUM_ROWS)
    labels = values + true * draw.normal(size=NUM_ROWS)
    half = 1.6449 * told
    given = np.column_stack([values - half, values + half])
    return outcomes(("value",), labels[:, None], values[:, None], given)


def test_the_ends_of_an_interval_are_its_quantiles_and_the_value_its_median():
    value, low, high = (np.array([at]) for at in (30.0, 10.0, 70.0))
    told = [float(probability_within(value, low, high, 0.9, at)[0]) for at in (10.0, 30.0, 70.0)]
    assert told == pytest.approx([0.05, 0.5, 0.95])


def test_an_interval_that_is_right_gives_probabilities_that_hold():
    (facts,) = limit_facts(of_spread(10.0), 0.9, (LIMIT,))
    assert facts["limit"] == LIMIT
    assert facts["num_rows"] == NUM_ROWS
    assert facts["mean_told"] == pytest.approx(facts["share"], abs=0.01)
    assert facts["calibration_error"] < 0.02
    assert facts["brier"] < 0.4 * facts["brier_of_share"]


def test_an_interval_that_is_too_narrow_is_seen_in_both_figures():
    (right,), (narrow,) = (limit_facts(of_spread(told), 0.9, (LIMIT,)) for told in (10.0, 1.0))
    assert narrow["calibration_error"] > 2.0 * right["calibration_error"]
    assert narrow["brier"] > right["brier"]
    assert narrow["brier_of_share"] == right["brier_of_share"]


def test_each_limit_has_its_own_figures():
    facts = limit_facts(of_spread(10.0), 0.9, (-1000.0, 30.0, 60.0))
    assert [f["share"] for f in facts] == sorted(f["share"] for f in facts)
    assert facts[0]["brier"] == pytest.approx(0.0)
