"""Tags of tokens become spans of the text."""

import numpy as np

from spt_core.heads.base import Scores
from spt_core.heads.spans import spans_of
from spt_core.judgement import Span

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
