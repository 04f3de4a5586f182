"""jobs.benchmark refuses what contradicts itself before anything is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.benchmark import main
from spt_core.errors import InputError
from tests.tiny_models import FRAUD


def test_rows_of_one_s_own_are_refused(tmp_path: Path) -> None:
    words = [FRAUD, "--versions", "--storage", str(tmp_path), "--data", "x.csv"]
    with pytest.raises(InputError, match="own held-out rows, however: --data is given"):
        main(words)
