"""What a model of images sees, for a reader: right and wrong pictures with their maps, deletion.

Answerer + held-out rows -> pictures as PNG in base64; the effect of hiding what the map shows
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answering import Answerer
from spt_core.benchmark.subject import beaten_shares
from spt_core.data.splits import sampled_places
from spt_core.heads.base import Floats
from spt_core.heads.outcomes import Outcomes
from spt_core.images import Pixels, decoded
from spt_core.judgement import AttentionMap, Decision, Labels, seen_in
from spt_core.overlays import overlay

NUM_PICTURES = 4  # right ones, and as many wrong ones
SHOWN_PX = 160
DELETED_SHARE = 0.2  # of the places
DELETION_ROWS = 60
NUM_ELSEWHERE = 5  # regions of the same shape, of each picture
NUM_RESAMPLES = 1000
MIN_PLACES = 9  # of a map, below which a share of it is nothing


def picture_facts(answerer: Answerer, table: pa.Table, of: Outcomes) -> list[dict[str, Any]]:
    """Right and wrong answers, the surest of either, with what the answer rests on.

    Wrong ones are of as many true classes as there are; empty for a model of something else.
    """
    subject = answerer.task.subject
    if subject is None or subject.kind != "image" or table.num_rows != len(of.labels):
        return []
    head = answerer.head
    given, true = head.said(of), head.said(of, of_labels=True)
    right = np.array([a == b for a, b in zip(given, true, strict=True)])
    sure = of.probabilities.max(1)
    chosen = [*_surest(sure, right, true), *_surest(sure, ~right, true)]
    facts: list[dict[str, Any]] = []
    for row in chosen:
        content = table[subject.name][row].as_py()
        _, attention = seen_in(answerer.judge({subject.name: content}))
        facts.append(
            {
                "is_right": bool(right[row]),
                "true": ", ".join(true[row]) or "none",
                "given": ", ".join(given[row]) or "none",
                "probability": float(sure[row]),
                "png": base64.b64encode(
                    overlay(content, attention.effects, longest_px=SHOWN_PX)
                ).decode(),
            }
        )
    return facts


def deletion_facts(answerer: Answerer, table: pa.Table, *, seed: int = 0) -> dict[str, float]:
    """How far an answer falls when the places that its map names are hidden, beside random ones.

    DELETED_SHARE of the places are painted in the picture's mean level: those of greatest effect,
    or the same shape elsewhere, moved around the picture at random, NUM_ELSEWHERE times. `drop` and
    `random_drop` are the mean falls of the likeliest class' log-odds (Samek et al., "Evaluating the
    visualization of what a deep neural network has learned", 2017), `difference_low` and
    `difference_high` the 95 % interval of how much larger the first is, `share_larger` how often it
    is larger than one of the others, 0.5 by chance (subject.beaten_shares). Empty for a model of
    something else, and where the map is too coarse.
    """
    subject = answerer.task.subject
    if subject is None or subject.kind != "image":
        return {}
    draw = np.random.default_rng(seed)
    drops: list[list[float]] = []  # of each picture those of its map, then those elsewhere
    num_places = 0
    chosen_rows = sampled_places(table.num_rows, DELETION_ROWS)
    for content in table[subject.name].take(pa.array(chosen_rows)).to_pylist():
        picture = decoded(content, "an image must")
        attention = _likeliest_map(answerer, {subject.name: content})
        effects = np.array(attention.effects)
        if effects.size < MIN_PLACES:
            return {}
        num_places, mask = effects.size, _strongest(effects)
        score = _log_odds(answerer, subject.name, picture.pixels)
        place = int(score.argmax())
        falls = [
            float(score[place] - _log_odds(answerer, subject.name, hidden)[place])
            for hidden in (
                _hidden(picture.pixels, chosen) for chosen in (mask, *_elsewhere(mask, draw))
            )
        ]
        drops.append(falls)
    own, others = np.array(drops)[:, 0], np.array(drops)[:, 1:]
    differences = own - others.mean(1)
    resampled = differences[draw.integers(0, len(differences), (NUM_RESAMPLES, len(differences)))]
    low, high = np.quantile(resampled.mean(1), [0.025, 0.975])
    return {
        "num_rows": float(len(own)),
        "num_places": float(num_places),
        "deleted_share": DELETED_SHARE,
        "drop": float(own.mean()),
        "random_drop": float(others.mean()),
        "difference_low": float(low),
        "difference_high": float(high),
        "share_larger": float(beaten_shares(own, others.T).mean()),
    }


def _strongest(effects: Floats) -> NDArray[np.bool_]:
    """DELETED_SHARE of the places of a map, those that speak most for the class."""
    num_hidden = max(round(DELETED_SHARE * effects.size), 1)
    mask = np.zeros(effects.size, np.bool_)
    mask[np.argsort(-effects, axis=None)[:num_hidden]] = True
    return mask.reshape(effects.shape)


def _elsewhere(mask: NDArray[np.bool_], draw: np.random.Generator) -> list[NDArray[np.bool_]]:
    """The same shape moved at random, what leaves the picture coming in on the other side."""
    moves = draw.integers(1, mask.size, NUM_ELSEWHERE)
    return [np.roll(mask, divmod(int(move), mask.shape[1]), (0, 1)) for move in moves]


def _surest(sure: Floats, chosen: NDArray[np.bool_], true: Sequence[tuple[str, ...]]) -> list[int]:
    """Some of the chosen rows, the surest first, the classes taking turns."""
    turns: dict[tuple[str, ...], int] = {}
    ranked: list[tuple[int, float, int]] = []
    for row in np.argsort(-sure, kind="stable").tolist():
        if chosen[row]:
            turns[true[row]] = turns.get(true[row], 0) + 1
            ranked.append((turns[true[row]], -float(sure[row]), row))
    return [row for _, _, row in sorted(ranked)[:NUM_PICTURES]]


def _likeliest_map(answerer: Answerer, record: dict[str, Any]) -> AttentionMap:
    judgement = answerer.judge(record)
    own = judgement.attention if isinstance(judgement, Decision) else None
    if isinstance(judgement, Labels):
        own = judgement.scores[0].attention
    assert own is not None, "the likeliest class is explained always"
    return own


def _log_odds(answerer: Answerer, name: str, pixels: Pixels) -> Floats:
    """Log-odds [K] of the classes, or of yes."""
    outputs = np.clip(answerer.outputs({name: pixels})[0], 1e-9, 1 - 1e-9)
    return np.log(outputs) - np.log1p(-outputs)


def _hidden(pixels: Pixels, mask: NDArray[np.bool_]) -> Pixels:
    """The pixels with some places of a grid in their mean level."""
    height, width = pixels.shape[:2]
    grid = zip((height, width), mask.shape, strict=True)
    rows, columns = (np.arange(size) * places // size for size, places in grid)
    hidden, level = pixels.copy(), pixels.mean((0, 1))
    hidden[mask[np.ix_(rows, columns)]] = level.astype(pixels.dtype)
    return hidden
