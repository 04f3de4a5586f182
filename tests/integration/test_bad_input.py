"""Tables that cannot train, and storage without room: one sentence, and nothing half-written.

What tests/integration/test_data.py refuses (one class, a leak, a file broken midway) is not here.
"""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from spt_core.artifacts import as_uri
from spt_core.data.sources import open_corpus
from spt_core.data.splits import Splits
from spt_core.data.splitting import split
from spt_core.errors import InputError
from spt_core.families.tabular.learner import LEARNER
from spt_core.fitting.plan import Trained, TrainingRun
from spt_core.fitting.ray_train import write_artifact
from spt_core.training import TrainingConfig
from tests.unit.data.examples import TASK, rows

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("local_ray")]


def prepare(source: object, storage: Path) -> Splits:
    """What jobs.prepare does with a table."""
    return split(TASK, open_corpus(TASK, source, storage=str(storage)), str(storage))  # type: ignore[arg-type]


def only_a_header(folder: Path) -> Path:
    path = folder / "a.csv"
    path.write_text("amount,code,when,y\n")
    return path


def no_rows(folder: Path) -> Path:
    path = folder / "a.parquet"
    pq.write_table(rows(10).slice(0, 0), path)
    return path


def cut_off(folder: Path) -> Path:
    path = folder / "a.parquet"
    pq.write_table(rows(500), path)
    path.write_bytes(path.read_bytes()[:-200])
    return path


def a_column_twice(folder: Path) -> Path:
    table = rows(50)
    path = folder / "a.parquet"
    pq.write_table(table.rename_columns(["amount", "amount", *table.column_names[2:]]), path)
    return path


def an_amount_of_words(folder: Path) -> Path:
    table = rows(500)
    words = pa.array([f"about {value}" for value in table["amount"].to_pylist()])
    path = folder / "a.csv"
    pyarrow.csv.write_csv(table.set_column(0, "amount", words), path)
    return path


def not_text(folder: Path) -> Path:
    path = folder / "a.csv"
    path.write_bytes(bytes(range(256)) * 20)
    return path


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (only_a_header, "must have rows"),
        (no_rows, "must have rows"),
        (cut_off, "must be readable, however: .*a.parquet"),
        (a_column_twice, "must be unique, however: .*'amount' twice"),
        (an_amount_of_words, "'amount'.*full of text"),
        (not_text, "a.csv|label"),
    ],
)
def test_a_bad_table_is_refused_and_leaves_nothing(
    tmp_path: Path, write: Callable[[Path], Path], message: str
) -> None:
    storage = tmp_path / "storage"
    with pytest.raises(InputError, match=message) as told:
        prepare(write(tmp_path), storage)
    assert "\n" not in str(told.value)
    assert not list(storage.rglob("_manifest.json"))
    assert not list(storage.glob("splits/*"))


@pytest.fixture
def megabyte(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte; only root may make one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_storage_that_is_full_is_said_and_leaves_nothing(megabyte: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(rows(100_000), path)
    with pytest.raises(OSError, match="No space left") as told:
        prepare(path, megabyte)
    assert told.value.errno == errno.ENOSPC, "jobs tell it in one sentence and exit with 2"
    assert "\n" not in str(told.value)
    assert not [found for found in megabyte.rglob("*") if found.is_file()]


def test_a_model_whose_files_do_not_fit_has_no_manifest(megabyte: Path, tmp_path: Path) -> None:
    splits = prepare(rows(500), tmp_path / "storage")
    run = TrainingRun(
        learner=LEARNER,
        signature=splits.signature,
        role="teacher",
        config=TrainingConfig(),
        facts={},
        num_rows=1,
        row_bytes=1,
        scoring_rows=1,
    )
    files = {"a": b"0" * 500_000, "b": b"1" * 900_000}
    with pytest.raises(OSError, match="No space left"):
        write_artifact(as_uri(megabyte / "model"), splits, run, Trained(files, {}))
    assert not list(megabyte.rglob("_manifest.json"))
