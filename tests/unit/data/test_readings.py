"""What is said of windows that are much larger than their readings."""

from __future__ import annotations

import dataclasses

import pytest

from spt_core.data.infer import Columns
from spt_core.data.readings import large_windows
from tests.tiny_models import SERIES_FIELD

COLUMNS = Columns(features=(SERIES_FIELD,), carried=(), findings=())


@pytest.mark.parametrize(("num_rows", "is_said"), [(5_000_000, True), (1000, False)])
def test_windows_that_fill_a_disk_are_said_with_what_makes_them_fewer(
    num_rows: int, is_said: bool
) -> None:
    shape = dataclasses.replace(  # type: ignore[type-var]
        SERIES_FIELD.shape, length=500, channels=("a", "b"), in_advance=(), horizon=0
    )
    columns = dataclasses.replace(
        COLUMNS, features=(dataclasses.replace(SERIES_FIELD, shape=shape),)
    )
    findings = large_windows(num_rows, columns)
    assert bool(findings) == is_said
    if findings:
        assert "5,000,000 training windows of 500 steps hold 20 GB" in findings[0].detail
        assert "split.stride_steps" in findings[0].detail
