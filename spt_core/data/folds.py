"""Training rows in folds, so that a model can answer each of them without having learnt from it.

Splits -> pieces of the training rows (Parquet) -> Folds: which are answered, which are learnt from

Rows are dealt by the hash of their group or content; where there is time, a fold's rows are later
than all that its model learns from: the first half is learnt from only, the other is cut into folds
(rolling-origin evaluation: Tashman, "Out-of-sample tests of forecasting accuracy", IJF 2000).
"""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spt_core.artifacts import (
    as_uri,
    digest,
    filesystem,
    has_manifest,
    parquet_files,
    read_manifest,
    remove,
    write_manifest,
)
from spt_core.data.corpus import HASH, INSTANT, ROW
from spt_core.data.hashing import column_hashes, text_hash, uniform
from spt_core.data.labels import BINARY, LabelRule, num_saying
from spt_core.data.partition import DAY_US, Part, TimeHistogram, histogram_of
from spt_core.data.read import rows_of
from spt_core.data.splits import Splits

FIRST_SHARE = 0.5  # of rows with a time: what the first fold's model learns from


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FoldSplits(Splits):
    """The same splits with some of the training rows: those of the files `train_uris`."""

    train_uris: tuple[str, ...] = ()

    def files(self, part: Part) -> list[str]:
        """Those of the other parts are what they were."""
        return list(self.train_uris) if part == "train" else Splits.files(self, part)


class Fold(NamedTuple):
    """Training rows to be answered, and those that the model of their answers learns from.

    `learnt` is None where nothing can be learnt from, as before the first rows in time.
    """

    answered: FoldSplits
    learnt: FoldSplits | None


def folds_of(splits: Splits, num_folds: int, storage: str) -> list[Fold]:
    """The folds of the training rows, written below `storage` once; all rows are in one of them.

    Fewer where there are not as many different times; none where there is one.
    """
    name = digest([splits.uri, splits.fingerprints, num_folds])
    folder = f"{as_uri(storage)}/folds/{name}"
    if not has_manifest(folder):
        remove(folder)
        _write(splits, num_folds, folder)
    content = read_manifest(folder)
    pieces = [_Piece(**piece) for piece in content["pieces"]]
    folds: list[Fold] = []
    for number, fold in enumerate(content["folds"]):
        answered = _with_rows(splits, folder, pieces, fold["answered"], f"{name}-{number}")
        learnt = _with_rows(splits, folder, pieces, fold["learnt"], f"{name}-not-{number}")
        if answered.num_rows["train"]:
            folds.append(Fold(answered, learnt if _is_learnable(learnt) else None))
    return folds


class _Piece(NamedTuple):
    """Rows that are always together."""

    num_rows: int
    num_positives: int


def _with_rows(
    splits: Splits, folder: str, pieces: list[_Piece], chosen: list[int], name: str
) -> FoldSplits:
    fields = {f.name: getattr(splits, f.name) for f in dataclasses.fields(Splits)}
    num_rows = sum(pieces[n].num_rows for n in chosen)
    num_positives = sum(pieces[n].num_positives for n in chosen)
    return dataclasses.replace(
        FoldSplits(**fields),
        train_uris=tuple(uri for n in chosen for uri in parquet_files(f"{folder}/{n}")),
        num_rows={**splits.num_rows, "train": num_rows},
        num_positives={**splits.num_positives, "train": num_positives},
        fingerprints={**splits.fingerprints, "train": name},
    )


def _is_learnable(splits: FoldSplits) -> bool:
    """Whether there are rows, and of a decision both answers."""
    num_rows, num_positives = splits.num_rows["train"], splits.num_positives["train"]
    return num_rows > 0 and (splits.labels.head != "binary" or 0 < num_positives < num_rows)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Dealing:
    """Which piece a row is of: by the moment that one begins, or by a hash."""

    folder: str
    label: str
    labels: LabelRule = BINARY
    starts_us: tuple[int, ...] = ()
    group: str | None = None
    num_folds: int = 0
    seed: int = 0

    def pieces(self, table: pa.Table) -> NDArray[np.int64]:
        if not self.num_folds:
            times = np.asarray(table[INSTANT].cast(pa.int64()))
            return np.searchsorted(np.array(self.starts_us), times, side="right")
        keys = np.asarray(table[HASH]) if self.group is None else column_hashes(table[self.group])
        # Another draw than the one that dealt the rows to their part.
        shares = uniform(keys ^ text_hash("fold"), self.seed)
        return (shares * self.num_folds).astype(np.int64)


