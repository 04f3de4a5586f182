"""Whether evidence matters: a text without its phrases, beside one without as many other words."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spt_core.answering import Answerer
from spt_core.judgement import Judgement, Labels, LabelScore, Pairs, Phrase

MAX_PHRASES = 3
_WORD = re.compile(r"\w+")


class Deletion(NamedTuple):
    """Falls of the likeliest label's log-odds [N] without its phrases, and without other words."""

    named: np.ndarray
    random: np.ndarray

    @property
    def ratio(self) -> float:
        """How many times further the odds fall without the phrases that were named."""
        return float(self.named.mean() / max(np.abs(self.random).mean(), 1e-9))


def deletion(
    answerer: Answerer, texts: Sequence[str], *, seed: int = 0, num_draws: int = 5
) -> Deletion:
    """Delete the positive phrases of each text's likeliest label, and random words of their count.

    Texts without a positive phrase, or with fewer words left than the phrases have, are left out.
    """
    draw, named, random = np.random.default_rng(seed), [], []
    for text in texts:
        before = likeliest(_judge(answerer, text))
        if before is None:
            continue
        said = [reason for reason in before.reasons if isinstance(reason, Phrase)]
        phrases = [phrase for phrase in said if phrase.effect > 0][:MAX_PHRASES]
        inside = np.zeros(len(text), np.bool_)
        for phrase in phrases:
            inside[phrase.start : phrase.end] = True
        words = [m.span() for m in _WORD.finditer(text)]
        chosen = [w for w in words if inside[w[0] : w[1]].any()]
        others = [w for w in words if not inside[w[0] : w[1]].any()]
        if not chosen or len(others) <= len(chosen):
            continue
        odds = _odds(before.probability)
        named.append(odds - _odds_without(answerer, text, chosen, before.label))
        falls = [
            odds
            - _odds_without(
                answerer,
                text,
                [others[i] for i in draw.choice(len(others), len(chosen), replace=False)],
                before.label,
            )
            for _ in range(num_draws)
        ]
        random.append(np.mean(falls))
    return Deletion(np.array(named), np.array(random))


def likeliest(judgement: Judgement) -> LabelScore | None:
    """The most probable label of a text, or of its first pair."""
    if isinstance(judgement, Pairs):
        return judgement.pairs[0].scores[0] if judgement.pairs else None
    assert isinstance(judgement, Labels), "of texts that have labels"
    return judgement.scores[0]


def _judge(answerer: Answerer, text: str) -> Judgement:
    return answerer.judge({answerer.task.text_field.name: text})


def _odds_without(
    answerer: Answerer, text: str, words: Sequence[tuple[int, int]], label: str
) -> float:
    kept = list(text)
    for start, end in words:
        kept[start:end] = " " * (end - start)
    judgement = _judge(answerer, "".join(kept))
    assert isinstance(judgement, Labels), "of texts that have labels"
    scores = judgement.scores
    return _odds(next(score.probability for score in scores if score.label == label))


def _odds(probability: float) -> float:
    bounded = min(max(probability, 1e-9), 1 - 1e-9)
    return math.log(bounded / (1 - bounded))
