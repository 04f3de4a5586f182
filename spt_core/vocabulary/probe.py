"""A base as it is, without training: texts -> mean token states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from spt_core.families.text.bases import Base, build_encoder
from spt_core.families.text.reading import open_tokenizer, padded
from spt_core.vocabulary.raw_text import PADS, token_of

_BATCH = 64


class FrozenEncoder:
    """A base that turns texts into their mean token state."""

    def __init__(self, base: Base, max_tokens: int = 128) -> None:
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer = open_tokenizer(base.tokenizer)
        room = base.config.get("max_position_embeddings", max_tokens)
        self._tokenizer.enable_truncation(min(max_tokens, room))
        self._pad = token_of(self._tokenizer, PADS)
        self._size: int = base.config["hidden_size"]
        self._encoder = build_encoder(base.config).eval()
        self._encoder.load_state_dict(base.weights())
        self._encoder.to(self._device)

    @torch.inference_mode()
    def states(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The mean token state [N, H] of each text's first `max_tokens` tokens."""
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        means = np.zeros((len(ids), self._size), np.float32)
        for start in range(0, len(order), _BATCH):
            some = order[start : start + _BATCH]
            features = torch.from_numpy(padded([ids[i] for i in some], self._pad))
            features = features.to(self._device)
            mask = features != self._pad
            output = self._encoder(input_ids=features, attention_mask=mask.long())
            share = mask / mask.sum(1, keepdim=True)
            states = (output.last_hidden_state * share.unsqueeze(2)).sum(1)
            means[some] = states.float().cpu().numpy()
        return means
