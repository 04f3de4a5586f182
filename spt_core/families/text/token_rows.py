"""Encoded texts as training takes them: rows of a table -> TokenRow -> a batch of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from spt_core.families.text.reading import padded
from spt_core.fitting.shards import Batch


class TokenRow(NamedTuple):
    """One encoded text.

    `ids` int32 [tokens of all windows], `lengths` int32 [windows], `targets` float32 [items, K],
    `weights` float32 [items], `pairs` int32 [items, 5] for the pair head and [0, 5] else, `states`
    float32 [windows, H] of a teacher, or [windows, 0] where there is none.
    """

    ids: NDArray[np.int32]
    lengths: NDArray[np.int32]
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]
    pairs: NDArray[np.int32]
    states: NDArray[np.float32]


def token_rows(batch: Mapping[str, NDArray[Any]], num_targets: int) -> list[TokenRow]:
    """The rows that `encoding.py` made of one batch, lists being flat there."""
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


def windows_of(row: TokenRow) -> list[NDArray[np.int32]]:
    """The ids of each window."""
    return np.split(row.ids, np.cumsum(row.lengths)[:-1])


def with_windows(row: TokenRow, chosen: NDArray[np.int64], pad: int) -> TokenRow:
    """The row with only these of its windows, by number and in order, and only their items."""
    kept = _items_in(row, chosen, pad)
    pairs = row.pairs[np.isin(row.pairs[:, 0], chosen)]
    numbers = np.searchsorted(chosen, pairs[:, 0])
    windows = windows_of(row)
    return TokenRow(
        np.concatenate([windows[number] for number in chosen]),
        row.lengths[chosen],
        row.targets[kept],
        row.weights[kept],
        np.column_stack([numbers, pairs[:, 1:]]).astype(np.int32),
        row.states[chosen],
    )


def token_batch(rows: Sequence[TokenRow], pad: int) -> Batch:
    """Rows as a batch: (features [W, T], owner [W], pairs [P, 5]), targets [N, K], weights [N]."""
    windows: list[NDArray[np.int32]] = []
    owner: list[int] = []
    pairs: list[NDArray[np.int32]] = []
    for number, row in enumerate(rows):
        pairs.append(row.pairs + np.array([len(windows), 0, 0, 0, 0], np.int32))
        windows += windows_of(row)
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


def _items_in(row: TokenRow, chosen: NDArray[np.int64], pad: int) -> NDArray[np.bool_]:
    """Which items [items] lie in the windows: pairs, the text as a whole, or its tokens."""
    if len(row.targets) == len(row.pairs):
        return np.isin(row.pairs[:, 0], chosen)
    if len(row.targets) == 1:
        return np.ones(1, np.bool_)
    # A window's first and last tokens are special, and no items wherever a text spells them out.
    of_text = ~np.isin(row.ids, [pad, row.ids[0], row.ids[-1]])
    return np.isin(np.repeat(np.arange(len(row.lengths)), row.lengths)[of_text], chosen)
