"""jobs.export --engine: refused before anything starts where no engine could be built."""

import pytest

from jobs.exits import run
from jobs.export import main

TEXT = "technology/security_analysis"


@pytest.fixture(autouse=True)
def _keep_signals(monkeypatch):
    monkeypatch.setattr("jobs.exits.signal.signal", lambda *_: None)


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        (TEXT, "error: TensorRT needs the package of tensorrt, however: it is not installed; pip"),
        ("financial_services/fraud_detection", "error: engines are of families that GPUs serve"),
    ],
)
def test_an_engine_that_cannot_be_built_here_ends_in_one_sentence(
    task, sentence, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    words = [task, "--engine", "tensorrt", "--storage", str(tmp_path / "storage")]
    with pytest.raises(SystemExit) as left:
        run(lambda _: main(words))
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(sentence)
    assert said.count("\n") == 1
    assert not (tmp_path / "storage").exists()
