"""Window figures against a loop over all pairs of rows."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from spt_core.data.windows import add_windows
from spt_core.signature import Window

DAY_US = 86_400_000_000
WINDOWS = (
    *(Window(entity="card", function="count", span_days=days) for days in (1, 7, 30)),
    Window(entity="card", function="mean", value="amount", span_days=7),
    Window(entity="card", function="sum", value="amount", span_days=1),
    Window(entity="shop", function="label_rate", span_days=7, delay_days=7),
    Window(entity="shop", function="label_rate", span_days=1, delay_days=1),
)


def table_of(num_rows: int, unit_us: int, seed: int = 0) -> pa.Table:
    draw = np.random.default_rng(seed)
    times = draw.integers(0, 60 * DAY_US // unit_us, num_rows) * unit_us
    return pa.table(
        {
            "card": pa.array(draw.integers(0, 6, num_rows).astype(str)),
            "shop": pa.array(draw.integers(0, 4, num_rows).astype(str)),
            "when": pa.array(times, pa.timestamp("us")),
            "amount": pa.array(draw.normal(size=num_rows), mask=draw.random(num_rows) < 0.1),
            "y": draw.integers(0, 2, num_rows).astype(np.float32),
        }
    )


def slow(table: pa.Table, window: Window) -> list[float]:
    keys = table[window.entity].to_pylist()
    times = table["when"].cast(pa.int64()).to_pylist()
    column = "y" if window.function == "label_rate" else window.value
    values = table[column].to_pylist() if column else [1.0] * len(keys)
    figures: list[float] = []
    for key, now in zip(keys, times, strict=True):
        end = now - window.delay_days * DAY_US
        start = end - window.span_days * DAY_US
        seen = [
            value
            for other, moment, value in zip(keys, times, values, strict=True)
            if other == key and start < moment <= end and value is not None
        ]
        if window.function == "count":
            figures.append(len(seen))
        elif not seen:
            figures.append(math.nan)
        else:
            figures.append(sum(seen) / (1 if window.function == "sum" else len(seen)))
    return figures


@pytest.mark.parametrize("unit_us", [1, DAY_US])
@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: window.name)
def test_figures_equal_those_of_a_loop(window: Window, unit_us: int) -> None:
    table = table_of(300, unit_us)
    made = add_windows(table, [window], "when", "y")[window.name].to_pylist()
    figures = [math.nan if value is None else value for value in made]
    np.testing.assert_allclose(figures, slow(table, window), rtol=1e-12, atol=1e-12)


def test_order_and_columns_are_kept() -> None:
    table = table_of(50, 1)
    made = add_windows(table, WINDOWS, "when", "y")
    assert made.select(table.column_names).equals(table)
    assert made.column_names[5:] == [window.name for window in WINDOWS[:7]]


def test_figures_do_not_depend_on_the_order_of_rows() -> None:
    table = table_of(200, DAY_US)
    order = np.random.default_rng(1).permutation(200)
    one = add_windows(table, WINDOWS, "when", "y").take(order)
    other = add_windows(table.take(order), WINDOWS, "when", "y")
    for window in WINDOWS:
        np.testing.assert_allclose(
            one[window.name].to_numpy(), other[window.name].to_numpy(), rtol=1e-12, atol=1e-12
        )


def test_a_row_without_entity_or_time_has_no_figure() -> None:
    times = pa.array([0, 0, None], pa.timestamp("us"))
    table = pa.table({"card": ["a", None, "a"], "when": times})
    made = add_windows(table, WINDOWS[:1], "when", None)
    assert made["card.count_1d"].to_pylist() == [1.0, None, None]


def test_an_empty_table_gets_empty_columns() -> None:
    assert add_windows(table_of(0, 1), WINDOWS, "when", "y").num_rows == 0
