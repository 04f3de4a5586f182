"""Compliance of clauses: the wording, the keyword rule, and the known causes of the sample."""

from __future__ import annotations

import json
import re

import pytest

from industries.financial_services.regulatory_compliance import (
    RISKY,
    RULE_FAMILIES,
    TITLES,
    rule_families,
)
from spt_core.judgement import Labels, LabelScore, Phrase
from spt_core.policy import LabelPolicy
from spt_core.task import find

TASK = find("financial_services/regulatory_compliance")
POLICY = LabelPolicy(thresholds={"ltd": 0.4, "ter": 0.6}, most_probable=False)
TEXT = "We are not liable for damage."


def judged(ltd: float, ter: float = 0.1) -> dict[str, object]:
    given = POLICY.given({"ltd": ltd, "ter": ter})
    reasons = (Phrase(0, 6, "We are", -0.5), Phrase(7, 17, "not liable", 2.0))
    scores = [LabelScore(n, p, n in given, reasons) for n, p in (("ltd", ltd), ("ter", ter))]
    scores.sort(key=lambda score: -score.probability)
    return TASK.respond(Labels({"text": TEXT}, tuple(scores), POLICY))


def parts(phrase: str) -> re.Pattern[str]:
    """A phrase with anything in its slots."""
    words = ".+".join(re.escape(part) for part in re.split(r"\{\w+\}", phrase))
    return re.compile(words, re.IGNORECASE)


def test_a_risk_is_named_with_its_deciding_phrases() -> None:
    answer = judged(0.9)
    assert not answer["compliant"]
    (risk,) = answer["risk_categories"]
    assert risk["title"] == "limitation of liability"
    assert [phrase["text"] for phrase in risk["phrases"]] == ["not liable"]
    assert (answer["recommendation"], answer["confidence"]) == ("revise", 0.9)


@pytest.mark.parametrize(
    ("ltd", "compliant", "recommendation", "confidence"),
    [(0.5, False, "review", 0.5), (0.3, True, "review", 0.7), (0.05, True, "accept", 0.9)],
)
def test_the_verdict_follows_the_policy_and_near_misses_are_reviewed(
    ltd: float, compliant: bool, recommendation: str, confidence: float
) -> None:
    answer = judged(ltd)
    assert answer["compliant"] is compliant
    assert answer["recommendation"] == recommendation
    assert answer["confidence"] == pytest.approx(confidence)


def test_the_likeliest_risk_that_is_not_given_bounds_the_confidence() -> None:
    assert judged(0.05, ter=0.55)["confidence"] == pytest.approx(0.45)


def test_a_category_of_a_customer_is_its_own_title() -> None:
    scores = (LabelScore("bribery", 0.9, True),)
    answer = TASK.respond(Labels({"text": TEXT}, scores, POLICY))
    assert answer["risk_categories"][0]["title"] == "bribery"


@pytest.mark.parametrize(
    ("text", "families"),
    [
        ("Suspicious transactions are reported under the AML rules.", ["AML"]),
        ("We ask for proof of identity and the beneficial owners (KYC).", ["KYC"]),
        ("A CET1 ratio of 8 % under Basel III, and a leverage ratio of 3 %.", ["CAPITAL"]),
        ("Consumers may withdraw; their personal data is erased.", ["CONSUMER", "DATA"]),
        ("Insider dealing is forbidden.", ["MARKET"]),
        ("The sanctuary opens at nine.", []),
    ],
)
def test_the_keyword_rule_finds_the_families_by_their_terms(text: str, families: list[str]) -> None:
    found = rule_families(text)
    assert [family["family"] for family in found] == families
    assert {family["found_by"] for family in found} <= {"keyword rule"}
    for family in found:
        for phrase in family["phrases"]:
            assert text[phrase["start"] : phrase["end"]] == phrase["text"]


def test_the_rule_does_not_depend_on_the_model() -> None:
    assert judged(0.9)["rule_families"] == judged(0.1)["rule_families"]
    assert judged(0.9)["rule_families"][0]["family"] == "CONSUMER"


def test_the_categories_and_families_have_titles() -> None:
    assert set(RISKY) == set(TITLES)
    assert all(title for title, _ in RULE_FAMILIES.values())


def test_a_sentence_of_the_sample_has_exactly_the_risks_whose_phrases_it_holds() -> None:
    patterns = {name: [parts(phrase) for phrase in phrases] for name, phrases in RISKY.items()}
    table = TASK.sample(600, 0)
    for text, label in zip(
        table["text"].to_pylist(), table["risk_categories"].to_pylist(), strict=True
    ):
        found = [name for name in patterns if any(p.search(text) for p in patterns[name])]
        assert found == json.loads(label), text
