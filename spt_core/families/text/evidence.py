"""Which phrases of a text a label rests on: shares of tokens -> words -> phrases.

A model says what each token adds to each logit. These are summed to whole words, turned into
effects on the log-odds of a label, and neighboring words of one sign become a phrase.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spt_core.families.text.reading import TokenWindow
from spt_core.judgement import Phrase

NOTABLE = 0.25  # of the strongest word's effect
MAX_WORDS = 15  # that are notable at most
MAX_PHRASES = 5

Floats = NDArray[np.float64]


class Words(NamedTuple):
    """Characters [start, end) of the N words, and what each adds to each logit [N, K]."""

    places: list[tuple[int, int]]
    effects: Floats


def words_of(text: str, windows: Sequence[TokenWindow], shares: Floats) -> Words:
    """The words of a text with the sums of their tokens' shares [W, T, K].

    A token that several windows hold counts in each, as they add to the text's logits.
    """
    sums: dict[int, Floats] = {}
    ends: dict[int, int] = {}
    for window, of_window in zip(windows, shares, strict=True):
        for (start, end), share in zip(window.offsets, of_window, strict=False):
            if end > start:
                sums[start] = sums[start] + share if start in sums else share
                ends[start] = max(end, ends.get(start, 0))
    places: list[tuple[int, int]] = []
    effects: list[Floats] = []
    for start in sorted(sums):
        if places and places[-1][1] >= start and _is_inside_word(text, start):
            places[-1] = (places[-1][0], max(ends[start], places[-1][1]))
            effects[-1] = effects[-1] + sums[start]
        else:
            places.append((start, ends[start]))
            effects.append(sums[start])
    return Words([_stripped(text, *place) for place in places], np.array(effects))


def phrases(text: str, words: Words, direction: Floats) -> tuple[Phrase, ...]:
    """The phrases behind a label, strongest first; `direction` [K] is d log-odds / d logits."""
    if not words.places:
        return ()
    effects = words.effects @ direction
    strength = np.abs(effects) * [any(c.isalnum() for c in text[s:e]) for s, e in words.places]
    ranked = np.sort(strength)[::-1]
    floor = max(NOTABLE * ranked[0], ranked[min(MAX_WORDS, len(ranked)) - 1])
    notable = np.flatnonzero((strength >= floor) & (strength > 0)).tolist()
    runs: list[tuple[int, int]] = []  # first and last word
    for word in notable:
        if runs and word - runs[-1][1] <= 2 and effects[word] * effects[runs[-1][1]] > 0:
            runs[-1] = (runs[-1][0], word)  # one word in between may say little
        else:
            runs.append((word, word))
    candidates = [
        Phrase(
            words.places[first][0],
            words.places[last][1],
            text[words.places[first][0] : words.places[last][1]],
            float(effects[first : last + 1].sum()),
        )
        for first, last in runs
    ]
    return tuple(sorted(candidates, key=lambda phrase: -abs(phrase.effect))[:MAX_PHRASES])


def pooled(logits: Floats, scale: Floats) -> tuple[Floats, Floats]:
    """Logits [K] of a text from those of its windows [W, K], and d text / d windows [W, K].

    The smooth maximum that the network is trained with (network.py), of logits as they were
    before calibration multiplied them by `scale` [K]: it is fitted on the maximum.
    """
    top = logits.max(0)
    weights = np.exp((logits - top) / scale)
    total = weights.sum(0)
    return top + scale * np.log(total / len(logits)), weights / total


def _is_inside_word(text: str, at: int) -> bool:
    """Whether a word goes on at a character; scripts without spaces have one word a character."""
    before, here = text[at - 1], text[at]
    return before.isalnum() and here.isalnum() and not ("\u2e80" <= here <= "\u9fff")


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    """Without the space that some tokenizers count to a word."""
    while start < end - 1 and text[start].isspace():
        start += 1
    while end > start + 1 and text[end - 1].isspace():
        end -= 1
    return start, end