def _write(splits: Splits, num_folds: int, folder: str) -> None:
    dealing = _Dealing(
        folder=folder,
        label=splits.label,
        labels=splits.labels,
        group=splits.corpus.group if splits.kind == "group" else None,
        num_folds=num_folds,
        seed=splits.config.seed,
    )
    others = set(range(num_folds))
    folds = [{"answered": [n], "learnt": sorted(others - {n})} for n in range(num_folds)]
    num_pieces = num_folds
    if splits.kind == "time":
        starts = _starts_us(splits, num_folds)
        delay = round(splits.config.label_delay_days * DAY_US)
        # A label that came later than a fold's first moment could not have been learnt from.
        bounds = sorted({*starts, *(start - delay for start in starts)})
        dealing = dataclasses.replace(dealing, num_folds=0, starts_us=tuple(bounds))
        num_pieces = len(bounds) + 1
        folds = _folds_in_time(bounds, starts, delay)
    num_rows, num_positives = [0] * num_pieces, [0] * num_pieces
    written: set[tuple[int, str]] = set()
    blocks = splits.dataset("train").map_batches(
        functools.partial(_write_pieces, dealing=dealing),
        batch_size=None,
        batch_format="pyarrow",
    )
    for row in rows_of(blocks):
        for piece, file, rows, positives in json.loads(row["pieces"]):
            num_rows[piece] += rows
            num_positives[piece] += positives
            written.add((piece, file))
    for piece in range(num_pieces):  # a worker that was killed and tried again may leave a file
        for uri in parquet_files(f"{folder}/{piece}"):
            if (piece, uri.rpartition("/")[2]) not in written:
                remove(uri)
    pieces = [
        _Piece(rows, positives)._asdict()
        for rows, positives in zip(num_rows, num_positives, strict=True)
    ]
    write_manifest(folder, {"pieces": pieces, "folds": folds})


def _folds_in_time(bounds: list[int], starts: list[int], delay: int) -> list[dict[str, list[int]]]:
    """Pieces by number: piece n ends where bounds[n] begins."""
    ends = [*starts[1:], None]
    num_pieces = len(bounds) + 1

    def between(first: int | None, end: int | None) -> list[int]:
        begin = 0 if first is None else bounds.index(first) + 1
        return list(range(begin, num_pieces if end is None else bounds.index(end) + 1))

    first = {"answered": between(None, starts[0] if starts else None), "learnt": []}
    return [first] + [
        {"answered": between(start, end), "learnt": between(None, start - delay)}
        for start, end in zip(starts, ends, strict=True)
    ]


def _starts_us(splits: Splits, num_folds: int) -> list[int]:
    """The first moments of the folds, nearest to equal shares of the rows after the first ones."""
    blocks = (
        splits.dataset("train")
        .select_columns([INSTANT])
        .map_batches(
            functools.partial(histogram_of, time=INSTANT), batch_size=None, batch_format="pyarrow"
        )
    )
    histogram = TimeHistogram()
    for row in rows_of(blocks):
        shift, buckets, counts = json.loads(row["histogram"])
        histogram.add(shift, np.array(buckets, np.int64), np.array(counts, np.int64))
    num_folds = min(num_folds, len(histogram.buckets) - 1)
    if not num_folds:
        return []
    return list(histogram.cuts_us([FIRST_SHARE] + [(1 - FIRST_SHARE) / num_folds] * num_folds))


def _write_pieces(table: pa.Table, dealing: _Dealing) -> pa.Table:
    """Write each piece's rows of a block; of each its number, file, rows and positives as JSON."""
    pieces = dealing.pieces(table)
    facts: list[Any] = []
    for piece in np.unique(pieces):
        rows = table.filter(pa.array(pieces == piece))
        files, path = filesystem(f"{dealing.folder}/{piece}")
        files.create_dir(path, recursive=True)
        name = f"{pc.min(rows[ROW]).as_py():014d}.parquet"
        pq.write_table(rows, f"{path}/{name}", filesystem=files)
        positives = num_saying(rows[dealing.label], dealing.labels)
        facts.append([int(piece), name, rows.num_rows, positives])
    return pa.table({"pieces": [json.dumps(facts)]})
