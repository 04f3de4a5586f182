"""Probabilities of classes, what moves them, and the policies of best F1."""

import numpy as np
import pytest

from spt_core.heads.labels import (
    choice_direction,
    fit_balance,
    fit_thresholds,
    label_direction,
    rank_direction,
    rank_probabilities,
    sigmoid,
    softmax,
)
from spt_core.policy import LabelPolicy

CLASSES = ("none", "a", "b")
PLAIN = LabelPolicy(thresholds={}, most_probable=True)
KINDS = {
    "choice": ([0.3, -0.4, 1.1], softmax, lambda point, k: choice_direction(softmax(point), k)),
    "label": ([0.3, -0.4, 1.1], sigmoid, lambda point, k: label_direction(sigmoid(point), k)),
    "rank": ([0.8, -0.5], rank_probabilities, rank_direction),
}


def odds(probability):
    return np.log(probability / (1 - probability))


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_directions_are_slopes_of_the_log_odds(kind, k):
    values, to, direction = KINDS[kind]
    point = np.array(values)
    found = direction(point, k)
    for j in range(len(point)):
        step = 1e-5 * np.eye(len(point))[j]
        slope = (odds(to(point + step)[k]) - odds(to(point - step)[k])) / 2e-5
        assert found[j] == pytest.approx(slope, abs=1e-6)


def test_ranks_that_cross_still_have_probabilities():
    found = rank_probabilities(np.array([-1.0, 2.0]))
    assert found.sum() == pytest.approx(1.0)
    assert (found >= 0).all()


def test_many_ranks_have_the_probabilities_of_each_alone():
    cuts = np.array([[-1.0, 2.0], [0.5, -0.5]])
    assert rank_probabilities(cuts).tolist() == [rank_probabilities(row).tolist() for row in cuts]


def drawn(num_items=400, seed=0):
    """Labels and probabilities [N, 3] that agree mostly; `none` is common."""
    draw = np.random.default_rng(seed)
    true = draw.choice(3, num_items, p=[0.7, 0.2, 0.1])
    logits = draw.normal(size=(num_items, 3)) + 2.0 * np.eye(3)[true]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return np.eye(3)[true], probabilities


def f1(labels, given):
    return 2 * (labels * given).sum() / (labels.sum() + given.sum())


def test_the_threshold_of_a_label_is_the_one_of_best_f1():
    labels, probabilities = drawn()
    found = fit_thresholds(CLASSES, labels, probabilities)
    assert not found.most_probable
    for k, name in enumerate(CLASSES):
        reached = f1(labels[:, k], probabilities[:, k] >= found.thresholds[name])
        others = [f1(labels[:, k], probabilities[:, k] >= t) for t in np.linspace(0.05, 0.95, 50)]
        assert reached >= max(others) - 1e-12


def test_a_rare_label_shares_the_threshold_of_all():
    labels, probabilities = drawn()
    labels[np.flatnonzero(labels[:, 2])[5:], 2] = 0.0
    found = fit_thresholds(CLASSES, labels, probabilities)
    without = fit_thresholds(CLASSES, np.zeros_like(labels), probabilities)
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
        policy = fit_thresholds(CLASSES, labels, probabilities)
        chosen.append(set(policy.thresholds.values()))
    assert chosen[0] == chosen[1] == chosen[2]
    (threshold,) = chosen[0]
    given = probabilities >= threshold
    reached = 2 * (probabilities * given).sum() / (given.sum() + probabilities.sum())
    assert reached >= max(expected) - 1e-12
    assert threshold == pytest.approx(reached / 2, abs=0.01)  # as Lipton et al. prove


def test_single_labels_are_the_most_probable_where_no_threshold_gains():
    labels, probabilities = drawn()
    assert fit_balance(CLASSES, labels, probabilities, None) == PLAIN
    sure = 0.98 * labels + 0.02 / 3
    assert fit_balance(CLASSES, labels, sure, "none") == PLAIN


def test_a_timid_negative_class_is_balanced_by_a_threshold():
    labels, probabilities = drawn()
    biased = probabilities * np.array([0.2, 1.0, 1.0])  # `none` is given too rarely
    biased /= biased.sum(1, keepdims=True)
    found = fit_balance(CLASSES, labels, biased, "none")
    assert found.fallback == "none"
    assert min(found.thresholds["a"], found.thresholds["b"]) > 0.3

    def score(policy):
        return f1(labels[:, 1:], policy.decide(CLASSES, biased)[:, 1:])

    assert score(found) > score(PLAIN) + 0.005
