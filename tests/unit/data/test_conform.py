"""Typed columns: what is accepted, what is missing, what is bad."""

from __future__ import annotations

import datetime
import json
import math

import numpy as np
import pyarrow as pa
import pytest

from spt_core.data.conform import conform, text_column, time_column
from spt_core.data.raw import plain_integers
from spt_core.records import category_text, parse_moment
from spt_core.signature import Field

NUMBER = Field(name="x", kind="number", minimum=0.0)


def conformed(values: pa.Array, field: Field) -> tuple[list[object], list[int]]:
    good, bad = conform(pa.table({field.name: values}), [field])
    return good[field.name].to_pylist(), bad["__row"].to_pylist()


def test_number_text_is_parsed_and_missing_marks_are_missing() -> None:
    good, bad = conformed(pa.array(["1", " 2.5 ", "NA", "", "?", "1e3", None]), NUMBER)
    assert good == [1.0, 2.5, None, None, None, 1000.0, None]
    assert bad == []


def test_a_number_that_is_text_infinite_or_out_of_range_is_bad() -> None:
    good, bad = conformed(pa.array(["1", "abc", "inf", "-3", "nan"]), NUMBER)
    assert good == [1.0, None]
    assert bad == [1, 2, 3]


def test_nan_is_missing_and_infinity_is_bad_in_float_columns() -> None:
    good, bad = conformed(pa.array([1.0, math.nan, math.inf, None]), NUMBER)
    assert good == [1.0, None, None]
    assert bad == [2]


@pytest.mark.parametrize("kind", [pa.int64(), pa.float32(), pa.decimal128(10, 2), pa.uint8()])
def test_every_numeric_type_becomes_float64(kind: pa.DataType) -> None:
    good, bad = conform(pa.table({"x": pa.array([1, 2], kind)}), [NUMBER])
    assert good.schema.field("x").type == pa.float64()
    assert not bad.num_rows


@pytest.mark.parametrize("values", [[2, 3], [2.0, 3.5], [True, False], ["2", "b"]])
def test_categories_are_written_as_a_request_is_looked_up(values: list[object]) -> None:
    texts = text_column(pa.array(values)).values.to_pylist()
    assert texts == [category_text(value, "c") for value in values]


def test_text_formats_write_whole_numbers_as_categories_write_them() -> None:
    table = plain_integers(pa.table({"c": ["2.0", "2", "2.50", "x.0"]}), ["c"])
    assert table["c"].to_pylist() == ["2", "2", "2.50", "x.0"]


def test_booleans_come_from_words_and_digits() -> None:
    field = Field(name="b", kind="boolean")
    good, bad = conformed(pa.array(["true", "No", "1", "0", "", "maybe"]), field)
    assert good == [True, False, True, False, None]
    assert bad == [5]


@pytest.mark.parametrize(
    "text",
    [
        "2018-06-25T00:00:13",
        "2018-06-25 00:00:13.5",
        "2018-06-25T10:00:00Z",
        "2018-06-25T10:00:00+02:00",
        "2018-06-25",
        "20180625",
        "03:00",
        "03:00_local",
    ],
)
def test_time_text_means_what_it_means_in_a_request(text: str) -> None:
    mixed = time_column(pa.array([text, None, "2020-01-01"])).values
    alone = time_column(pa.array([text])).values
    assert mixed[0].as_py() == alone[0].as_py() == parse_moment(text, "t")


@pytest.mark.parametrize("scale", [1, 10**3, 10**6, 10**9])
def test_epoch_numbers_of_any_unit_are_times(scale: int) -> None:
    expected = datetime.datetime(2018, 6, 25, 0, 0, 13)
    seconds = 1_529_884_813
    assert time_column(pa.array([seconds * scale])).values[0].as_py() == expected
    assert time_column(pa.array([str(seconds * scale)])).values[0].as_py() == expected


def test_a_zoned_timestamp_keeps_its_wall_clock() -> None:
    moment = datetime.datetime(2024, 7, 1, 10, tzinfo=datetime.UTC)
    column = pa.array([moment], pa.timestamp("ns", "Europe/Berlin"))
    assert time_column(column).values[0].as_py() == datetime.datetime(2024, 7, 1, 12)


def test_time_that_is_none_is_bad() -> None:
    field = Field(name="t", kind="time")
    good, bad = conformed(pa.array(["2024-01-01", "soon", None]), field)
    assert good == [datetime.datetime(2024, 1, 1), None]
    assert bad == [1]


def test_labels_are_zero_or_one_and_must_be_there() -> None:
    table = pa.table({"y": ["1", "0", "true", None, "7"]})
    good, bad = conform(table, [], label="y")
    assert good["y"].to_pylist() == [1.0, 0.0, 1.0]
    assert "missing" in bad["reason"][0].as_py()
    assert bad["__row"].to_pylist() == [3, 4]


def test_the_positive_value_makes_any_label_binary() -> None:
    good, _ = conform(pa.table({"y": [1, 2, 2]}), [], label="y", positive=2)
    assert good["y"].to_pylist() == [0.0, 1.0, 1.0]


def test_a_bad_row_keeps_its_values_number_and_reason() -> None:
    table = pa.table({"x": ["1", "oops"], "z": ["a", "b"], "__row": [10, 11]})
    _, bad = conform(table, [NUMBER])
    assert bad["__row"].to_pylist() == [11]
    assert bad["reason"][0].as_py() == "the field 'x' must be a finite number"
    assert json.loads(bad["record"][0].as_py()) == {"x": "oops", "z": "b"}


def test_a_required_column_without_a_value_is_bad() -> None:
    _, bad = conform(pa.table({"x": [1.0, None]}), [NUMBER], required=["x"])
    assert bad["__row"].to_pylist() == [1]


def test_a_field_without_a_column_is_missing_everywhere() -> None:
    good, _ = conform(pa.table({"__row": np.arange(2)}), [NUMBER])
    assert good["x"].to_pylist() == [None, None]
