"""Folds of training rows: each row is answered once, by a model of other or of earlier rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from spt_core.artifacts import as_uri
from spt_core.data.corpus import HASH, INSTANT
from spt_core.data.folds import _Dealing, _folds_in_time


def test_a_group_is_in_one_fold_and_folds_are_alike_in_size() -> None:
    people = [f"p{number % 500}" for number in range(5000)]
    table = pa.table({"person": people, HASH: pa.array(range(5000), pa.uint64())})
    dealing = _Dealing(folder=as_uri("x"), label="y", group="person", num_folds=4)
    pieces = dealing.pieces(table)
    assert {p: len({n for q, n in zip(people, pieces, strict=True) if q == p}) for p in people} == (
        dict.fromkeys(people, 1)
    )
    assert np.bincount(pieces, minlength=4).min() > 5000 / 4 * 0.7


def test_rows_without_a_group_are_dealt_by_their_content() -> None:
    table = pa.table({HASH: pa.array([7, 7, 8, 9, 7], pa.uint64())})
    pieces = _Dealing(folder=as_uri("x"), label="y", num_folds=3).pieces(table)
    assert pieces[0] == pieces[1] == pieces[4]


@pytest.mark.parametrize("delay", [0, 3, 25])
def test_in_time_a_fold_s_labels_came_after_all_that_is_learnt_from(delay: int) -> None:
    starts = [50, 70, 90]
    bounds = sorted({*starts, *(start - delay for start in starts)})
    times = np.arange(100)
    table = pa.table({INSTANT: pa.array(times).cast(pa.timestamp("us", "UTC"))})
    pieces = _Dealing(folder=as_uri("x"), label="y", starts_us=tuple(bounds)).pieces(table)
    folds = _folds_in_time(bounds, starts, delay)
    assert folds[0]["learnt"] == []
    answered = [times[np.isin(pieces, fold["answered"])] for fold in folds]
    assert np.concatenate(answered).tolist() == times.tolist()
    for rows, fold, start in zip(answered[1:], folds[1:], starts, strict=True):
        learnt = times[np.isin(pieces, fold["learnt"])]
        assert rows.min() == start
        assert learnt.tolist() == list(range(start - delay))
