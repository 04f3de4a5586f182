"""A quick score of a base for a task, in seconds: a logistic regression on its frozen states.

It ranks bases; it is not the score of a trained model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from spt_core.errors import InputError
from spt_core.models.bases import Base, build_encoder
from spt_core.task import Head
from spt_core.tokens import open_tokenizer, padded
from spt_core.training.masked_lm import PADS, token_of

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
        ids = [found.ids for found in self._tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        made = np.zeros((len(ids), self._size), np.float32)
        for start in range(0, len(order), _BATCH):
            some = order[start : start + _BATCH]
            features = torch.from_numpy(padded([ids[i] for i in some], self._pad))
            features = features.to(self._device)
            mask = features != self._pad
            found = self._encoder(input_ids=features, attention_mask=mask.long())
            share = mask / mask.sum(1, keepdim=True)
            states = (found.last_hidden_state * share.unsqueeze(2)).sum(1)
            made[some] = states.float().cpu().numpy()
        return made


class Probe:
    """Macro-F1 of a logistic regression on a frozen base, on held-out rows: `probe(base)`."""

    def __init__(
        self,
        train: tuple[Sequence[str], Sequence[Any]],
        held_out: tuple[Sequence[str], Sequence[Any]],
        *,
        max_tokens: int = 128,
    ) -> None:
        if len(set(train[1])) < 2:
            raise InputError("a probe needs two classes to learn, however: there are fewer")
        self._train, self._held_out, self._max_tokens = train, held_out, max_tokens

    def __call__(self, base: Base) -> float:
        """The macro-F1 over the held-out rows' classes."""
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.05, max_iter=500, class_weight="balanced")
        )
        encoder = FrozenEncoder(base, self._max_tokens)
        model.fit(encoder.states(self._train[0]), list(self._train[1]))
        found = model.predict(encoder.states(self._held_out[0]))
        return float(f1_score(list(self._held_out[1]), found, average="macro"))


def probe_labels(values: Sequence[Any], head: Head) -> list[str]:
    """One class a row from a task's label column; the first where there are several, else none."""
    if head in ("binary", "single_label", "ordinal"):
        return [str(value) for value in values]
    if head == "regression":
        raise InputError("a probe needs classes, however: the task's label is a number")
    return [_first_class(json.loads(value)) for value in values]


def _first_class(found: Sequence[Any]) -> str:
    """Of `[class, ...]`, `[[i, j, class], ...]` or `[{start, end, label}, ...]`."""
    names = sorted(
        item if isinstance(item, str) else item["label"] if isinstance(item, dict) else item[2]
        for item in found
    )
    return names[0] if names else "none"
