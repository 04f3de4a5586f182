"""Public data of factories: what the readers make of the files, and what is left out and why."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from spt_core.artifacts import as_uri
from spt_core.data.catalog import DATASETS, open_dataset
from spt_core.data.conform import conform
from spt_core.data.infer import infer_columns
from spt_core.data.labels import class_counts, rule_of
from spt_core.data.partition import TimeHistogram
from spt_core.signature import Field
from spt_core.task import find

NAMES = sorted(
    name
    for name, dataset in DATASETS.items()
    if dataset.task.startswith("manufacturing/") and find(dataset.task).family == "tabular"
)


def table_of(name: str, data_home: str) -> pa.Table:
    dataset = DATASETS[name]
    assert dataset.read is not None
    return dataset.read(f"{as_uri(data_home)}/manufacturing/{name}")


def fields_of(name: str, data_home: str, tmp_path: Path) -> dict[str, Field]:
    """The fields that a model of the data set has."""
    corpus = open_dataset(name, data_home=data_home, storage=as_uri(tmp_path))
    columns = infer_columns(corpus, find(DATASETS[name].task))
    return {field.name: field for field in columns.features}


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("uci-concrete-strength", 1030),
        ("uci-gas-turbine", 7411 + 7628 + 7152 + 7158),
        ("uci-steel-industry-energy", 35_040),
        ("uci-steel-plates-faults", 1941),
    ],
)
def test_every_row_is_read_and_good(name: str, rows: int, data_home: str) -> None:
    dataset = DATASETS[name]
    table = table_of(name, data_home)
    labels = rule_of(find(dataset.task))
    good, bad = conform(table, dataset.roles.declared, label=dataset.roles.label, labels=labels)
    assert (good.num_rows, bad.num_rows) == (rows, 0)


def test_the_data_sets_are_those_of_the_two_tasks() -> None:
    assert len(NAMES) == 4
    assert all(DATASETS[name].licence == "CC BY 4.0" for name in NAMES)


def test_hours_of_a_gas_turbine_are_in_order_and_2014_comes_last(data_home: str) -> None:
    table = table_of("uci-gas-turbine", data_home)
    times = np.asarray(table["time"].cast(pa.int64()))
    assert (np.diff(times) > 0).all()
    years = pc.year(table["time"])
    assert pc.value_counts(years).field(1).to_pylist() == [7411, 7628, 7152, 7158]
    histogram = TimeHistogram()
    histogram.add(0, times, np.ones(len(times), np.int64))
    last = histogram.cuts_us((0.5, 0.15, 0.1061, 0.2439))[-1]
    start = datetime.datetime(2014, 1, 1, tzinfo=datetime.UTC)
    assert last == start.timestamp() * 1e6
    means = [np.mean(np.asarray(table["NOX"])[np.asarray(years) == y]) for y in (2013, 2014)]
    assert means == pytest.approx([70.0, 60.1], abs=0.1)


def test_nothing_measured_after_the_fact_foretells_emissions(
    data_home: str, tmp_path: Path
) -> None:
    fields = fields_of("uci-gas-turbine", data_home, tmp_path)
    assert list(fields) == ["AT", "AP", "AH", "AFDP", "GTEP", "TIT", "TAT", "TEY", "CDP"]
    assert [name for name, field in fields.items() if field.controllable] == ["TIT"]


def test_tests_of_one_mix_have_one_key(data_home: str, tmp_path: Path) -> None:
    rows = table_of("uci-concrete-strength", data_home).to_pandas()
    ingredients = list(rows.columns[:7])
    assert rows["mix"].nunique() == len(rows[ingredients].drop_duplicates()) == 428
    assert (rows.groupby("mix")[ingredients].nunique() == 1).all().all()
    twins = rows[rows.duplicated(keep=False)]
    assert rows.duplicated().sum() == 25
    assert twins.groupby([*ingredients, "age", "strength"])["mix"].nunique().max() == 1
    assert DATASETS["uci-concrete-strength"].roles.group == "mix"
    fields = fields_of("uci-concrete-strength", data_home, tmp_path)
    assert list(fields) == [*ingredients, "age"]


def test_recommendations_for_concrete_raise_its_strength_by_the_mix_alone(
    data_home: str, tmp_path: Path
) -> None:
    assert find("manufacturing/process_optimization").goal == "lower"
    assert DATASETS["uci-concrete-strength"].roles.goal == "higher"
    fields = fields_of("uci-concrete-strength", data_home, tmp_path)
    assert [name for name, field in fields.items() if not field.controllable] == ["age"]


def test_usage_is_foretold_without_what_its_own_meter_says(data_home: str, tmp_path: Path) -> None:
    fields = fields_of("uci-steel-industry-energy", data_home, tmp_path)
    assert list(fields) == ["time", "Load_Type", "usage_day_before", "usage_week_before"]


def test_quarters_of_an_hour_follow_each_other_and_look_back_a_day_and_a_week(
    data_home: str,
) -> None:
    rows = table_of("uci-steel-industry-energy", data_home).to_pandas()
    assert set(rows["time"].diff().dropna().dt.total_seconds()) == {900.0}
    assert str(rows["time"].iloc[-1]) == "2019-01-01 00:00:00"
    usage = rows.set_index("time")["Usage_kWh"]
    for name, days in (("usage_day_before", 1), ("usage_week_before", 7)):
        later = rows[rows[name].notna()]
        assert len(rows) - len(later) == days * 96
        before = usage.loc[later["time"] - datetime.timedelta(days=days)].to_numpy()
        assert np.array_equal(later[name].to_numpy(), before)


def test_a_fault_of_a_plate_is_of_one_of_seven_kinds(data_home: str, tmp_path: Path) -> None:
    table = table_of("uci-steel-plates-faults", data_home)
    counts = class_counts(table["defect"], rule_of(find("manufacturing/quality_control")))
    assert counts == {
        "Bumps": 402,
        "Dirtiness": 55,
        "K_Scatch": 391,
        "Other": 673,
        "Pastry": 158,
        "Stains": 72,
        "Z_Scratch": 190,
    }
    fields = fields_of("uci-steel-plates-faults", data_home, tmp_path)
    assert len(fields) == 26
    assert not any("Fault" in name for name in fields)
