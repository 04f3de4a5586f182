"""One worker's texts in batches with next to no padding; order is a function of (seed, epoch).

Rows are shuffled, then sorted by length within pools of many batches, and the batches are dealt in
random order: texts of one batch are about equally long, and no two epochs see the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from spt_core.tokens import padded
from spt_core.training.shards import Batch

POOL_BATCHES = 50
BUFFER_ROWS = 50_000


class TokenRows(NamedTuple):
    """Encoded texts; each is a list of arrays, one entry a row.

    `ids` int32 [tokens of all windows], `lengths` int32 [windows], `targets` float32 [items, K],
    `weights` float32 [items], `pairs` int32 [items, 5] for the pair head and [0, 5] else, `states`
    float32 [windows, H], or [0, 0] where nothing is known of them.
    """

    ids: Sequence[NDArray[np.int32]]
    lengths: Sequence[NDArray[np.int32]]
    targets: Sequence[NDArray[np.float32]]
    weights: Sequence[NDArray[np.float32]]
    pairs: Sequence[NDArray[np.int32]]
    states: Sequence[NDArray[np.float32]]


def token_rows(batch: dict[str, NDArray[Any]], num_targets: int) -> TokenRows:
    """The rows that `data/tokenizing.py` made of one batch, lists being flat there."""
    states = batch.get("states")
    lengths = [np.asarray(x, np.int32) for x in batch["lengths"]]
    return TokenRows(
        [np.asarray(x, np.int32) for x in batch["ids"]],
        lengths,
        [np.asarray(x, np.float32).reshape(-1, num_targets) for x in batch["targets"]],
        [np.asarray(x, np.float32) for x in batch["weights"]],
        [np.asarray(x, np.int32).reshape(-1, 5) for x in batch["pairs"]],
        [np.zeros((0, 0), np.float32)] * len(lengths)
        if states is None
        else [
            np.asarray(x, np.float32).reshape(len(size), -1)
            for x, size in zip(states, lengths, strict=True)
        ],
    )


def join_rows(parts: Sequence[TokenRows]) -> TokenRows:
    """All rows of several."""
    return TokenRows(
        *([x for column in columns for x in column] for columns in zip(*parts, strict=True))
    )


class TokenShard:
    """A shard whose texts are all here."""

    def __init__(self, rows: TokenRows, *, pad: int, seed: int) -> None:
        self._rows, self._pad, self._seed = rows, pad, seed
        self._sizes = np.array([x.max(initial=0) for x in rows.lengths])
        self.num_rows = len(rows.ids)

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
            yield self._batch(chunk)

    def _batch(self, chosen: NDArray[np.int64]) -> Batch:
        rows = self._rows
        windows: list[NDArray[np.int32]] = []
        owner: list[int] = []
        pairs: list[NDArray[np.int32]] = []
        for number, row in enumerate(chosen):
            lengths = rows.lengths[row]
            moved = rows.pairs[row].copy()
            moved[:, 0] += len(windows)
            pairs.append(moved)
            windows += np.split(rows.ids[row], np.cumsum(lengths)[:-1])
            owner += [number] * len(lengths)
        states = (
            np.concatenate([rows.states[row] for row in chosen]) if rows.states[0].size else None
        )
        return Batch(
            (
                torch.from_numpy(padded(windows, self._pad)),
                torch.tensor(owner),
                torch.from_numpy(np.concatenate(pairs).astype(np.int64)),
            ),
            torch.from_numpy(np.concatenate([rows.targets[row] for row in chosen])),
            torch.from_numpy(np.concatenate([rows.weights[row] for row in chosen])),
            None if states is None else torch.from_numpy(states),
        )


class TokenStreamShard:
    """A shard that is read again every epoch, in buffers that are shuffled each."""

    def __init__(
        self, read: Callable[[], Iterator[TokenRows]], *, num_rows: int, pad: int, seed: int
    ) -> None:
        self._read, self._pad, self._seed = read, pad, seed
        self.num_rows = num_rows

    def batches(self, *, size: int, epoch: int, shuffle: bool, start: int = 0) -> Iterator[Batch]:
        """Batches of about equally long texts, buffer by buffer."""
        number = 0
        for index, rows in enumerate(self._buffers(size)):
            seed = (self._seed * 1_009 + index) % 2**31
            shard = TokenShard(rows, pad=self._pad, seed=seed)
            for batch in shard.batches(size=size, epoch=epoch, shuffle=shuffle):
                if number >= start:
                    yield batch
                number += 1

    def _buffers(self, size: int) -> Iterator[TokenRows]:
        wanted = max(BUFFER_ROWS // size, 1) * size
        held: list[TokenRows] = []
        count = 0
        for rows in self._read():
            held.append(rows)
            count += len(rows.ids)
            while count >= wanted:
                joined = join_rows(held)
                yield TokenRows(*(column[:wanted] for column in joined))
                held = [TokenRows(*(column[wanted:] for column in joined))]
                count -= wanted
        if count:
            yield join_rows(held)
