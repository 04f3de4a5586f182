"""Columns that give the label away, hashes, and cut points in time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from spt_core.data.hashing import row_hashes, uniform
from spt_core.data.leakage import is_among, ranges, refuse_label_like
from spt_core.data.partition import MAX_BUCKETS, TimeHistogram
from spt_core.errors import InputError
from spt_core.signature import Field
from spt_core.task import Head

DRAW = np.random.default_rng(0)
LABELS = (DRAW.random(2000) < 0.2).astype(np.float32)
NOISE = DRAW.normal(size=2000)


def guard(column: object, kind: str, keep: tuple[str, ...] = ()) -> list[str]:
    table = pa.table({"leak": pa.array(column), "y": LABELS})
    return refuse_label_like(table, "y", [Field(name="leak", kind=kind)], accepted=keep)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (LABELS.astype(np.float64), "number"),
        (-3 * LABELS + 0.1 * NOISE, "number"),
        (LABELS == 1, "boolean"),
        (np.where(LABELS == 1, "chargeback", "none"), "category"),
        (np.where(LABELS == 1, 5.0, np.nan), "number"),
    ],
)
def test_a_column_that_gives_the_label_away_is_refused(column: object, kind: str) -> None:
    with pytest.raises(InputError, match="'leak' alone reaches an AUC of.*drop.*keep"):
        guard(column, kind)


def test_an_accepted_column_is_named_and_passes() -> None:
    assert guard(LABELS.astype(np.float64), "number", keep=("leak",)) == ["leak"]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (NOISE + LABELS, "number"),
        (np.arange(2000).astype(str), "category"),
        (np.full(2000, np.nan), "number"),
    ],
)
def test_an_honest_column_passes(column: object, kind: str) -> None:
    assert guard(column, kind) == []


CLASSES = np.array(["dent", "scratch", "none"])[DRAW.integers(0, 3, 2000)]
VALUES = 50 + 10 * DRAW.normal(size=2000)


@pytest.mark.parametrize(
    ("label", "head", "column", "kind", "figure"),
    [
        (CLASSES, "single_label", np.char.add("code ", CLASSES), "category", "accuracy"),
        (CLASSES, "single_label", np.unique(CLASSES, return_inverse=True)[1], "number", "accuracy"),
        (CLASSES, "ordinal", CLASSES == "none", "boolean", None),
        (VALUES, "regression", 1.8 * VALUES + 32, "number", "R2"),
        (VALUES, "regression", -np.exp(VALUES / 10), "number", "R2"),
        (np.exp(VALUES / 5), "regression", np.exp(VALUES / 5), "number", "R2"),  # a long tail
        (VALUES, "regression", VALUES + 5 * NOISE, "number", None),
        (VALUES, "regression", np.arange(2000).astype(str), "category", None),
        (VALUES, "regression", np.full(2000, np.nan), "number", None),
    ],
)
def test_classes_and_numbers_are_guarded_too(
    label: object, head: Head, column: np.ndarray, kind: str, figure: str | None
) -> None:
    values = column.astype(np.float64) if kind == "number" else column
    table = pa.table({"leak": pa.array(values), "y": pa.array(label)})
    fields = [Field(name="leak", kind=kind)]
    if figure is None:
        assert refuse_label_like(table, "y", fields, head=head) == []
        return
    with pytest.raises(InputError, match=f"'leak' alone reaches an {figure} .*drop.*keep"):
        refuse_label_like(table, "y", fields, head=head)


def test_hashes_do_not_depend_on_chunks_or_column_order() -> None:
    table = pa.table({"a": [1.0, 2.0, -0.0], "b": ["x", None, "y"], "c": [True, False, None]})
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)]).select(["c", "b", "a"])
    assert np.array_equal(row_hashes(table, ["a", "b"]), row_hashes(chunked, ["b", "a"]))


def test_hashes_tell_columns_and_values_apart() -> None:
    table = pa.table({"a": [1.0, 2.0], "b": [2.0, 1.0]})
    assert len(set(row_hashes(table, ["a", "b"]).tolist())) == 2


def test_uniform_numbers_fill_the_unit_interval() -> None:
    numbers = uniform(np.arange(100_000, dtype=np.uint64), 7)
    assert 0 <= numbers.min() < numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.01


def test_twins_are_found_and_hash_ranges_cover_everything() -> None:
    known = np.sort(np.array([3, 9, 2**64 - 1], np.uint64))
    assert is_among(np.array([9, 4, 2**64 - 1], np.uint64), known).tolist() == [True, False, True]
    bounds = list(ranges(50_000_000))
    assert len(bounds) == 3
    assert int(bounds[0][0]) == 0
    assert int(bounds[-1][1]) == 2**64 - 1


def test_cut_points_do_not_depend_on_how_rows_come_together() -> None:
    times = np.random.default_rng(0).integers(0, 10**14, 3 * MAX_BUCKETS)
    whole, parts = TimeHistogram(), TimeHistogram()
    whole.add(0, *np.unique(times, return_counts=True))
    for part in np.array_split(times, 7):
        piece = TimeHistogram()
        piece.add(0, *np.unique(part, return_counts=True))
        parts.add(piece.shift, piece.buckets, piece.counts)
    shares = (0.6, 0.15, 0.1, 0.15)
    assert whole.cuts_us(shares) == parts.cuts_us(shares)
    assert abs((times < whole.cuts_us(shares)[0]).mean() - 0.6) < 0.001


def test_too_few_times_for_a_time_split_are_refused() -> None:
    histogram = TimeHistogram()
    histogram.add(0, np.array([1, 2]), np.array([5, 5]))
    with pytest.raises(InputError, match="at least 4 different times, however: there are 2"):
        histogram.cuts_us((0.6, 0.15, 0.1, 0.15))
