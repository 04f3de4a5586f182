"""A person's mistake ends in exit code 2 and one sentence, before Ray starts where it can."""

import contextlib
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import prepare, train
from jobs.exits import run

FRAUD = "financial_services/fraud_detection"


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """No Ray, no settings of this machine, no changed signal handlers."""
    for name in ("RAY_ADDRESS", "SPT_STORAGE", "SPT_DATABASE_URL", "SPT_HTTP_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jobs.exits.signal.signal", lambda *_: None)
    monkeypatch.setattr("jobs.command.ray_session", lambda _: contextlib.nullcontext())
    monkeypatch.setattr("jobs.command.room", lambda _: None)


@pytest.fixture
def sentence(monkeypatch, capsys):
    """The one sentence with which a call of a job ends."""

    def call(job, *words):
        monkeypatch.setattr(sys, "argv", ["job", *words])
        with pytest.raises(SystemExit) as left:
            run(job.main)
        assert left.value.code == 2
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        assert shown.out == ""
        return shown.err.strip().splitlines()[-1]

    return call


@pytest.fixture
def data(tmp_path):
    table = pa.table({"amount": [1.0, 2.0], "is_fruad": [0, 1]})
    pq.write_table(table, tmp_path / "tx.parquet")
    return str(tmp_path / "tx.parquet")


def test_an_unknown_task_lists_the_tasks(sentence):
    found = sentence(train, "financial_services/fraud")
    assert found.startswith("error: a task is named INDUSTRY/TASK, however:")
    assert FRAUD in found
    assert "financial_services/risk_assessment" in found


def test_an_unknown_field_names_the_nearest(sentence):
    found = sentence(train, FRAUD, "--set", "training.num_epoch=3")
    assert "the nearest is 'num_epochs'" in found


def test_a_value_that_no_run_could_honour_is_refused(sentence):
    found = sentence(train, FRAUD, "--set", "training.num_epochs=0")
    assert "num_epochs must be at least 1" in found


def test_a_missing_file_is_named(sentence):
    assert "nowhere.parquet" in sentence(prepare, FRAUD, "--data", "nowhere.parquet")


def test_a_label_that_is_not_a_column_names_the_nearest(sentence, data):
    found = sentence(prepare, FRAUD, "--data", data, "--label", "is_fraud")
    assert "has no column 'is_fraud'; the nearest is 'is_fruad'" in found


def test_a_window_that_cannot_be_read_is_refused(sentence, data):
    found = sentence(
        prepare, FRAUD, "--data", data, "--label", "is_fruad", "--set", "data.windows=count()"
    )
    assert "a window reads" in found


def test_an_unknown_recipe_lists_the_recipes(sentence):
    found = sentence(train, FRAUD, "--recipe", "fast")
    assert "invalid choice: 'fast'" in found
    assert "smoke" in found


@pytest.mark.parametrize("port", ["http", "0", "70000"])
def test_a_port_that_is_none_is_refused(sentence, monkeypatch, port):
    monkeypatch.setenv("SPT_HTTP_PORT", port)
    assert "SPT_HTTP_PORT must be 1 to 65535" in sentence(train, FRAUD)


def test_an_unknown_data_set_names_the_catalog_s(sentence):
    assert "credit-german" in sentence(prepare, FRAUD, "--dataset", "no_such_set")


def test_a_task_must_be_named(sentence):
    assert "INDUSTRY/TASK" in sentence(train)
