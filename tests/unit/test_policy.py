import dataclasses
import json

import numpy as np
import pytest

from spt_core.errors import InputError
from spt_core.policy import Costs, DecisionPolicy, fit_policy, policy_from_json

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


def test_a_small_review_capacity_keeps_the_most_probable_cases():
    probabilities = np.linspace(0.03, 0.5, 100)
    policy = fit_policy(COSTS, probabilities, daily_review_capacity=10, daily_volume=100)
    assert sum(policy.recommend(p) == "review" for p in probabilities) == 10


def test_no_review_capacity_means_no_reviews():
    policy = fit_policy(COSTS, np.linspace(0, 1, 50), daily_review_capacity=0, daily_volume=100)
    assert policy.review_threshold == policy.decline_threshold


def test_a_large_review_capacity_changes_nothing():
    policy = fit_policy(COSTS, np.full(100, 0.3), daily_review_capacity=100, daily_volume=100)
    assert policy.review_threshold == fit_policy(COSTS, NONE).review_threshold


def test_expected_cost_is_the_mean_over_cases():
    policy = fit_policy(COSTS, NONE)
    labels = np.array([1.0, 0.0, 0.0, 1.0, 0.0])
    probabilities = np.array([0.01, 0.01, 0.3, 0.9, 0.9])
    assert policy.expected_cost(labels, probabilities) == pytest.approx((250 + 0 + 5 + 0 + 15) / 5)


def test_the_same_content_has_the_same_version():
    assert fit_policy(COSTS, NONE).version == fit_policy(COSTS, NONE).version


def test_an_edited_threshold_gets_a_new_version():
    policy = fit_policy(COSTS, NONE)
    edited = policy_from_json({**policy.to_json(), "review_threshold": 0.1})
    assert edited.version != policy.version
    assert policy_from_json(edited.to_json()) == edited


def test_a_policy_survives_json():
    policy = fit_policy(COSTS, NONE, reason_codes={"amount": "R1"}, conditions={"R1": "call"})
    assert policy_from_json(json.loads(json.dumps(policy.to_json()))) == policy


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_costs_are_positive_numbers(value):
    with pytest.raises(InputError, match="review"):
        dataclasses.replace(COSTS, review=value)


@pytest.mark.parametrize(("review", "decline"), [(0.5, 0.4), (-0.1, 0.4), (0.5, 1.1)])
def test_thresholds_out_of_order_are_refused(review, decline):
    with pytest.raises(InputError, match="thresholds"):
        DecisionPolicy(costs=COSTS, review_threshold=review, decline_threshold=decline)


@pytest.mark.parametrize("change", [{"colour": 1}, {"costs": {}}, {"costs": {"pain": 1.0}}])
def test_a_policy_with_other_keys_is_refused(change):
    with pytest.raises(InputError, match="policy"):
        policy_from_json({**fit_policy(COSTS, NONE).to_json(), **change})
