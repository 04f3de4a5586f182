"""A ledger of the test's own, copied from one that was made once: making tables takes a second."""

import shutil
from pathlib import Path

import pytest

from spt_core.continuous.ledger import Ledger


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "spt.db"
    Ledger(f"sqlite:///{path}")
    return path


@pytest.fixture
def ledger(tmp_path: Path, empty: Path) -> Ledger:
    shutil.copy(empty, tmp_path / "spt.db")
    return Ledger(f"sqlite:///{tmp_path}/spt.db")
