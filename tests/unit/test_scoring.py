"""Where scores may be written; that they are right is tested with Ray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spt_core.artifacts import as_uri, write_manifest
from spt_core.data.corpus import ROW
from spt_core.data.series import NO_WINDOW, as_column
from spt_core.errors import InputError
from spt_core.scoring import _column, _refuse_used, _whole
from spt_core.signature import Field, SequenceShape


def test_a_new_or_empty_folder_is_taken(tmp_path: Path) -> None:
    _refuse_used(as_uri(tmp_path), fresh=False)
    _refuse_used(as_uri(tmp_path / "new"), fresh=False)


def test_finished_scores_are_replaced_only_when_asked(tmp_path: Path) -> None:
    write_manifest(as_uri(tmp_path), {"num_rows": 1, "num_quarantined": 0})
    with pytest.raises(InputError, match="holds finished scores; choose another or pass --fresh"):
        _refuse_used(as_uri(tmp_path), fresh=False)
    _refuse_used(as_uri(tmp_path), fresh=True)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_that_holds_something_else_is_never_taken(tmp_path: Path, fresh: bool) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="must be new or empty, however: .* holds something else"):
        _refuse_used(as_uri(tmp_path), fresh)
    with pytest.raises(InputError, match="must be a folder, however: .* is a file"):
        _refuse_used(as_uri(tmp_path / "notes.txt"), fresh)
    write_manifest(as_uri(tmp_path), {"uri": "a model"})
    with pytest.raises(InputError, match="holds something else"):
        _refuse_used(as_uri(tmp_path), fresh)


def test_a_window_without_a_reading_of_what_is_foretold_is_quarantined(tmp_path: Path) -> None:
    windows = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    windows[1, :, 1] = np.nan  # what is foretold
    windows[2, :, 0] = np.nan
    there = np.array([True, True, True, False])
    table = pa.table({ROW: np.arange(4), "w": as_column(windows[there], there)})
    shape = SequenceShape(length=3, channels=("price", "demand"), horizon=1)
    field, refused = Field(name="w", kind="sequence", shape=shape), as_uri(tmp_path / "bad")
    assert _whole(table, field, 1, refused)[ROW].to_pylist() == [0, 2]
    (bad,) = (tmp_path / "bad").iterdir()
    assert pq.read_table(bad)["reason"].to_pylist() == [
        "a forecast needs a reading of demand in its window",
        NO_WINDOW,
    ]
    assert _whole(table, field, None, refused)[ROW].to_pylist() == [0, 1, 2]


def test_a_part_of_answers_that_may_be_unknown_is_a_column_with_nulls() -> None:
    column = _column([0.5, None], ["number", "null"])
    assert (str(column.type), column.to_pylist()) == ("double", [0.5, None])
    assert _column([[1], []], "array").to_pylist() == ["[1]", "[]"]
