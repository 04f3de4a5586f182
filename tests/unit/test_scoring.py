"""Where scores may be written; that they are right is tested with Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from spt_core.artifacts import as_uri, write_manifest
from spt_core.errors import InputError
from spt_core.scoring import _refuse_used


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
