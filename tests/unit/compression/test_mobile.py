"""Models for phones: ONNX Runtime's own format, proven, and a note on its use."""

import numpy as np
import pytest

from spt_core.artifacts import GRAPH
from spt_core.compression import mobile as module
from spt_core.compression.mobile import ORT, USAGE, mobile
from spt_core.errors import ParityError
from spt_core.families.onnx import INPUT, open_session
from spt_core.task import find
from tests.kept_exports import kept_export
from tests.tiny_blends import SHARES, tiny_blend
from tests.tiny_models import table_task, tiny_text_artifact

TEXT = find("technology/security_analysis")


@pytest.fixture(scope="module", params=["table", "text"])
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param).as_uri()
    if request.param == "text":
        return kept_export(tiny_text_artifact(TEXT, folder))
    return kept_export(tiny_blend(table_task("binary"), folder, SHARES))


@pytest.fixture
def described(monkeypatch):
    monkeypatch.setattr(module, "find", lambda path: TEXT)


def test_a_phone_s_graph_answers_like_the_server_s(exported, described):
    phone = mobile(exported)
    assert {*exported.files, ORT, USAGE} == set(phone.files)
    assert phone.parity["ort_max_abs_difference"] <= 1e-5
    assert mobile(exported).uri == phone.uri
    note = phone.read(USAGE).decode()
    for session in (open_session(phone.read(ORT)), open_session(phone.read(GRAPH))):
        assert all(f"`{value.name}`" in note for value in session.get_inputs())
    assert "tokenizer.json" in note or "`speed`" in note


def test_a_graph_that_answers_otherwise_is_refused(tmp_path, described, monkeypatch):
    exported = kept_export(tiny_blend(table_task("binary"), tmp_path.as_uri(), SHARES))
    other = kept_export(
        tiny_blend(table_task("binary"), f"{tmp_path.as_uri()}/2", {**SHARES, "student": 0.1})
    )
    rows = np.zeros((1, len(exported.artifact.signature.columns)), np.float32)
    graphs = [
        open_session(each.read(GRAPH)).run(None, {INPUT: rows})[0] for each in (exported, other)
    ]
    assert abs(graphs[0] - graphs[1]).max() > 1e-5
    monkeypatch.setattr(module, "ort_graph", lambda graph: other.read(GRAPH))
    with pytest.raises(ParityError, match=r"model.ort must answer like model.onnx"):
        mobile(exported)
