"""One worker's texts in batches with next to no padding; order is a function of (seed, epoch).

Rows are shuffled, then sorted by length within pools of many batches, and the batches are dealt in
random order: texts of one batch are about equally long, and no two epochs see the same batches.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from spt_core.tokens import padded
from spt_core.training.shards import Batch

POOL_BATCHES = 50
BUFFER_ROWS = 50_000


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


class TokenShard:
    """A shard whose texts are all here."""

    def __init__(self, rows: Sequence[TokenRow], *, pad: int, seed: int) -> None:
        self._rows, self._pad, self._seed = rows, pad, seed
        self._sizes = np.array([row.lengths.max(initial=0) for row in rows])
        self.num_rows = len(rows)

    def batches(self, *, size: int, epoch: int, shuffle: bool, start: int = 0) -> Iterator[Batch]:
        """Batches of `size` texts of about one length."""
        draw = np.random.default_rng([self._seed, epoch])
        order = draw.permutation(self.num_rows) if shuffle else np.arange(self.num_rows)
        chunks: list[NDArray[np.int64]] = []
        for pool in np.split(order, range(POOL_BATCHES * size, self.num_rows, POOL_BATCHES * size)):
            pool = pool[np.argsort(self._sizes[pool], kind="stable")]
            chunks += np.split(pool, range(size, len(pool), size))
        if shuffle:
            chunks = [chunks[i] for i in draw.permutation(len(chunks))]
        for chunk in chunks[start:]:
            yield token_batch([self._rows[i] for i in chunk], self._pad)


class TokenStreamShard:
    """A shard that is read again every epoch, in buffers that are shuffled each."""

    def __init__(
        self, read: Callable[[], Iterator[TokenRow]], *, num_rows: int, pad: int, seed: int
    ) -> None:
        self._read, self._pad, self._seed = read, pad, seed
        self.num_rows = num_rows

    def batches(self, *, size: int, epoch: int, shuffle: bool, start: int = 0) -> Iterator[Batch]:
        """Batches of about equally long texts, buffer by buffer."""
        rows, number = self._read(), 0
        wanted = max(BUFFER_ROWS // size, 1) * size
        for index in itertools.count():
            held = list(itertools.islice(rows, wanted))
            if not held:
                return
            seed = (self._seed * 1_009 + index) % 2**31
            shard = TokenShard(held, pad=self._pad, seed=seed)
            for batch in shard.batches(size=size, epoch=epoch, shuffle=shuffle):
                if number >= start:
                    yield batch
                number += 1


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
