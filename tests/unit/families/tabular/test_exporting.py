import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from spt_core.artifacts import (
    FACTS,
    GRAPH,
    WEIGHTS,
    as_uri,
    has_manifest,
    load_exported,
    write_bytes,
)
from spt_core.errors import InputError, ParityError
from spt_core.export import export as export_to_onnx
from spt_core.families.tabular.checkpoint import StudentRuntime
from spt_core.families.tabular.exporting import BATCH_SIZES, TOLERANCE, check_parity, trial_rows
from spt_core.families.tabular.serving import EXPLAIN_GRAPH, TabularServing


def opened(export):
    """What a replica scores encoded rows with."""
    return TabularServing().open(export.artifact, export.read).runtime


@pytest.fixture
def tampered(export, tmp_path):
    """The checkpoint in a folder of its own, its last bias shifted."""
    artifact = dataclasses.replace(export.artifact, uri=as_uri(tmp_path))
    weights = load(export.artifact.read(WEIGHTS))
    weights["output.bias"] += 0.01
    files = {
        WEIGHTS: write_bytes(f"{artifact.uri}/{WEIGHTS}", save(weights)),
        FACTS: write_bytes(f"{artifact.uri}/{FACTS}", export.artifact.read(FACTS)),
    }
    return dataclasses.replace(artifact, files=files)


@pytest.mark.parametrize("size", BATCH_SIZES)
def test_an_export_answers_like_its_checkpoint(export, size):
    rows = trial_rows(export.artifact.signature, size, seed=50 + size)
    checkpoint, exported = StudentRuntime(export.artifact), opened(export)
    wanted, wanted_effects = checkpoint.explain(rows)
    found, effects = exported.explain(rows)
    assert np.abs(exported.score(rows) - wanted).max() <= TOLERANCE
    assert np.abs(found - wanted).max() <= TOLERANCE
    assert np.abs(effects - wanted_effects).max() <= 1e-3


def test_the_proof_is_kept_with_the_export(export):
    assert export.parity["batch_sizes"] == [1, 7, 256]
    assert 0 <= export.parity["max_abs_difference"]["probability"] <= TOLERANCE


def test_an_export_that_differs_from_its_checkpoint_is_refused(export, tampered):
    runtime = opened(export)
    with pytest.raises(ParityError, match="must agree with its checkpoint"):
        check_parity(StudentRuntime(tampered), runtime, export.artifact.signature)


def test_answers_that_are_no_numbers_are_refused(export, tampered, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "double", lambda self: self * torch.nan)
    with pytest.raises(ParityError, match="nan"):
        check_parity(StudentRuntime(export.artifact), opened(export), export.artifact.signature)


def test_a_teacher_is_not_exported(export):
    with pytest.raises(InputError, match="only a student can be exported"):
        export_to_onnx(dataclasses.replace(export.artifact, role="teacher"), fresh=True)


def test_probes_are_rows_with_what_they_must_score(export):
    rows = np.array(export.probes["features"], dtype=np.float32)  # None becomes NaN
    assert rows.shape == (16, len(export.artifact.signature.columns))
    found = opened(export).score(rows)
    assert np.abs(found - export.probes["probabilities"]).max() <= TOLERANCE
    json.dumps(export.probes, allow_nan=False)


def test_a_graph_s_bytes_do_not_say_where_it_was_made(export):
    root = str(Path(__file__).parents[2]).encode()
    for name in (GRAPH, EXPLAIN_GRAPH):
        content = export.read(name)
        assert root not in content
        assert b".py" not in content


def test_a_finished_export_is_found_again(export):
    assert has_manifest(export.uri)
    assert load_exported(export.uri) == export
    assert export_to_onnx(export.artifact) == export


def test_what_is_served_stays_whole_while_it_is_exported_anew(export, monkeypatch):
    def fail(*_):
        raise ParityError("a fault on the way")

    monkeypatch.setattr("spt_core.families.tabular.exporting._graph", fail)
    with pytest.raises(ParityError):
        export_to_onnx(export.artifact, fresh=True)
    assert load_exported(export.uri) == export
    rows = trial_rows(export.artifact.signature, 3, seed=0)
    assert np.isfinite(opened(load_exported(export.uri)).score(rows)).all()
