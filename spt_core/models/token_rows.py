"""Encoded texts as training takes them: rows of a table -> TokenRow -> a batch of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from spt_core.models.batch import Batch
from spt_core.tokens import padded


class TokenRow(NamedTuple):
    """One encoded text.

    `ids` int32 [tokens of all windows], `lengths` int32 [windows], `targets` float32 [items, K],
    `weights` float32 [items], `pairs` int32 [items, 5] for the pair head and [0, 5] else, `states`
    float32 [windows, H] of a teacher, or [0, 0] where there is none.
    """

    ids: NDArray[np.int32]
    lengths: NDArray[np.int32]
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]
    pairs: NDArray[np.int32]
    states: NDArray[np.float32]


def token_rows(batch: Mapping[str, NDArray[Any]], num_targets: int) -> list[TokenRow]:
    """The rows that `data/tokenizing.py` made of one batch, lists being flat there."""
    states = batch.get("states", [np.empty(0, np.float32)] * len(batch["ids"]))
    columns = (batch[name] for name in ("ids", "lengths", "targets", "weights", "pairs"))
    return [
        TokenRow(
            np.asarray(ids, np.int32),
            np.asarray(lengths, np.int32),
            np.asarray(targets, np.float32).reshape(-1, num_targets),
            np.asarray(weights, np.float32),
            np.asarray(pairs, np.int32).reshape(-1, 5),
            np.asarray(state, np.float32).reshape(len(lengths), -1),
        )
        for ids, lengths, targets, weights, pairs, state in zip(*columns, states, strict=True)
    ]


def token_batch(rows: Sequence[TokenRow], pad: int) -> Batch:
    """Rows as a batch: (features [W, T], owner [W], pairs [P, 5]), targets [N, K], weights [N]."""
    windows: list[NDArray[np.int32]] = []
    owner: list[int] = []
    pairs: list[NDArray[np.int32]] = []
    for number, row in enumerate(rows):
        pairs.append(row.pairs + np.array([len(windows), 0, 0, 0, 0], np.int32))
        windows += np.split(row.ids, np.cumsum(row.lengths)[:-1])
        owner += [number] * len(row.lengths)
    inputs = (
        torch.from_numpy(padded(windows, pad)),
        torch.tensor(owner),
        torch.from_numpy(np.concatenate(pairs).astype(np.int64)),
    )
    targets = torch.from_numpy(np.concatenate([row.targets for row in rows]))
    weights = torch.from_numpy(np.concatenate([row.weights for row in rows]))
    states = np.concatenate([row.states for row in rows])
    return Batch(inputs, targets, weights, torch.from_numpy(states) if states.size else None)
