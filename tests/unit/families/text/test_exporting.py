"""Text models as files to serve from: the graph against its checkpoint, and what goes with it."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from spt_core.artifacts import FACTS, GRAPH, WEIGHTS, as_uri, load_exported, write_bytes
from spt_core.errors import ParityError
from spt_core.export import export
from spt_core.families.serving import SERVING
from spt_core.families.text import exporting as module
from spt_core.families.text.checkpoint import CheckpointTextRuntime, open_network
from spt_core.families.text.exporting import TOLERANCE, check_parity, trial
from spt_core.families.text.reading import TextEncoder
from spt_core.families.text.serving import TOKENIZER, OnnxTextRuntime
from spt_core.model import classes_of, default_policy, open_answerer
from tests.kept_exports import kept_export
from tests.tiny_models import TEXT_CONFIG, text_task, tiny_text_artifact

ROOT = Path(__file__).parents[4]


def words(artifact):
    return TextEncoder(
        artifact.read(TOKENIZER),
        max_tokens=TEXT_CONFIG.max_tokens,
        overlap=TEXT_CONFIG.window_overlap,
    )


@pytest.mark.parametrize("shape", [(1, 3, 1), (1, 24, 1), (5, 13, 40), (33, 24, 2)])
def test_a_graph_answers_like_its_checkpoint_at_sizes_that_it_was_not_traced_with(
    text_export, shape
):
    windows, tokens, pairs = shape
    given = trial(
        words(text_export.artifact), num_windows=windows, num_tokens=tokens, num_pairs=pairs, seed=9
    )
    wanted = CheckpointTextRuntime(open_network(text_export.artifact)).explain(*given)
    found = OnnxTextRuntime(text_export.read(GRAPH)).explain(*given)
    assert found[0].shape == wanted[0].shape == (pairs, 5)
    assert found[1].shape == (pairs, tokens, 5)
    assert np.abs(found[0] - wanted[0]).max() < 1e-4
    assert np.abs(found[1] - wanted[1]).max() < 1e-4
    np.testing.assert_array_equal(found[2], wanted[2])


def test_the_proof_is_kept_with_the_export(text_export):
    parity = text_export.parity
    assert 0 <= parity["max_abs_difference"]["probability"] <= TOLERANCE
    assert len({shape[0] for shape in parity["shapes"]}) > 2
    assert len({shape[1] for shape in parity["shapes"]}) > 2


def test_a_replica_needs_nothing_but_the_export(text_export):
    assert set(text_export.files) == {GRAPH, TOKENIZER, FACTS}
    assert text_export.size_bytes == sum(len(text_export.read(f)) for f in text_export.files)
    assert load_exported(text_export.uri) == text_export
    assert export(text_export.artifact) == text_export
    assert str(ROOT).encode() not in text_export.read(GRAPH)
    assert b".py" not in text_export.read(GRAPH)


def test_probes_are_records_with_what_they_must_score(text_export):
    answerer = open_answerer(text_export, default_policy(text_export))
    probes = text_export.probes
    json.dumps(probes, allow_nan=False)
    assert any(len(figures) > 5 for figures in probes["probabilities"])
    for record, wanted in zip(probes["records"], probes["probabilities"], strict=True):
        found = answerer.outputs(record).ravel()
        assert np.abs(found - wanted).max(initial=0.0) < TOLERANCE
    assert SERVING["text"].probe_gap(answerer.predictor, probes) < TOLERANCE


def test_an_export_that_differs_from_its_checkpoint_is_refused(text_export, tmp_path):
    artifact = dataclasses.replace(text_export.artifact, uri=as_uri(tmp_path))
    weights = load(text_export.artifact.read(WEIGHTS))
    weights["shift"] += torch.tensor([0.1, 0, 0, 0, 0])
    files = {name: text_export.artifact.read(name) for name in (FACTS, TOKENIZER)}
    files[WEIGHTS] = save(weights)
    digests = {name: write_bytes(f"{artifact.uri}/{name}", data) for name, data in files.items()}
    other = CheckpointTextRuntime(open_network(dataclasses.replace(artifact, files=digests)))
    graph = OnnxTextRuntime(text_export.read(GRAPH))
    with pytest.raises(ParityError, match=r"within 1e-05, however: probability differs by"):
        check_parity(other, graph, words(artifact), "pair", 24)


def test_the_classes_are_those_of_the_facts(text_export):
    assert classes_of(text_export) == ("none", "advise", "effect", "int", "mechanism")


@pytest.mark.slow
@pytest.mark.parametrize("head", ["single_label", "multi_label", "ordinal", "span", "regression"])
def test_every_head_is_exported_and_answers_as_its_checkpoint(head, tmp_path, monkeypatch):
    task = text_task(head)
    monkeypatch.setattr(module, "find", lambda _: task)
    monkeypatch.setattr("spt_core.model.find", lambda _: task)
    exported = kept_export(tiny_text_artifact(task, as_uri(tmp_path)))
    policy = default_policy(exported)
    small, full = (open_answerer(m, policy) for m in (exported, exported.artifact))
    assert isinstance(small.predictor.runtime, OnnxTextRuntime)
    for record in exported.probes["records"]:
        found, wanted = small.outputs(record), full.outputs(record)
        np.testing.assert_allclose(found, wanted, atol=TOLERANCE)


def test_a_text_is_answered_without_torch(text_export):
    code = (
        "import sys\n"
        "from spt_core.artifacts import load_exported\n"
        "from spt_core.model import SpecializedModel\n"
        f"model = SpecializedModel(load_exported({text_export.uri!r}))\n"
        "answer = model.answer(model.task.example)\n"
        "assert list(answer) == list(model.task.answer), answer\n"
        "heavy = {'torch', 'transformers', 'sklearn', 'ray', 'numba'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
