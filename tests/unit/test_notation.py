"""Numbers, moments and gaps as people write them."""

from __future__ import annotations

import datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spt_core.notation import GAPS, GAPS_AMONG_VALUES, Moment, moment_of, number_of, numbers_of
from tests.examples import examples


@pytest.mark.parametrize(
    ("text", "notation", "number"),
    [
        ("1234.5", None, 1234.5),
        ("1,234.50", None, 1234.5),
        ("$1,234.50", None, 1234.5),
        ("-$5", None, -5.0),
        ("$-5", None, -5.0),
        ("(12.50)", None, -12.5),
        ("12.50-", None, -12.5),
        ("\u22123", None, -3.0),
        ("1'234.50", None, 1234.5),
        ("1,23,456.00", None, 123_456.0),
        ("12.50 EUR", None, 12.5),
        ("9.44%", None, 9.44),
        ("1e3", None, 1000.0),
        (".5", None, 0.5),
        ("1.234,56", "decimal_comma", 1234.56),
        ("1 234,56", "decimal_comma", 1234.56),
        ("1\u202f234,56 \u20ac", "decimal_comma", 1234.56),
        ("9,44 %", "decimal_comma", 9.44),
        ("1.234", "decimal_comma", 1234.0),
        ("1,234", "decimal_comma", 1.234),
    ],
)
def test_a_number_is_what_it_says(text, notation, number):
    assert number_of(text, notation) == number
    assert numbers_of(pa.array([text], pa.large_string()), notation).values[0].as_py() == number


@pytest.mark.parametrize(
    "text",
    ["", ".", "-", "abc", "12 34", "1,2", "1.2.3", "(5", "5)", "ABC123", "V45", "0x10", "1_000"],
)
def test_what_is_no_number_is_none(text):
    assert number_of(text) is None
    assert numbers_of(pa.array([text], pa.large_string())).values[0].as_py() is None


@examples(300)
@given(
    st.lists(st.text("0123456789.,'-+()eE %$\u20ac\u00a0EUR\u2212", max_size=12), max_size=30),
    st.sampled_from([None, "decimal_comma"]),
)
def test_a_column_is_read_as_its_values_are(texts, notation):
    column = numbers_of(pa.array(texts, pa.large_string()), notation).values.to_pylist()
    assert column == [number_of(text, notation) for text in texts]


@examples(300)
@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.booleans())
def test_a_number_that_is_written_is_read_again(number, is_comma):
    text = f"{number:,.6f}"
    if is_comma:
        text = text.translate(str.maketrans(",.", ".,"))
    assert number_of(text, "decimal_comma" if is_comma else None) == float(f"{number:.6f}")


NOON = datetime.datetime(2024, 3, 5, 14, 30)


@pytest.mark.parametrize(
    ("value", "notation", "wall"),
    [
        ("2024-03-05T14:30", None, NOON),
        ("2024-03-05 14:30:00.000", None, NOON),
        ("2024/3/5 14:30", None, NOON),
        ("2024.03.05 2:30 PM", None, NOON),
        ("5 Mar 2024 14:30", None, NOON),
        ("05-MAR-2024 14:30", None, NOON),
        ("March 5th, 2024 2:30pm", None, NOON),
        ("05.03.2024 14:30", "day_first", NOON),
        ("5/3/24 14:30", "day_first", NOON),
        ("03/05/2024 02:30 PM", "month_first", NOON),
        ("20240305143000", None, NOON),
        (20240305143000, "compact", NOON),
        ("2024-03-05 14:30:00 UTC", None, NOON),
        (1709649000, None, NOON),
        (1709649000000, None, NOON),
        (45356.604166666664, "excel", NOON),
        ("20240305", None, NOON.replace(hour=0, minute=0)),
        (20240305, "compact", NOON.replace(hour=0, minute=0)),
        (202403, "year_month", datetime.datetime(2024, 3, 1)),
        (2024, "year", datetime.datetime(2024, 1, 1)),
    ],
)
def test_a_moment_is_what_it_says(value, notation, wall):
    moment = moment_of(value, notation)
    assert moment is not None
    assert abs(moment.wall - wall) < datetime.timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("value", "notation"),
    [
        ("05.03.2024", None),  # day or month first: nobody said
        ("31/12/2024", "month_first"),
        ("12/31/2024", "day_first"),
        ("20241301", "compact"),
        ("soon", None),
        ("32 Mar 2024", None),
        (202413, "year_month"),
        (1e300, None),
    ],
)
def test_what_is_no_moment_is_none(value, notation):
    assert moment_of(value, notation) is None


def test_an_offset_is_kept_beside_the_wall_clock():
    hour = 3_600_000_000
    assert moment_of("2024-01-01T20:00+09:00") == Moment(
        datetime.datetime(2024, 1, 1, 20), 9 * hour
    )
    assert moment_of("31.12.2024 20:00 -0430", "day_first") == Moment(
        datetime.datetime(2024, 12, 31, 20), -9 * hour // 2
    )


@pytest.mark.parametrize("text", ["1900-01-01", "9999-12-31 23:59:59", "1899-12-30", "1753-01-01"])
def test_dates_that_stand_for_none_are_gaps(text):
    moment = moment_of(text)
    assert moment is not None
    assert moment.is_gap
    assert not moment_of("1900-01-01 08:30").is_gap  # a time of day, as SQL Server keeps it


def test_a_name_is_no_gap_and_a_mark_is_one_everywhere():
    assert {"None", "NA", "null", "-"}.isdisjoint(GAPS)
    assert GAPS < GAPS_AMONG_VALUES
    assert {"None", "NA", "null", "-"} < GAPS_AMONG_VALUES
