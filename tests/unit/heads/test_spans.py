"""Tags of tokens become spans of the text."""

import dataclasses

import numpy as np
import pytest

from spt_core.errors import InputError
from spt_core.heads.base import Scores
from spt_core.heads.outcomes import outcomes
from spt_core.heads.spans import SpanHead, spans_of, united
from spt_core.judgement import Span
from spt_core.policy import SpanPolicy
from spt_core.task import SpanPatterns
from tests.tiny_models import TINY

TEXT = "We may anti-close the account"
#       0  3   7   12    18  22
OFFSETS = [
    (0, 0),
    (0, 2),
    (3, 6),
    (7, 11),
    (11, 12),
    (12, 15),
    (15, 17),
    (18, 21),
    (22, 29),
    (0, 0),
]
TOKENS = tuple(Span(start, end, TEXT[start:end]) for start, end in OFFSETS)
CHOSEN = {1: 1, 2: 2, 3: 0, 4: 0, 5: 2, 6: 0, 7: 1, 8: 1}  # B I . . I . B B


def tags(chosen, strength=9.0):
    """Logits [T, 3] that choose a tag for each of some tokens."""
    made = np.zeros((len(TOKENS), 3))
    for token, tag in chosen.items():
        made[token, tag] = strength
    return made


def test_tags_become_spans_that_never_part_a_word():
    found = spans_of(TEXT, Scores(tags(CHOSEN), TOKENS), ("x",))
    assert [span.text for span in found] == ["We may", "close", "the", "account"]
    assert {span.label for span in found} == {"x"}


def test_a_token_of_two_windows_has_the_mean_of_their_probabilities():
    twice = np.concatenate([tags(CHOSEN), tags(dict.fromkeys(CHOSEN, 0), strength=2.0)])
    assert spans_of(TEXT, Scores(twice, TOKENS * 2), ("x",)) == spans_of(
        TEXT, Scores(tags(CHOSEN), TOKENS), ("x",)
    )
    surely_none = np.concatenate([tags(CHOSEN, strength=2.0), tags(dict.fromkeys(CHOSEN, 0))])
    assert spans_of(TEXT, Scores(surely_none, TOKENS * 2), ("x",)) == ()


def patterned(*spans, repeated=()):
    """A task of spans whose patterns find these."""
    task = TINY["text"].task("span")
    patterns = SpanPatterns("p", lambda text: spans, frozenset(repeated))
    return dataclasses.replace(task, patterns=patterns)


def test_spans_of_model_and_patterns_that_overlap_become_one_that_leaves_nothing_out():
    task = patterned(Span(3, 11, "may anti", "pattern"), Span(22, 29, "account", "pattern"))
    given = united(task, TEXT, [Span(0, 6, "We may", "model"), Span(22, 29, "account", "model")])
    assert [(span.text, span.label, span.source) for span in given] == [
        ("We may anti", "pattern", "pattern and model"),  # the longer one's label
        ("account", "pattern", "pattern and model"),  # of equally long ones the pattern's
    ]


def test_spans_that_do_not_overlap_keep_who_named_them():
    task = patterned(Span(7, 11, "anti", "x"))
    given = united(task, TEXT, [Span(0, 7, "We may ", "y"), Span(18, 21, "the", "y")])
    assert [span.source for span in given] == ["model", "pattern", "model"]


def test_a_name_is_named_wherever_it_stands_again():
    text = "Elena de Moreau fell. Elena reports pain; MOREAU, Elenas, de: no. Ms. Moreau slept."
    task = patterned(repeated=["name"])
    given = united(task, text, [Span(0, 15, text[:15], "name")])
    assert [(span.text, span.start, span.source) for span in given] == [
        ("Elena de Moreau", 0, "model"),
        ("Elena", 22, "repeat"),
        ("MOREAU", 42, "repeat"),
        ("Moreau", text.rindex("Moreau"), "repeat"),
    ]
    assert len(united(patterned(), text, [Span(0, 15, text[:15], "name")])) == 1


def test_a_slip_on_a_small_word_is_not_repeated():
    text = "he fell; he reports that he slept."
    assert len(united(patterned(repeated=["name"]), text, [Span(0, 2, "he", "name")])) == 1


def test_a_repeat_of_which_the_model_names_a_part_is_named_as_a_whole():
    text = "Elena Moreau fell. Elena Moreau slept."
    task = patterned(repeated=["name"])
    both = [Span(0, 12, text[:12], "name"), Span(19, 24, "Elena", "name")]
    whole = united(task, text, both)[1]
    assert (whole.text, whole.label, whole.source) == ("Elena Moreau", "name", "repeat")


def test_a_policy_of_spans_counts_those_that_held_out_rows_have_and_are_found():
    task = patterned()
    labels, given = np.array([[1.0], [1.0], [0.0]]), np.array([[1.0], [0.0], [1.0]])
    policy = SpanHead().policy(task, outcomes(["x"], labels, given, given))
    assert (policy.support, policy.recalled, policy.patterns) == ({"x": 2}, {"x": 1}, "p")
    with pytest.raises(InputError, match="counts of a spans policy are measured"):
        SpanHead().refitted(SpanPolicy(support={"x": 1}), policy, lambda: None)
