"""Scores many texts with a network, in passes of so many windows that no text is too long.

texts -> windows, sorted by length so that little is padding -> what each says -> texts
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from spt_core.families.text.network import TextNetwork, pooled
from spt_core.families.text.reading import EncodedText, TextEncoder, padded
from spt_core.fitting.precision import bf16_on_cpu

PASS_WINDOWS = 64
PASS_TOKENS = 16_384  # padding included
Floats = NDArray[np.float32]


class WindowedText(NamedTuple):
    """A text as its windows' ids, and its pairs [P, 5] as in TokenBatch."""

    windows: Sequence[Sequence[int] | NDArray[np.int32]]
    pairs: NDArray[Any]


class TextScores(NamedTuple):
    """Per text: uncalibrated logits [items, K], and mean token states of windows [windows, H]."""

    logits: list[Floats]
    states: list[Floats]


def score_texts(
    network: TextNetwork, encoder: TextEncoder, texts: Sequence[EncodedText]
) -> TextScores:
    """The scores of texts, in their order."""
    return score_windows(network, [_windowed(text) for text in texts], encoder.pad)


@torch.no_grad()
def score_windows(
    network: TextNetwork, texts: Sequence[WindowedText], pad: int, *, is_bf16: bool = False
) -> TextScores:
    """The scores of texts, in their order; in bf16 on a CPU, if asked for."""
    network.eval()
    special = network.special.numpy()
    places = [(i, w) for i, text in enumerate(texts) for w in range(len(text.windows))]
    logits = [[np.empty((0, 0), np.float32)] * len(text.windows) for text in texts]
    states = [[np.empty(0, np.float32)] * len(text.windows) for text in texts]
    for chosen in _passes([len(texts[i].windows[w]) for i, w in places]):
        part = [places[at] for at in chosen]
        features = padded([texts[i].windows[w] for i, w in part], pad)
        pairs = [texts[i].pairs[texts[i].pairs[:, 0] == w] for i, w in part]
        with bf16_on_cpu(asked=is_bf16, num_tokens=features.shape[1]):
            outputs, state = network(
                torch.from_numpy(features),
                torch.arange(len(part)),  # each window for itself: texts are pooled below
                torch.from_numpy(_renumbered(pairs)),
                with_state=True,
            )
        counts = _counts(network.head, features, pairs, special)
        for (i, w), items, mean in zip(part, outputs.float().split(counts), state, strict=True):
            logits[i][w], states[i][w] = items.numpy(), mean.float().numpy()
    joined = [
        _of_text(network.head, text, np.concatenate(of_windows))
        for text, of_windows in zip(texts, logits, strict=True)
    ]
    return TextScores(joined, [np.stack(of_windows) for of_windows in states])


def _windowed(text: EncodedText) -> WindowedText:
    pairs = [(p.window, *p.first_tokens, *p.second_tokens) for p in text.pairs]
    return WindowedText(
        [window.ids for window in text.windows],
        np.array(pairs, np.int64).reshape(len(pairs), 5),
    )


def _passes(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of windows of about one length, as many as one pass takes, at least one."""
    held: list[int] = []
    for at in np.argsort(sizes, kind="stable").tolist():
        if held and (len(held) == PASS_WINDOWS or (len(held) + 1) * sizes[at] > PASS_TOKENS):
            yield held
            held = []
        held.append(at)
    if held:
        yield held


def _renumbered(pairs: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """The pairs [P, 5] of several windows in a row, with these windows' numbers."""
    numbers = np.repeat(np.arange(len(pairs)), [len(part) for part in pairs])
    return np.column_stack([numbers, np.concatenate(pairs)[:, 1:]]).astype(np.int64)


def _counts(
    head: str,
    features: NDArray[np.int64],
    pairs: Sequence[NDArray[Any]],
    special: NDArray[np.int64],
) -> list[int]:
    """The items of each window."""
    match head:
        case "pair":
            return [len(part) for part in pairs]
        case "span":
            return (~np.isin(features, special)).sum(1).tolist()
        case _:
            return [1] * len(features)


def _of_text(head: str, text: WindowedText, logits: Floats) -> Floats:
    """Logits of a text's items from those of its windows' items, window by window."""
    match head:
        case "pair":
            item_logits = np.empty_like(logits)
            item_logits[np.argsort(text.pairs[:, 0], kind="stable")] = logits
            return item_logits
        case "span":
            return logits
        case _:
            owner = torch.zeros(len(logits), dtype=torch.long)
            return pooled(torch.from_numpy(logits), owner).numpy()
