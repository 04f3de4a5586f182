"""The sum of several steps: what it holds where they are independent, and where not."""

import json

import numpy as np
import pyarrow as pa
import pytest

from spt_core.heads.base import Truth
from spt_core.heads.forecasts import LEVELS, ForecastHead
from spt_core.heads.totals import total_of, totals_held
from tests.tiny_models import series_task

NUM_DRAWS = 100_000
LEVELS_ASKED = (0.5, 0.8, 0.9, 0.95, 0.99)
TOLERANCE = 0.005  # three standard errors of the simulation at the median


def bernoulli(probability, size=1.0):
    return lambda draw: size * (draw.random(NUM_DRAWS) < probability)


def intermittent(probability, mean):
    return lambda draw: np.where(
        draw.random(NUM_DRAWS) < probability, 1 + draw.poisson(mean, NUM_DRAWS), 0
    )


DEMANDS = {
    **{f"Bernoulli {p}": bernoulli(p) for p in (0.02, 0.04, 0.1, 0.3)},
    "packs of ten": bernoulli(0.06, 10.0),
    **{f"sizes, one in {1 / p:.0f}": intermittent(p, 2.0) for p in (0.04, 0.1, 0.3)},
    **{f"Poisson {m}": lambda draw, m=m: draw.poisson(m, NUM_DRAWS) for m in (0.05, 0.5, 5.0)},
    **{
        f"negative binomial {n}": lambda draw, n=n: draw.negative_binomial(n, 0.3, NUM_DRAWS)
        for n in (0.1, 0.5, 2.0)
    },
    "gamma": lambda draw: draw.gamma(2.0, 3.3, NUM_DRAWS),
}


def step_of(values):
    quantiles = np.quantile(values, LEVELS, method="inverted_cdf").tolist()
    return dict(zip(LEVELS, quantiles, strict=True))


@pytest.mark.parametrize("num_steps", [1, 3, 6])
@pytest.mark.parametrize("demand", DEMANDS.values(), ids=DEMANDS)
def test_a_sum_of_independent_steps_is_held_as_often_as_asked(demand, num_steps):
    draw = np.random.default_rng(0)
    total = total_of([step_of(demand(draw))] * num_steps)
    came = sum(demand(draw) for _ in range(num_steps))
    for level in LEVELS_ASKED:
        assert np.mean(came <= total.quantile(level) + 1e-9) >= level - TOLERANCE, level


def test_a_sum_is_not_far_above_what_holds_it():
    draw = np.random.default_rng(0)
    for mean, excess in ((0.5, 2), (5.0, 4), (40.0, 9)):
        total = total_of([step_of(draw.poisson(mean, NUM_DRAWS))] * 6)
        came = draw.poisson(mean, (NUM_DRAWS, 6)).sum(1)
        assert 0 <= total.quantile(0.95) - np.quantile(came, 0.95) <= excess


def test_one_step_s_quantiles_are_its_own():
    step = step_of(np.random.default_rng(0).poisson(5.0, NUM_DRAWS))
    assert [total_of([step]).quantile(level) for level in LEVELS] == list(step.values())


def test_steps_of_nothing_come_to_nothing_and_negative_ones_below_it():
    nothing = dict.fromkeys(LEVELS, 0.0)
    assert total_of([nothing] * 6).quantile(0.99) == 0.0
    returned = dict(zip(LEVELS, (-9.0, -8, -5, -3, -3, -2, -1, -1, 0), strict=True))
    assert total_of([returned] * 2).quantile(0.5) == pytest.approx(-6.0, abs=1.0)


def outcomes_of(came):
    """Windows [N, H] whose steps are all told the quantiles of all."""
    labels = pa.table({"label": [json.dumps(row) for row in came.tolist()]})
    quantiles = np.quantile(came, LEVELS, method="inverted_cdf")
    told = np.broadcast_to(quantiles, (*came.shape, len(LEVELS)))
    head, task = ForecastHead(), series_task("forecasts")
    truth = Truth(labels, "label", np.arange(len(came)))
    return head.decided(task, (), truth, told, head.default_policy(task, ()))


def test_demand_that_clusters_is_held_less_often_than_asked_and_the_report_says_so():
    draw = np.random.default_rng(0)
    alone = totals_held(outcomes_of(draw.poisson(2.0, (2000, 6)).astype(float)))
    level = draw.gamma(1.0, 2.0, (2000, 1))
    clustered = totals_held(outcomes_of(draw.poisson(level, (2000, 6)).astype(float)))
    assert [row["steps"] for row in alone] == [3, 6]
    assert {row["num_windows"] for row in alone} == {1000}
    assert alone[1]["held"]["0.95"] >= 0.93
    assert clustered[1]["held"]["0.95"] < 0.9
