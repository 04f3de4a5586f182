"""Encodings that a row can hardly change: edges by noisy medians, categories by noisy counts."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from spt_core.families.tabular.drawing import draw_rows
from spt_core.families.tabular.network import PiecewiseLinearEncoding
from spt_core.families.tabular.private_encoding import (
    GRID,
    edge_arrays,
    encoding_plan,
    median_scores,
    private_encoding,
    private_median,
)
from spt_core.families.tabular.reading import Encoder
from spt_core.signature import Field, Signature

AMOUNT = Signature(fields=(Field(name="amount", kind="number", required=False),))
PLACE = Signature(fields=(Field(name="place", kind="category", categories=("north", "rare")),))
MANY, DELTA = 20_000, 1e-9


def plan_of(signature, ranges=None, *, num_rows=MANY, rho=0.05, num_bins=24):
    return encoding_plan(
        signature, ranges or {}, num_rows=num_rows, num_bins=num_bins, rho=rho, delta=DELTA
    )


def encoded(plan, signature, table):
    return private_encoding(plan, signature, [table], max_categories=100)


def test_a_median_s_score_changes_by_half_a_row_s_worth_at_most():
    draw = np.random.default_rng(0)
    for _ in range(200):
        counts = draw.integers(0, 5, 7)
        more = counts + np.eye(7, dtype=np.int64)[draw.integers(7)]
        assert np.abs(median_scores(more) - median_scores(counts)).max() <= 0.5


def test_answers_of_tables_that_differ_in_a_row_are_about_as_likely():
    epsilon, counts = 1.0, np.array([3, 0, 2, 4])
    more, probabilities = counts + np.array([0, 0, 0, 1]), []
    for of in (counts, more):
        weights = np.exp(epsilon * median_scores(of))
        probabilities.append(weights / weights.sum())
    first, second = probabilities
    assert np.abs(np.log(first / second)).max() <= epsilon
    answers = [private_median(counts, epsilon) for _ in range(4000)]
    shares = np.bincount(answers, minlength=4) / 4000
    assert shares == pytest.approx(first, abs=0.04)


def test_edges_of_many_rows_lie_near_the_quantiles_and_no_outlier_moves_them():
    values = np.random.default_rng(1).lognormal(3.0, 1.0, MANY)
    plan = plan_of(AMOUNT)
    assert (plan.depth, plan.bought) == (4, (0,))
    for extreme in (1.0, 1e30, -1e30):
        _, facts = encoded(plan, AMOUNT, pa.table({"amount": [*values, extreme]}))
        (edges,) = facts["edges"]
        assert len(edges) == 15
        ranks = [(values < edge).mean() for edge in edges]
        assert np.abs(np.array(ranks) - np.arange(1, 16) / 16).max() < 0.03


def test_where_most_values_are_equal_edges_are_of_the_others_too():
    values = np.where(np.arange(MANY) % 3, 0.0, np.random.default_rng(2).uniform(10, 20, MANY))
    _, facts = encoded(plan_of(AMOUNT), AMOUNT, pa.table({"amount": values}))
    (edges,) = facts["edges"]
    assert 0.0 in edges
    assert sum(10 <= edge <= 20 for edge in edges) >= 5


def test_few_rows_buy_nothing_and_ranges_that_are_public_cost_nothing():
    plan = plan_of(AMOUNT, num_rows=100, rho=0.001)
    assert (plan.depth, plan.rho, plan.delta) == (0, 0.0, 0.0)
    _, facts = encoded(plan, AMOUNT, pa.table({"amount": [1.0, 2.0]}))
    assert facts["edges"][0][0] < 0 < facts["edges"][0][-1]

    plan = plan_of(AMOUNT, {"amount": (0.0, 80.0)}, num_rows=100, rho=0.001)
    _, facts = encoded(plan, AMOUNT, pa.table({"amount": [1.0, 1e9]}))
    assert facts["edges"][0] == [0, 10, 20, 30, 40, 50, 60, 70, 80]

    plan = plan_of(AMOUNT, {"amount": (0.0, 80.0)})
    _, facts = encoded(plan, AMOUNT, pa.table({"amount": np.linspace(20, 40, MANY)}))
    assert facts["edges"][0][0] == 0
    assert facts["edges"][0][-1] == 80
    assert sum(20 <= edge <= 40 for edge in facts["edges"][0]) >= 13


def test_what_is_public_by_its_kind_is_not_bought():
    signature = Signature(
        fields=(Field(name="booked", kind="time"), Field(name="is_new", kind="boolean"))
    )
    plan = plan_of(signature)
    assert (plan.bought, plan.rho) == ((), 0.0)
    assert [len(number.edges) for number in plan.numbers] == [9, 7, 2]


def test_a_category_of_one_row_is_not_known_and_a_common_one_is():
    table = pa.table({"place": ["north"] * 600 + ["south"] * 399 + ["rare"]})
    plan = plan_of(PLACE, num_rows=1000)
    assert 1 < plan.threshold < 60
    for _ in range(20):
        signature, facts = encoded(plan, PLACE, table)
        assert signature.field("place").categories == ("north", "south")
        assert facts["typical"] == [1.0]
    noisy = facts["cells"][0]
    assert noisy == pytest.approx([600, 399], abs=30)
    assert all(isinstance(count, int) for count in noisy)


def test_the_threshold_is_passed_by_a_row_s_own_categories_with_a_chance_of_delta_together():
    signature = Signature(fields=tuple(Field(name=f"c{n}", kind="category") for n in range(3)))
    plan = plan_of(signature, num_rows=1000)
    alone = 0.5 * math.erfc((plan.threshold - 1) / plan.count_noise / math.sqrt(2))
    assert -math.expm1(3 * math.log1p(-alone)) == pytest.approx(DELTA, rel=1e-3)
    # Three counts of a row change by one each: the norm of that over the noise is the multiplier.
    assert plan.rho == pytest.approx(3 / (2 * plan.count_noise**2))


def test_where_no_category_can_pass_none_is_counted():
    plan = plan_of(PLACE, num_rows=15)
    assert not plan.counts_categories
    signature, facts = encoded(plan, PLACE, pa.table({"place": ["north"] * 15}))
    assert signature.field("place").categories == ()
    assert facts["typical"] == [0.0]
    assert facts["cells"] == [[]]


def test_nothing_exact_of_the_rows_stays_in_the_signature():
    fields = (
        Field(name="amount", kind="number", seen=(3.0, 9.0), complete=True),
        Field(name="place", kind="category", categories=("north", "rare"), complete=True),
    )
    signature = Signature(fields=fields)
    table = pa.table({"amount": [3.0, 9.0], "place": ["north", "rare"]})
    own, _ = encoded(plan_of(signature, num_rows=2), signature, table)
    assert [(f.seen, f.complete, f.categories) for f in own.fields] == [(None, False, ())] * 2


def test_edges_become_bins_of_the_network():
    import torch

    facts = edge_arrays([[0.0, 0.0, 10.0, 30.0], [5.0]], num_bins=4)
    encoding = PiecewiseLinearEncoding(*(torch.tensor(facts[n]) for n in ("left", "inverse_width")))
    assert encoding(torch.tensor([[5.0, 7.0]]))[0, 0, :2].tolist() == [0.5, 0.0]
    assert encoding(torch.tensor([[20.0, 7.0]]))[0, 0, :2].tolist() == [1.0, 0.5]


def test_artificial_rows_follow_the_released_cells_alone():
    signature = Signature(fields=(*AMOUNT.fields, *PLACE.fields))
    rows = draw_rows([[0.0, 1.0, 10.0], [300, 100]], 1, 5000, seed=[0])
    assert rows.shape == (5000, len(signature.columns))
    assert np.isnan(rows[:, 0]).mean() == pytest.approx(0.05, abs=0.02)
    assert np.nanmin(rows[:, 0]) >= -1
    assert np.nanmax(rows[:, 0]) <= 19
    assert np.bincount(rows[:, 1].astype(int)) / 5000 == pytest.approx(
        [0.05, 0.95 * 0.75, 0.95 * 0.25], abs=0.03
    )
    assert Encoder(signature).table(pa.table({"amount": [None], "place": ["rare"]})).shape == (1, 2)


def test_the_grid_has_numbers_of_three_digits():
    assert {0.0, 1.23e-6, 1.0, 999e9, -7.5} <= set(GRID.round(12).tolist())
    assert (np.diff(GRID) > 0).all()
