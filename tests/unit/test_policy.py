import dataclasses
import json

import numpy as np
import pytest

from spt_core.errors import InputError
from spt_core.heads.binary import fit_policy
from spt_core.policy import (
    Costs,
    DecisionPolicy,
    IntervalPolicy,
    LabelPolicy,
    policy_from_json,
)

COSTS = Costs(missed_positive=250.0, false_alarm=15.0, review=5.0)
NONE = np.empty(0)


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


CLASSES = ("none", "a", "b")


@pytest.mark.parametrize(
    "policy",
    [
        LabelPolicy(thresholds={"a": 0.4, "b": 0.2}, most_probable=False),
        LabelPolicy(thresholds={}, most_probable=True),
        LabelPolicy(thresholds={"a": 0.9, "b": 0.6}, most_probable=True, fallback="none"),
        LabelPolicy(thresholds=dict.fromkeys(CLASSES, 0.6), most_probable=True),
    ],
)
def test_many_items_are_decided_as_each_alone(policy):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 60)
    for row, decided in zip(probabilities, policy.decide(CLASSES, probabilities), strict=True):
        given = policy.given(dict(zip(CLASSES, row.tolist(), strict=True)))
        assert {CLASSES[k] for k in np.flatnonzero(decided)} == given


def test_a_label_policy_survives_json():
    policy = LabelPolicy(thresholds={"a": 0.4, "b": 0.2}, most_probable=True, fallback="none")
    assert policy_from_json(json.loads(json.dumps(policy.to_json()))) == policy


INTERVAL = IntervalPolicy(coverage=0.9, margin=2.0)


def test_an_interval_is_the_model_s_own_and_the_margin():
    low, high = INTERVAL.bounds(np.array([1.0, -3.0]), np.array([5.0, -3.0]))
    assert (low.tolist(), high.tolist()) == ([-1.0, -5.0], [7.0, -1.0])


def test_an_interval_that_was_too_wide_shrinks_to_its_middle_at_most():
    shrunk = IntervalPolicy(coverage=0.9, margin=-1.5)
    low, high = shrunk.bounds(np.array([0.0, 1.0]), np.array([8.0, 2.0]))
    assert (low.tolist(), high.tolist()) == ([1.5, 1.5], [6.5, 1.5])


@pytest.mark.parametrize(("coverage", "margin"), [(0.0, 1.0), (1.0, 1.0), (0.9, float("inf"))])
def test_an_interval_of_no_share_or_margin_is_refused(coverage, margin):
    with pytest.raises(InputError, match="coverage"):
        IntervalPolicy(coverage=coverage, margin=margin)


def test_an_interval_policy_survives_json():
    assert policy_from_json(json.loads(json.dumps(INTERVAL.to_json()))) == INTERVAL


@pytest.mark.parametrize(
    "policy", [fit_policy(COSTS, NONE), LabelPolicy(thresholds={"a": 0.4}, most_probable=False)]
)
def test_a_policy_of_before_kinds_were_written_is_read(policy):
    stored = policy.to_json()
    assert stored.pop("kind") == policy.kind
    assert policy_from_json(stored) == policy


def test_a_policy_of_no_known_kind_is_refused():
    with pytest.raises(
        InputError, match="a kind decision, labels, interval, alarms, quantiles, .* 'dice'"
    ):
        policy_from_json({**INTERVAL.to_json(), "kind": "dice"})
