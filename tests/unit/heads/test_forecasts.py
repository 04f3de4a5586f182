"""Forecasts: quantiles that hold, and what they cost where they do not."""

import json

import numpy as np
import pyarrow as pa
import pytest

from spt_core.errors import InputError
from spt_core.heads.base import Truth
from spt_core.heads.forecasts import LEVELS, MEASURED, ForecastHead
from spt_core.policy import QuantilePolicy, policy_from_json
from tests.tiny_models import series_task

HEAD, TASK = ForecastHead(), series_task("forecasts")
USUAL = HEAD.default_policy(TASK, ())


def decided(true, quantiles, policy=USUAL):
    labels = [json.dumps(row) for row in np.asarray(true, float).tolist()]
    truth = Truth(pa.table({"label": labels}), "label", np.arange(len(labels)))
    return HEAD.decided(TASK, (), truth, np.asarray(quantiles, float), policy)


def poisson(num_rows, mean, seed=0):
    draw = np.random.default_rng(seed)
    quantiles = np.quantile(draw.poisson(mean, 50_000), LEVELS)
    return draw.poisson(mean, (num_rows, 3)), np.broadcast_to(quantiles, (num_rows, 3, len(LEVELS)))


def test_the_loss_of_a_forecast_of_nothing_is_the_mean_level_times_demand():
    of = decided([[2.0, 0.0]], np.zeros((1, 2, len(LEVELS))))
    assert HEAD.metrics["quantile_loss"](of) == pytest.approx(np.mean(MEASURED) * 1.0)
    assert HEAD.metrics["scaled_quantile_loss"](of) == pytest.approx(np.mean(MEASURED))


def test_true_quantiles_cost_less_than_higher_and_lower_ones():
    true, quantiles = poisson(2000, 5.0)
    loss = HEAD.metrics["scaled_quantile_loss"]
    right = loss(decided(true, quantiles))
    assert right < loss(decided(true, quantiles + 2)) < loss(decided(true, quantiles + 6))
    assert right < loss(decided(true, quantiles - 2))


def test_quantiles_that_hold_stay_and_those_that_do_not_are_moved_until_they_do():
    true, quantiles = poisson(2000, 5.0)
    low = quantiles - 3.0
    policy = HEAD.policy(TASK, decided(true, low))
    assert policy.shifts[LEVELS.index(0.95)] >= 2.0
    other, same = poisson(2000, 5.0, seed=1)
    of = decided(other, same - 3.0, policy)
    assert HEAD.metrics["service_shortfall"](of) == pytest.approx(0.0, abs=0.02)
    high = HEAD.policy(TASK, decided(true, quantiles + 5)).shifts
    assert all((shift == 0.0) == (level >= 0.5) for level, shift in zip(LEVELS, high, strict=True))


def test_where_half_of_the_steps_are_nothing_the_lower_quantiles_reach_nothing():
    draw = np.random.default_rng(0)
    true = np.where(draw.random((600, 1)) < 0.5, 0.0, draw.gamma(2.0, 1.0, (600, 1)))
    levels = 0.05 + np.quantile(true, LEVELS)  # a network's lowest quantile is above 0
    raw = np.broadcast_to(levels, (600, 1, len(LEVELS)))
    covered = HEAD.metrics["coverage_90pct"]
    assert covered(decided(true[300:], raw[300:])) < 0.5
    policy = HEAD.policy(TASK, decided(true[:300], raw[:300]))
    assert covered(decided(true[300:], raw[300:], policy)) >= 0.9


def test_moved_quantiles_never_cross_nor_fall_below_nothing():
    policy = QuantilePolicy(levels=LEVELS, shifts=(5.0, *(-9.0,) * (len(LEVELS) - 1)))
    moved = policy.moved(np.arange(len(LEVELS), dtype=float))
    assert (np.diff(moved) >= 0).all()
    assert moved.min() >= 0


def test_a_policy_survives_json():
    policy = QuantilePolicy(levels=LEVELS, shifts=(0.5,) * len(LEVELS))
    assert policy_from_json(json.loads(json.dumps(policy.to_json()))) == policy


def test_levels_that_do_not_rise_are_refused():
    with pytest.raises(InputError, match="levels that rise"):
        QuantilePolicy(levels=(0.5, 0.1), shifts=(0.0, 0.0))


def test_too_few_windows_move_nothing():
    true, quantiles = poisson(5, 5.0)
    with pytest.raises(InputError, match="30 windows that trained nothing, however: there are 5"):
        HEAD.policy(TASK, decided(true, quantiles))
