"""Public series: every reading is read, and labels are those that their sources state."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from spt_core.artifacts import as_uri
from spt_core.data.catalog import DATASETS
from spt_core.data.catalog.manufacturing import cmapss_table
from spt_core.task import find

SERIES = [name for name in DATASETS if find(DATASETS[name].task).family == "series"]
HOMES = {"smd": "technology", "nab": "technology"}


def table_of(name: str, data_home: str) -> pa.Table:
    dataset = DATASETS[name]
    assert dataset.read is not None
    return dataset.read(f"{as_uri(data_home)}/{HOMES.get(name, 'manufacturing')}/{name}")


def test_the_data_sets_of_series_are_these() -> None:
    factories = ["carparts-demand", "nab", "nasa-cmapss-fd001", "skab", "smd"]
    assert sorted(SERIES) == sorted([*factories, "market-sp500"])


@pytest.mark.parametrize(
    ("name", "rows", "anomalous"),
    [("smd", 94_764, 4878), ("nab", 22_695, 2268), ("skab", 42_494, 11_550)],
)
def test_every_reading_has_its_label(name: str, rows: int, anomalous: int, data_home: str) -> None:
    table = table_of(name, data_home)
    assert table.num_rows == rows
    assert int(np.asarray(table["is_anomaly"]).sum()) == anomalous


def test_engines_live_as_long_as_the_source_says(data_home: str) -> None:
    table = table_of("nasa-cmapss-fd001", data_home)
    assert table.num_rows == 20_631
    lives = np.asarray(table["uncapped_life"])
    ends = np.flatnonzero(lives == 0)
    assert len(ends) == 100
    cycles = np.asarray(table["cycle"])[ends]
    assert (cycles.min(), cycles.max()) == (128, 362)
    assert np.asarray(table["remaining_useful_life"]).max() == 125


def test_test_engines_live_on_after_their_last_cycle(data_home: str) -> None:
    uri = f"{as_uri(data_home)}/manufacturing/nasa-cmapss-fd001/test_FD001.txt.gz"
    table = cmapss_table(uri, np.full(100, 40.0))
    assert table.num_rows == 13_096
    assert np.asarray(table["uncapped_life"]).min() == 40


def test_parts_have_the_months_from_their_first_to_their_last(data_home: str) -> None:
    table = table_of("carparts-demand", data_home)
    assert table.num_rows == 115_198
    assert len(set(table["part"].to_pylist())) == 2674
    assert table["demand"].null_count == 0
