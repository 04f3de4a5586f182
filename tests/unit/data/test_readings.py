"""What is said of readings before windows are cut of them, and where none can be."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa
import pytest

from spt_core.data.corpus import Corpus
from spt_core.data.held_out import with_validation
from spt_core.data.infer import Columns
from spt_core.data.readings import large_windows, paced
from spt_core.data.sampling import sample_of
from spt_core.data.splits import SplitConfig, Splits
from spt_core.errors import InputError
from spt_core.signature import Field, Signature
from tests.tiny_models import SERIES_FIELD, series_task

CORPUS = Corpus(uris=("memory",), format="parquet", name="pumps", identity="0")
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


def test_a_column_with_the_name_of_the_windows_is_asked_to_be_renamed() -> None:
    unit = Field(name=SERIES_FIELD.name, kind="entity")
    columns = dataclasses.replace(COLUMNS, carried=(unit,), readings=(SERIES_FIELD,))
    sampled = sample_of(pa.table({SERIES_FIELD.name: ["a"]}))
    with pytest.raises(InputError, match="rename it"):
        paced(series_task("regression"), columns, sampled, CORPUS, SplitConfig())


def test_readings_of_their_own_are_no_validation_rows() -> None:
    class OfReadings(Splits):
        def __init__(self) -> None:
            object.__setattr__(self, "signature", Signature(fields=(SERIES_FIELD,)))

    splits: Any = OfReadings()
    with pytest.raises(InputError, match=r"however: pumps was given.*give all readings"):
        with_validation(splits, CORPUS)
