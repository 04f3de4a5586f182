"""Decisions by what each mistake costs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spt_core.errors import InputError
from spt_core.heads.binary import decided, fit_policy
from spt_core.policy import Costs, LabelPolicy
from tests.examples import examples

COSTS = Costs(missed_positive=250.0, false_alarm=15.0, review=5.0)
NONE = np.empty(0)


def test_thresholds_follow_from_the_costs():
    policy = fit_policy(COSTS, NONE)
    assert policy.review_threshold == pytest.approx(5 / 250)
    assert policy.decline_threshold == pytest.approx(1 - 5 / 15)


def test_each_action_is_the_cheapest_at_its_probability():
    policy = fit_policy(COSTS, NONE)
    for probability in np.linspace(0.005, 0.995, 100):
        cost = {
            "approve": probability * COSTS.missed_positive,
            "review": COSTS.review,
            "decline": (1 - probability) * COSTS.false_alarm,
        }
        assert cost[policy.recommend(probability)] == pytest.approx(min(cost.values()))


def test_a_review_that_never_pays_leaves_one_threshold():
    policy = fit_policy(Costs(missed_positive=30.0, false_alarm=10.0, review=20.0), NONE)
    assert policy.review_threshold == policy.decline_threshold == pytest.approx(0.25)
    assert policy.recommend(0.26) == "decline"


@examples(100)
@given(
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(0.0, 1.0),
    prices=st.tuples(*[st.floats(0.5, 50.0)] * 3),
)
def test_no_other_thresholds_within_the_capacity_cost_less(seed, share, prices):
    costs = Costs(missed_positive=prices[0], false_alarm=prices[1], review=prices[2])
    p = np.random.default_rng(seed).random(16)
    capacity = int(share * 1000)
    policy = fit_policy(costs, p, daily_review_capacity=capacity, daily_volume=1000)

    def cost(reviewed, declined):
        let_pass = ~reviewed & ~declined
        return (
            costs.review * reviewed.sum()
            + costs.false_alarm * (1 - p[declined]).sum()
            + costs.missed_positive * p[let_pass].sum()
        )

    declined = p >= policy.decline_threshold
    reviewed = ~declined & (p >= policy.review_threshold)
    num_fitting = int(capacity / 1000 * len(p) + 1e-9)
    assert reviewed.sum() <= num_fitting
    edges = [0.0, *np.sort(p), 1.1]
    for review in edges:
        for decline in edges:
            band = (p >= review) & (p < decline)
            if band.sum() <= num_fitting:
                assert cost(reviewed, declined) <= cost(band, p >= max(review, decline)) + 1e-9


def test_a_small_review_capacity_keeps_the_cases_that_a_review_saves_most_on():
    probabilities = np.linspace(0.03, 0.5, 100)
    policy = fit_policy(COSTS, probabilities, daily_review_capacity=10, daily_volume=100)
    given = [policy.recommend(p) for p in probabilities]
    threshold = COSTS.false_alarm / (COSTS.false_alarm + COSTS.missed_positive)
    assert given.count("review") == 10
    assert policy.review_threshold < threshold < policy.decline_threshold


def test_cases_that_save_the_same_are_reviewed_together_or_not_at_all():
    policy = fit_policy(COSTS, np.full(100, 0.3), daily_review_capacity=10, daily_volume=100)
    assert policy.recommend(0.3) != "review"


def test_no_review_capacity_means_no_reviews():
    policy = fit_policy(COSTS, np.linspace(0, 1, 50), daily_review_capacity=0, daily_volume=100)
    assert policy.review_threshold == policy.decline_threshold


def test_a_large_review_capacity_changes_nothing():
    policy = fit_policy(COSTS, np.full(100, 0.3), daily_review_capacity=100, daily_volume=100)
    assert policy.review_threshold == fit_policy(COSTS, NONE).review_threshold


def test_outcomes_hold_the_action_of_each_case():
    policy = fit_policy(COSTS, NONE)
    probabilities = np.array([[0.01], [0.3], [0.9]])
    of = decided(np.array([[0.0], [1.0], [1.0]]), probabilities, policy)
    assert of.given[:, 0].tolist() == [0.0, 0.5, 1.0]
    actions = [policy.recommend(probability) for probability in probabilities[:, 0]]
    assert actions == ["approve", "review", "decline"]


def test_decisions_without_costs_are_refused():
    with pytest.raises(InputError, match="has costs"):
        decided(np.ones((1, 1)), np.ones((1, 1)), LabelPolicy(thresholds={}, most_probable=True))
