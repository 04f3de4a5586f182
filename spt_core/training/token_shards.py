"""One worker's texts in batches with next to no padding; order is a function of (seed, epoch).

Rows are shuffled, then sorted by length within pools of many batches, and the batches are dealt in
random order: texts of one batch are about equally long, and no two epochs see the same batches.

A step's memory grows with the windows of its texts, so that a long one shows only some of them, by
its number and (seed, epoch). Early stopping sees the same ones every time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from spt_core.models.batch import Batch
from spt_core.models.token_rows import TokenRow, token_batch, with_windows

POOL_BATCHES = 50
BUFFER_ROWS = 50_000
STEP_WINDOWS = 16  # of one text, at most


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
            yield token_batch([self._shown(i, epoch) for i in chunk.tolist()], self._pad)

    def _shown(self, number: int, epoch: int) -> TokenRow:
        """A row; of a long one some windows, where pairs are asked for some that hold any."""
        row = self._rows[number]
        if len(row.lengths) <= STEP_WINDOWS:
            return row
        windows = np.unique(row.pairs[:, 0]) if len(row.pairs) else np.arange(len(row.lengths))
        draw = np.random.default_rng([self._seed, epoch, number])
        return with_windows(row, np.sort(draw.permutation(windows)[:STEP_WINDOWS]), self._pad)


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
