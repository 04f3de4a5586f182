"""jobs.export --engine: refused before anything starts where no engine could be built."""

import contextlib
import types

import pytest

from jobs.exits import run
from jobs.export import main
from jobs.stages import exporting
from spt_core.compression import qdq
from spt_core.errors import QualityError
from spt_core.export import tensorrt
from spt_core.export.tensorrt import EngineFile

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


@pytest.mark.parametrize("is_as_good", [True, False])
def test_the_engine_s_graph_is_a_variant_and_earlier_variants_are_refitted(is_as_good, monkeypatch):
    def quantized(full, table, label, policy, *, fresh):
        if not is_as_good:
            raise QualityError("less is left")
        return "q/dq"

    def engine_of(source, *, earlier, fresh):
        asked.append((source, [*earlier]))
        return EngineFile("address", {"probability": 1e-5}, "")

    asked, said = [], []
    versions = {
        "one": [
            types.SimpleNamespace(variant="edge", exported="of edge"),
            types.SimpleNamespace(variant="tensorrt", exported="of before"),
        ],
        "two": [],
    }
    registry = types.SimpleNamespace(
        versions=lambda name: list(versions),
        variants=versions.__getitem__,
        add_variant=lambda version, name, source, *rest, **more: (version.name, name, source),
    )
    stage = types.SimpleNamespace(say=said.append)
    work = types.SimpleNamespace(
        fresh=False,
        registry=lambda: registry,
        screen=types.SimpleNamespace(stage=lambda name: contextlib.nullcontext(stage)),
    )
    report = types.SimpleNamespace(to_json=dict)
    monkeypatch.setattr("spt_core.export.export", lambda artifact: f"full {artifact}")
    monkeypatch.setattr(qdq, "quantize_symmetric", quantized)
    monkeypatch.setattr(tensorrt, "engine_of", engine_of)
    monkeypatch.setattr(exporting, "decided", lambda model, splits: "policy")
    monkeypatch.setattr(exporting, "benchmarked", lambda *_: (report, "page"))
    splits = types.SimpleNamespace(label="label", table=lambda part, limit: "rows")
    version = types.SimpleNamespace(name="task/default")
    model = types.SimpleNamespace(artifact="student")
    variant, engine = exporting.with_engine(work, version, model, splits)
    source = "q/dq" if is_as_good else "full student"
    assert asked == [(source, ["of before"])]
    assert variant == ("task/default", "tensorrt", source)
    assert engine.uri == "address"
    assert any("full precision is kept: less is left" in line for line in said) != is_as_good
