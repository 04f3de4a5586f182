"""Sets of classes that hold the true one as often as they say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from spt_core.errors import InputError
from spt_core.heads import HEADS
from spt_core.heads.labels import set_metrics, with_sets
from spt_core.heads.outcomes import outcomes
from spt_core.judgement import Labels, LabelScore
from spt_core.policy import LabelPolicy, policy_from_json
from spt_core.task import find

CLASSES = ("a", "b", "c", "d")
PLAIN = LabelPolicy(thresholds={}, most_probable=True)


def drawn(num_rows, seed):
    """Probabilities of four classes that know the true one more or less."""
    draw = np.random.default_rng(seed)
    true = draw.integers(0, 4, num_rows)
    logits = draw.normal(size=(num_rows, 4)) + draw.uniform(0, 4, (num_rows, 1)) * np.eye(4)[true]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return outcomes(CLASSES, np.eye(4)[true], probabilities, np.eye(4)[probabilities.argmax(1)])


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95, 0.99])
def test_sets_cover_rows_that_they_do_not_come_from(coverage):
    figures = [
        set_metrics(with_sets(PLAIN, drawn(300, seed), coverage))["set_coverage"](
            drawn(500, 1000 + seed)
        )
        for seed in range(200)
    ]
    assert np.mean(figures) >= coverage - 0.005


def test_more_coverage_asks_for_larger_sets():
    of, rows = drawn(2000, 1), drawn(400, 0)
    sizes = [
        set_metrics(with_sets(PLAIN, rows, c))["mean_set_size"](of) for c in (0.8, 0.9, 0.95, 0.99)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_no_set_is_empty_and_a_doubtful_case_has_a_long_one():
    policy = LabelPolicy(thresholds={}, most_probable=True, coverage=0.9, set_threshold=0.6)
    sets = policy.sets(np.array([[0.7, 0.2, 0.06, 0.04], [0.4, 0.3, 0.25, 0.05]]))
    assert sets.tolist() == [[True, False, False, False], [True, True, True, False]]


def test_a_set_holds_the_most_probable_class_even_beyond_its_threshold():
    policy = LabelPolicy(thresholds={}, most_probable=True, coverage=0.9, set_threshold=1.0)
    assert policy.sets(np.array([[0.95, 0.05]])).tolist() == [[True, False]]


def test_too_few_rows_are_refused():
    with pytest.raises(InputError, match="a set of coverage 0.99 needs 99 rows .* there are 50"):
        with_sets(PLAIN, drawn(50, 0), 0.99)


def test_a_policy_without_sets_keeps_its_name_and_its_content():
    assert "coverage" not in PLAIN.to_json()
    assert PLAIN.sets(np.array([[0.2, 0.8]])).tolist() == [[False, True]]
    assert policy_from_json(PLAIN.to_json()) == PLAIN
    assert set(HEADS["single_label"].metrics_under(PLAIN)) == set(HEADS["single_label"].metrics)


def test_an_edited_coverage_gets_its_own_threshold():
    rows, head = drawn(400, 0), HEADS["single_label"]
    before = with_sets(PLAIN, rows, 0.9)
    edited = dataclasses.replace(before, coverage=0.99, version="")
    again = head.refitted(edited, before, lambda: rows)
    assert again == with_sets(PLAIN, rows, 0.99)
    assert again.set_threshold < before.set_threshold
    assert policy_from_json(again.to_json()) == again


def test_the_task_s_coverage_is_the_policy_s():
    task = find("healthcare/clinical_decision_support")
    policy = HEADS["single_label"].policy(task, drawn(200, 0))
    assert policy.coverage == task.coverage
    metrics = HEADS["single_label"].metrics_under(policy)
    assert metrics["set_coverage"](drawn(200, 0)) >= 0.95


def test_a_judgement_tells_its_set():
    policy = LabelPolicy(thresholds={}, most_probable=True, coverage=0.9, set_threshold=0.3)
    scores = [LabelScore(n, p, n == "a") for n, p in zip("abc", (0.5, 0.4, 0.1), strict=True)]
    assert [score.label for score in Labels({}, tuple(scores), policy).likely] == ["a", "b"]


@pytest.mark.parametrize("change", [{"coverage": 1.0}, {"coverage": 0.9, "set_threshold": 2.0}])
def test_a_set_that_cannot_be_is_refused(change):
    with pytest.raises(InputError, match="a set's .* must be in"):
        dataclasses.replace(PLAIN, **change)


def test_only_a_task_of_classes_has_sets():
    with pytest.raises(InputError, match="sets of a coverage, however"):
        dataclasses.replace(find("healthcare/heart_disease"), coverage=0.9)
