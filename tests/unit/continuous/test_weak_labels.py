"""Rules that vote: how far they are believed, and when they say nothing."""

from __future__ import annotations

import pytest

from spt_core.continuous.weak_labels import LabelingRule, measured, vote
from spt_core.errors import InputError
from spt_core.task import all_tasks

ROWS = [("a loan is refused", {"credit"}), ("the loan shark", {"crime"})] + [
    ("arbitration decides", {"court"})
] * 8


def rules(**patterns: str) -> list[LabelingRule]:
    return [LabelingRule(label=label, pattern=pattern) for label, pattern in patterns.items()]


def test_a_rule_is_believed_as_far_as_labelled_rows_bear_it_out() -> None:
    found = measured(rules(credit=r"\bloan\b", court="arbitrat"), ROWS)
    assert [rule.precision for rule in found] == [0.5, 0.9]


def test_a_precision_that_somebody_stated_stays() -> None:
    stated = LabelingRule(label="crime", pattern="loan", precision=0.8)
    assert measured([stated], ROWS) == [stated]


def test_a_rule_that_is_often_wrong_gives_no_label() -> None:
    found = measured(rules(credit=r"\bloan\b"), ROWS)
    assert vote(found, "a loan", several=False, min_confidence=0.7) is None


def test_two_doubtful_rules_that_agree_are_enough() -> None:
    found = measured([*rules(credit="loan"), *rules(credit="mortgage")], [])
    assert vote(found, "a loan", several=False, min_confidence=0.7) is None
    said = vote(found, "a MORTGAGE is a loan", several=False, min_confidence=0.7)
    assert said is not None
    assert (said.labels, said.confidence) == (("credit",), 0.75)


def test_a_tie_between_two_labels_is_none() -> None:
    found = [
        LabelingRule(label="court", pattern="arbitrat", precision=0.9),
        LabelingRule(label="crime", pattern="fraud", precision=0.9),
    ]
    text = "arbitration about fraud"
    assert vote(found, text, several=False, min_confidence=0.7) is None
    both = vote(found, text, several=True, min_confidence=0.7)
    assert both is not None
    assert both.labels == ("court", "crime")


def test_silence_is_no_label() -> None:
    found = measured(rules(court="arbitrat"), ROWS)
    assert vote(found, "a new fee", several=True, min_confidence=0.5) is None


@pytest.mark.parametrize(
    "content", [{"label": "a", "pattern": "("}, {"label": "a", "pattern": "x", "precision": 1.0}]
)
def test_a_rule_that_could_not_vote_is_refused(content: dict) -> None:
    with pytest.raises(InputError, match="labeling rule"):
        LabelingRule(**content)


def test_the_patterns_of_every_task_are_rules() -> None:
    for task in all_tasks().values():
        rules = [LabelingRule(label=k, pattern=p) for k, p in task.label_patterns.items()]
        assert all(rule.label in task.classes for rule in rules if task.classes)
