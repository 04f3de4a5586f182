"""Whether evidence matters: a text without its phrases, beside one without as many other words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from spt_core.families.text.serving import TextAnswerer
from spt_core.judgement import LabelScore
from spt_core.task import TextJudgement

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
    answerer: TextAnswerer, texts: Sequence[str], *, seed: int = 0, num_draws: int = 5
) -> Deletion:
    """Delete the positive phrases of each text's likeliest label, and random words of their count.

    Texts without a positive phrase, or with fewer words left than the phrases have, are left out.
    """
    draw, named, random = np.random.default_rng(seed), [], []
    for text in texts:
        before = likeliest(_judge(answerer, text))
        if before is None:
            continue
        phrases = [e for e in before.evidence if e.effect > 0][:MAX_PHRASES]
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


def likeliest(judgement: TextJudgement) -> LabelScore | None:
    """The most probable label of a text, or of its first pair."""
    scores = judgement.scores or (judgement.pairs[0].scores if judgement.pairs else ())
    return scores[0] if scores else None


def _judge(answerer: TextAnswerer, text: str) -> TextJudgement:
    record: Mapping[str, Any] = {answerer.task.text_field.name: text}
    return answerer.judge(answerer.read(record))


def _odds_without(
    answerer: TextAnswerer, text: str, words: Sequence[tuple[int, int]], label: str
) -> float:
    kept = list(text)
    for start, end in words:
        kept[start:end] = " " * (end - start)
    scores = _judge(answerer, "".join(kept)).scores
    return _odds(next(score.probability for score in scores if score.label == label))


def _odds(probability: float) -> float:
    bounded = min(max(probability, 1e-9), 1 - 1e-9)
    return math.log(bounded / (1 - bounded))
