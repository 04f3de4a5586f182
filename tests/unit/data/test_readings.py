"""What is said of windows that are much larger than their readings."""

from __future__ import annotations

import dataclasses

import pytest

from spt_core.data import readings
from spt_core.data.corpus import Corpus
from spt_core.data.infer import Columns
from spt_core.data.readings import large_windows
from spt_core.data.splits import SplitConfig
from tests.tiny_models import SERIES_FIELD

CORPUS = Corpus(uris=("memory",), format="parquet", name="pumps", identity="0")
COLUMNS = Columns(features=(SERIES_FIELD,), carried=(), findings=())


@pytest.mark.parametrize(("stride", "is_said"), [(1, True), (2, True), (1000, False)])
def test_windows_that_fill_a_disk_are_said_with_what_makes_them_fewer(
    monkeypatch: pytest.MonkeyPatch, stride: int, is_said: bool
) -> None:
    shape = dataclasses.replace(SERIES_FIELD.shape, length=500)  # type: ignore[type-var]
    columns = dataclasses.replace(
        COLUMNS, features=(dataclasses.replace(SERIES_FIELD, shape=shape),)
    )
    monkeypatch.setattr(readings, "size_bytes", lambda corpus: 100_000_000)
    found = large_windows(CORPUS, columns, SplitConfig(stride_steps=stride))
    assert bool(found) == is_said
    if found:
        assert f"about {50 // stride} GB" in found[0].detail
        assert "split.stride_steps" in found[0].detail
