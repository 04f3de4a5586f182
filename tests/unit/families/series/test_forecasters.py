"""Methods for intermittent demand, against values worked out by hand or by their papers."""

import numpy as np
import pytest

from spt_core.families.series.forecasters import croston, quantiles_of, sba, ses, tsb, zero
from spt_core.heads.forecasts import LEVELS

REGULAR = np.tile([0.0, 0.0, 6.0], 8)[None]  # 6 every third step


def test_croston_says_the_size_over_the_gap():
    assert croston(REGULAR, 0.1) == pytest.approx([2.0])


def test_sba_takes_half_of_alpha_off():
    assert sba(REGULAR, 0.2) == pytest.approx(0.9 * croston(REGULAR, 0.2))


def test_tsb_forgets_a_part_that_nobody_asks_for_any_more_and_croston_does_not():
    ended = np.concatenate([REGULAR[0], np.zeros(40)])[None]
    assert tsb(ended, 0.1)[0] < 0.1 * tsb(REGULAR, 0.1)[0]
    assert croston(ended, 0.1)[0] > tsb(ended, 0.1)[0]


def test_exponential_smoothing_moves_by_alpha_towards_each_value():
    assert ses(np.array([[4.0, 4.0, 4.0, 14.0]]), 0.1) == pytest.approx([5.0])


def test_quantiles_are_those_of_counts_with_that_mean_and_spread():
    (quantiles,) = quantiles_of(np.array([4.0]), np.array([4.0]))
    counts = np.random.default_rng(0).poisson(4.0, 100_000)
    assert quantiles == pytest.approx(np.quantile(counts, LEVELS), abs=1.0)
    (wide,) = quantiles_of(np.array([4.0]), np.array([40.0]))
    assert wide[-1] > quantiles[-1]


def test_nothing_expected_is_nothing_at_every_level():
    assert not quantiles_of(zero(REGULAR, 0.1), np.array([3.0])).any()
