"""Texts of a split as what networks train on, and one worker's, in batches with little padding.

Splits -> token ids and targets, made once and kept by Ray Data -> shards, in an order that is a
function of (seed, epoch).

Rows are shuffled, then sorted by length within pools of many batches, and the batches are dealt in
random order: texts of one batch are about equally long, and no two epochs see the same batches.

A step's memory grows with the windows of its texts, so that a long one shows only some of them, by
its number and (seed, epoch). Early stopping sees the same ones every time.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spt_core.artifacts import filesystem
from spt_core.data.partition import Part
from spt_core.data.read import Dataset
from spt_core.data.splits import Splits, table_of
from spt_core.families.text.encoding import encode_rows, targets_of, text_encoder, tokenize_batch
from spt_core.families.text.reading import EncodedText, TextEncoder
from spt_core.families.text.token_rows import TokenRow, token_batch, with_windows
from spt_core.fitting.shards import Batch
from spt_core.task import Task

POOL_BATCHES = 50
BUFFER_ROWS = 50_000
STEP_WINDOWS = 16  # of one text, at most
FACT_TEXTS = 2_000
SCORED_TEXTS = 500  # whose windows are held at a time


class Vocabulary(NamedTuple):
    """A tokenizer with the sizes of the windows that it fills."""

    tokenizer: bytes
    max_tokens: int
    overlap: int

    def encoder(self) -> TextEncoder:
        """The encoder, built once per process."""
        return text_encoder(*self)


def token_dataset(
    splits: Splits,
    part: Part,
    task: Task,
    words: Vocabulary,
    facts: Mapping[str, Any],
    weights: Mapping[str, float] | None = None,
) -> Dataset:
    """A part as token ids and targets, made once and kept by Ray Data."""
    spans = task.spans_field
    rows = splits.dataset(part).map_batches(
        tokenize_batch,  # pyright: ignore[reportArgumentType]  # ray's type has no keywords
        batch_format="pyarrow",
        fn_kwargs={
            "tokenizer": words.tokenizer,
            "sizes": (words.max_tokens, words.overlap),
            "facts": json.dumps(facts),
            "text": task.text_field.name,
            "spans": None if spans is None else spans.name,
            "label": splits.label,
            "class_weights": dict(weights or {}),
        },
    )
    return kept_in_order(rows)


def kept_in_order(rows: Dataset) -> Dataset:
    """The rows, made once and kept by Ray Data."""
    # The order of rows is part of what a seed promises; each read has a context of its own.
    rows.context.execution_options.preserve_order = True
    return rows.materialize()


def with_targets(
    table: pa.Table, label: str, task: Task, words: Vocabulary, facts: Mapping[str, Any]
) -> Iterator[tuple[list[EncodedText], list[NDArray[np.float32]]]]:
    """The rows' texts with their targets [items, K], so many at a time that memory holds them."""
    for start in range(0, table.num_rows, SCORED_TEXTS):
        some = table.slice(start, SCORED_TEXTS)
        texts, labels = encoded(some, task, words), some[label].to_pylist()
        yield texts, [targets_of(facts, v, text) for v, text in zip(labels, texts, strict=True)]


def encoded(table: pa.Table, task: Task, words: Vocabulary) -> list[EncodedText]:
    """The texts of rows as windows."""
    spans = task.spans_field
    return encode_rows(
        words.encoder(),
        table,
        text=task.text_field.name,
        spans=None if spans is None else spans.name,
        head=task.head,
    )


def num_long(rows: Dataset) -> int:
    """How many texts of a token dataset have more windows than a step of training looks at."""
    batch: Any  # a table, as asked for; the signature says "any batch"
    count = 0
    for batch in rows.select_columns("lengths").iter_batches(batch_format="pyarrow"):
        sizes = pc.list_value_length(batch["lengths"])
        count += pc.sum(pc.greater(sizes, STEP_WINDOWS)).as_py() or 0
    return count


def mean_tokens(splits: Splits, task: Task, words: Vocabulary) -> float:
    """Tokens of a training text, special ones of all its windows included."""
    texts = encoded(table_of(splits.files("train"), FACT_TEXTS), task, words)
    return float(np.mean([sum(len(w.ids) for w in text.windows) for text in texts]))


def column_rows(splits: Splits, part: Part, *names: str) -> Iterator[tuple[Any, ...]]:
    """Some columns of a part, row by row."""
    for columns in column_batches(splits, part, *names):
        yield from zip(*columns, strict=True)


def column_batches(splits: Splits, part: Part, *names: str) -> Iterator[list[list[Any]]]:
    """Some columns of a part, some thousand rows at a time."""
    for uri in splits.files(part):
        files, path = filesystem(uri)
        file = pq.ParquetFile(path, filesystem=files)
        for batch in file.iter_batches(batch_size=8192, columns=list(names)):
            yield [batch.column(name).to_pylist() for name in names]


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
        buffer_rows = max(BUFFER_ROWS // size, 1) * size
        for index in itertools.count():
            held = list(itertools.islice(rows, buffer_rows))
            if not held:
                return
            seed = (self._seed * 1_009 + index) % 2**31
            shard = TokenShard(held, pad=self._pad, seed=seed)
            for batch in shard.batches(size=size, epoch=epoch, shuffle=shuffle):
                if number >= start:
                    yield batch
                number += 1
