import dataclasses
import json

import numpy as np
import pytest

from spt_core.errors import InputError
from spt_core.heads.binary import fit_policy
from spt_core.policy import Costs, DecisionPolicy, LabelPolicy, fit_label_policy, policy_from_json

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


CLASSES = ("none", "a", "b")


def drawn(num_items=400, seed=0):
    """Labels and probabilities [N, 3] that agree mostly; `none` is common."""
    draw = np.random.default_rng(seed)
    true = draw.choice(3, num_items, p=[0.7, 0.2, 0.1])
    logits = draw.normal(size=(num_items, 3)) + 2.0 * np.eye(3)[true]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return np.eye(3)[true], probabilities


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
    _, probabilities = drawn(60)
    for row, decided in zip(probabilities, policy.decide(CLASSES, probabilities), strict=True):
        given = policy.given(dict(zip(CLASSES, row.tolist(), strict=True)))
        assert {CLASSES[k] for k in np.flatnonzero(decided)} == given


def f1(labels, given):
    return 2 * (labels * given).sum() / (labels.sum() + given.sum())


def test_the_threshold_of_a_label_is_the_one_of_best_f1():
    labels, probabilities = drawn()
    found = fit_label_policy("multi_label", CLASSES, labels, probabilities)
    assert not found.most_probable
    for k, name in enumerate(CLASSES):
        reached = f1(labels[:, k], probabilities[:, k] >= found.thresholds[name])
        others = [f1(labels[:, k], probabilities[:, k] >= t) for t in np.linspace(0.05, 0.95, 50)]
        assert reached >= max(others) - 1e-12


def test_a_rare_label_shares_the_threshold_of_all():
    labels, probabilities = drawn()
    labels[np.flatnonzero(labels[:, 2])[5:], 2] = 0.0
    found = fit_label_policy("multi_label", CLASSES, labels, probabilities)
    without = fit_label_policy("multi_label", CLASSES, np.zeros_like(labels), probabilities)
    assert found.thresholds["b"] not in (found.thresholds["a"], 0.5)
    assert set(without.thresholds.values()) == {0.5}


def test_the_shared_threshold_is_the_one_of_best_expected_f1():
    draw = np.random.default_rng(0)
    probabilities = draw.beta(0.3, 2.0, (300, 3))
    expected = []
    for threshold in np.linspace(0.05, 0.95, 181):
        given = probabilities >= threshold
        expected.append(2 * (probabilities * given).sum() / (given.sum() + probabilities.sum()))
    chosen = []
    for seed in range(3):  # whichever few items happen to have the label
        labels = np.zeros((300, 3))
        labels[np.random.default_rng(seed).choice(300, 20, replace=False), 1] = 1.0
        policy = fit_label_policy("multi_label", CLASSES, labels, probabilities)
        chosen.append(set(policy.thresholds.values()))
    assert chosen[0] == chosen[1] == chosen[2]
    (threshold,) = chosen[0]
    given = probabilities >= threshold
    reached = 2 * (probabilities * given).sum() / (given.sum() + probabilities.sum())
    assert reached >= max(expected) - 1e-12
    assert threshold == pytest.approx(reached / 2, abs=0.01)  # as Lipton et al. prove


def test_single_labels_are_the_most_probable_where_no_threshold_gains():
    labels, probabilities = drawn()
    plain = LabelPolicy(thresholds={}, most_probable=True)
    assert fit_label_policy("single_label", CLASSES, labels, probabilities) == plain
    sure = 0.98 * labels + 0.02 / 3
    assert fit_label_policy("pair", CLASSES, labels, sure, "none") == plain


def test_a_timid_negative_class_is_balanced_by_a_threshold():
    labels, probabilities = drawn()
    biased = probabilities * np.array([0.2, 1.0, 1.0])  # `none` is given too rarely
    biased /= biased.sum(1, keepdims=True)
    found = fit_label_policy("pair", CLASSES, labels, biased, "none")
    assert found.fallback == "none"
    assert min(found.thresholds["a"], found.thresholds["b"]) > 0.3
    plain = LabelPolicy(thresholds={}, most_probable=True)

    def score(policy):
        return f1(labels[:, 1:], policy.decide(CLASSES, biased)[:, 1:])

    assert score(found) > score(plain) + 0.005


def test_a_label_policy_survives_json():
    labels, probabilities = drawn()
    policy = fit_label_policy("multi_label", CLASSES, labels, probabilities)
    assert policy_from_json(json.loads(json.dumps(policy.to_json()))) == policy
