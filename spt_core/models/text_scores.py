"""Scores many texts with a network, sorted by length so that little is padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from spt_core.models.text import TextNetwork
from spt_core.tokens import EncodedText, TextEncoder

BATCH_TEXTS = 64
POOL_TEXTS = 4096


class TextScores(NamedTuple):
    """Per text: uncalibrated logits [items, K], and mean token states of windows [windows, H]."""

    logits: list[NDArray[np.float32]]
    states: list[NDArray[np.float32]]


@torch.no_grad()
def score_texts(
    network: TextNetwork, encoder: TextEncoder, texts: Sequence[EncodedText]
) -> TextScores:
    """The scores of texts, in their order."""
    network.eval()
    sizes = [max((len(w.ids) for w in text.windows), default=0) for text in texts]
    order = sorted(range(len(texts)), key=sizes.__getitem__)
    logits: list[NDArray[np.float32]] = [np.empty((0, 0), np.float32)] * len(texts)
    states = list(logits)
    for start in range(0, len(order), BATCH_TEXTS):
        chosen = order[start : start + BATCH_TEXTS]
        part = [texts[i] for i in chosen]
        arrays = (torch.from_numpy(array) for array in encoder.batch(part))
        found, state = network(*arrays, with_state=True)
        counts = [_num_items(network, text) for text in part]
        windows = [len(text.windows) for text in part]
        for i, items, window_states in zip(
            chosen, found.float().split(counts), state.float().split(windows), strict=True
        ):
            logits[i], states[i] = items.numpy(), window_states.numpy()
    return TextScores(logits, states)


def _num_items(network: TextNetwork, text: EncodedText) -> int:
    match network.head:
        case "pair":
            return len(text.pairs)
        case "span":
            special = set(network.special.tolist())
            return sum(token not in special for window in text.windows for token in window.ids)
        case _:
            return 1
