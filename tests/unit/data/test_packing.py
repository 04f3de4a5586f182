"""Windows in Parquet: each reading once, and what is read is what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from spt_core.artifacts import as_uri
from spt_core.data import packing, series
from spt_core.data.corpus import READINGS, ROW
from spt_core.data.packing import packed, unpacked, unpacked_file
from spt_core.data.series import Cutting, as_column, cut, cuts
from spt_core.data.splits import sampled_table, table_of
from spt_core.signature import SequenceShape

LENGTH = 16
SHAPE = SequenceShape(length=LENGTH, channels=("a", "b", "c"), time="time", unit="unit")
CUTTING = Cutting(name="w", shape=SHAPE, head="regression", label="life")


def readings(num_rows: int = 200) -> pa.Table:
    """Readings of two units, a few of them gaps."""
    draw = np.random.default_rng(0)
    values = draw.normal(size=(num_rows, 3))
    values[draw.random((num_rows, 3)) < 0.05] = np.nan
    columns = dict(zip(SHAPE.channels, values.T, strict=True))
    return pa.table(
        {
            "unit": np.repeat(["p1", "p2"], num_rows // 2),
            "time": np.tile(np.arange(num_rows // 2, dtype=np.float64), 2),
            **columns,
            "life": draw.normal(size=num_rows),
        }
    )


def windows() -> pa.Table:
    rows = cut(readings(), CUTTING)
    rows = rows.filter(rows["w"].is_valid())
    return rows.append_column(ROW, pa.array(np.arange(rows.num_rows)))


@settings(deadline=None)  # the first one imports pandas
@given(
    arrays(
        np.float32,
        array_shapes(min_dims=3, max_dims=3, max_side=5),
        elements=st.sampled_from([0.0, -0.0, 1.0, np.inf, np.nan]),
    )
)
def test_what_is_unpacked_is_what_was_packed(values: np.ndarray) -> None:
    table = pa.table({ROW: np.arange(len(values)), "w": as_column(values)})
    small = packed(table)
    assert READINGS in small.column_names
    back = unpacked(small)
    assert back.schema == table.schema
    bits = [np.asarray(t["w"].combine_chunks().flatten().flatten()) for t in (table, back)]
    assert np.array_equal(*(b.view(np.uint32) for b in bits))
    chosen = np.arange(len(values))[::-2]
    assert unpacked(small, chosen).equals(table.take(pa.array(chosen)).combine_chunks())


def test_windows_that_overlap_are_written_with_each_reading_once() -> None:
    rows = windows()
    small = packed(rows)
    num_readings = sum(len(some) for some in small[READINGS].to_pylist())
    assert num_readings == 200
    assert small["w"].to_pylist()[1] == [1, LENGTH]  # from the second reading on


def test_windows_that_are_not_there_are_left_as_they_are() -> None:
    rows = cut(readings(), CUTTING)
    assert packed(rows).equals(rows)
    assert packed(rows.slice(0, 0)).equals(rows.slice(0, 0))
    other = pa.table({"amount": [1.0, 2.0]})
    assert packed(other).equals(other)
    assert unpacked(other).equals(other)


def test_readings_whose_hashes_collide_are_written_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "mix", lambda values: np.zeros_like(values))
    rows = windows()
    assert packed(rows).equals(rows)


def test_files_are_read_whole_in_samples_and_in_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = windows()
    halves = [rows.slice(0, 100), rows.slice(100)]
    uris = [as_uri(tmp_path / f"{number}.parquet") for number in range(2)]
    pq.write_table(packed(halves[0]), tmp_path / "0.parquet")
    pq.write_table(halves[1], tmp_path / "1.parquet")  # as rows that were added later are
    assert table_of(uris).equals(rows)
    assert table_of(uris, 7).equals(rows.slice(0, 7))
    assert sampled_table(uris).equals(rows)
    assert sampled_table(uris, 1).num_rows == 1  # of one file, and none of the other
    sample = sampled_table(uris, 30)
    assert sample.num_rows == 30
    assert sample.equals(rows.take(sample[ROW].combine_chunks()))
    monkeypatch.setattr(packing, "UNPACKED_BYTES", 5 * 4 * LENGTH * len(SHAPE.channels))
    streamed = [list(unpacked_file(uri)) for uri in uris]
    assert [part.num_rows for part in streamed[0]] == [5] * 20
    assert pa.concat_tables([*streamed[0], *streamed[1]]).equals(rows)


@pytest.mark.parametrize("head", ["regression", "anomalies", "forecasts"])
def test_windows_that_are_cut_some_at_a_time_are_the_same(
    head: series.Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = {"regression": "life", "anomalies": "alarm", "forecasts": "a"}[head]
    of = readings().append_column("alarm", pa.array(np.arange(200) % 3 == 0).cast(pa.float64()))
    shape = SequenceShape(
        length=4,
        channels=SHAPE.channels,
        time="time",
        unit="unit",
        horizon=2 * (head == "forecasts"),
    )
    cutting = Cutting(name="w", shape=shape, head=head, label=label)
    whole = cut(of, cutting)
    monkeypatch.setattr(
        series, "BYTES_AT_ONCE", 7 * (4 + shape.num_ahead) * (4 * 3 + series.FINDING_BYTES)
    )
    some = list(cuts(of, cutting))
    assert [part.num_rows for part in some[:3]] == [7, 7, 7]
    assert pa.concat_tables(some).equals(whole)
