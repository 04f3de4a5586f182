"""Negations: where they reach to, and where they end."""

from __future__ import annotations

import pytest

from industries.healthcare.negation import denied_starts, is_whole, tokens_of


def test_a_contraction_is_its_two_words_and_marks_are_tokens() -> None:
    told = tokens_of("Isn\u2019t_breathing, hasn't eaten")
    assert told == ("is", "not", "breathing", ",", "has", "not", "eaten")
    assert tokens_of("can't speak") == ("cannot", "speak")
    assert tokens_of("won't stop") == ("will", "not", "stop")


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("no fever", {"fever"}),
        ("no fever, cough", {"fever"}),
        ("no fever, cough or rash", {"fever", "cough", "rash"}),
        ("no fever and cough", {"fever"}),
        ("denies fever, cough and rash", {"fever", "cough", "rash"}),
        ("denies fever or cough, rash and pain", {"fever", "cough"}),
        ("denies fever but cough", {"fever"}),
        ("no history of any fever", {"fever"}),
        ("not tired or confused", {"tired"}),
        ("has not had fever or cough", {"fever", "cough"}),
        ("does not deny fever", {"deny"}),
        ("fever", set()),
    ],
)
def test_a_negation_reaches_over_its_own_list(text: str, denied: set[str]) -> None:
    tokens = tokens_of(text)
    assert {tokens[start] for start in denied_starts(tokens)} == denied


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("pain", True),
        ("pain reported today.", True),
        ("pain, cough", True),
        ("pain at all", True),
        ("pain or cough", True),
        ("pain relief", False),
        ("pain at rest", False),
        ("pain, except at night", False),
        ("pain until today", False),
    ],
)
def test_a_phrase_with_more_after_it_is_another_one(text: str, *, whole: bool) -> None:
    assert is_whole(tokens_of(text), 1) is whole
