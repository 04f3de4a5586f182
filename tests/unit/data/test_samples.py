"""Samples of a part: rows from all over it, whatever its order."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spt_core.artifacts import as_uri
from spt_core.data.corpus import Corpus
from spt_core.data.splits import SplitConfig, Splits, sampled_places, sampled_table
from spt_core.signature import Field, Signature

NUMBER = Field(name="x", kind="number")
FOUR = ("crazing", "inclusion", "patches", "scratches")


def part_of(folder, names, field=NUMBER):
    """Splits whose training rows have those labels, a file for each hundred rows."""
    (folder / "train").mkdir()
    for start in range(0, len(names), 100):
        some = names[start : start + 100]
        rows = pa.table({"x": range(start, start + len(some)), "y": some})
        pq.write_table(rows, folder / "train" / f"{start:06d}.parquet")
    return Splits(
        uri=folder.as_uri(),
        task="manufacturing/visual_inspection",
        corpus=Corpus(uris=(), format="csv", name="rows", identity="1"),
        config=SplitConfig(),
        kind="random",
        signature=Signature(fields=(field,)),
        label="y",
        num_rows={"train": len(names)},
        num_positives={},
        fingerprints={},
        num_left_out={},
        quarantine={},
        findings=(),
        data_fingerprint="d",
        code_fingerprint="c",
    )


def test_a_sample_of_a_part_sorted_by_class_has_every_class_by_its_size(tmp_path):
    names = np.repeat(FOUR, [300, 300, 100, 100]).tolist()
    counts = Counter(part_of(tmp_path, names).table("train", 80)["y"].to_pylist())
    assert counts == {"crazing": 30, "inclusion": 30, "patches": 10, "scratches": 10}


def test_classes_that_take_turns_are_all_in_a_sample(tmp_path):
    counts = Counter(part_of(tmp_path, list(FOUR) * 100).table("train", 100)["y"].to_pylist())
    assert set(counts) == set(FOUR)
    assert max(counts.values()) < 50


def test_a_sample_is_the_same_each_time_and_keeps_the_order(tmp_path):
    splits = part_of(tmp_path, list(FOUR) * 100)
    first = splits.table("train", 37)
    assert first.num_rows == 37
    assert first.equals(splits.table("train", 37))
    assert first["x"].to_pylist() == sorted(first["x"].to_pylist())


def test_a_part_within_the_limit_is_whole(tmp_path):
    splits = part_of(tmp_path, list(FOUR) * 50)
    assert splits.table("train", 200).equals(splits.table("train"))


def test_windows_of_readings_are_sampled_in_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("spt_core.data.splits.SERIES_RUN_ROWS", 10)
    window = Field(name="window", kind="sequence")
    rows = part_of(tmp_path, list(FOUR) * 100, window).table("train", 40)["x"].to_numpy()
    runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    assert [len(run) for run in runs] == [10] * 4
    assert [run[0] // 100 for run in runs] == [0, 1, 2, 3]


@pytest.mark.parametrize("limit", [0, 1, 7, 99, 100, 101])
def test_a_sample_is_of_different_rows_and_no_more_than_asked_for(limit):
    places = sampled_places(100, limit)
    assert len(set(places.tolist())) == min(limit, 100)
    assert all(0 <= place < 100 for place in places)


def test_only_the_columns_that_are_asked_for_are_read(tmp_path):
    splits = part_of(tmp_path, list(FOUR) * 50)
    table = sampled_table(splits.files("train"), 20, columns=["y"])
    assert table.column_names == ["y"]
    assert table.num_rows == 20
    assert as_uri(tmp_path) in splits.files("train")[0]
