import dataclasses
import types

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from spt_core.artifacts import GRAPH, ExportedModel, has_manifest, load_exported
from spt_core.compression import quantize as module
from spt_core.compression.quantize import (
    QuantizeConfig,
    compared,
    proof_name,
    quantize,
    small_tables,
)
from spt_core.errors import InputError, QualityError
from spt_core.families.onnx import open_session
from spt_core.heads.metrics import class_log_loss
from spt_core.heads.outcomes import OutcomeMetric
from spt_core.model import default_policy, open_answerer
from spt_core.policy import LabelPolicy
from spt_core.task import find
from tests.tiny_models import DRUGS, text_task

TASK = find(DRUGS)
GAP = 0.25  # of random weights, whose probabilities hang on few bits


@pytest.fixture(scope="module")
def policy(text_export):
    return default_policy(text_export)


@pytest.fixture(scope="module")
def rows():
    """Rows as a split holds them."""
    return TASK.sample(60, 0)


@pytest.fixture(scope="module")
def int8(text_export, rows, policy):
    """Judged by its probabilities: random weights decide by a hair, and may name no pair at all."""
    config = QuantizeConfig(min_share=0.5)
    with pytest.MonkeyPatch.context() as patch:
        smooth = OutcomeMetric(lambda found: 1.0 / (1.0 + class_log_loss(found)))
        patch.setattr(module, "metric_of", lambda _: smooth)
        return quantize(text_export, rows, TASK.label, policy, config=config)


def test_the_proof_of_quality_is_kept_with_the_model(int8, text_export):
    proof = int8.parity["quality"]
    assert proof["metric"] == TASK.metric
    assert proof["num_rows"] == 60
    assert proof["int8"] >= 0.5 * proof["full_precision"]
    assert int8.parity["full_precision"] == text_export.uri
    assert 0 < int8.parity["max_abs_difference"]["probability"] < GAP


def test_it_answers_nearly_like_the_full_model_and_its_own_probes(int8, text_export, policy):
    small, full = (open_answerer(model, policy) for model in (int8, text_export))
    for record, wanted in zip(int8.probes["records"], int8.probes["probabilities"], strict=True):
        found = small.outputs(record).ravel()
        assert np.abs(found - wanted).max(initial=0.0) <= 1e-6
        other = full.outputs(record).ravel()
        assert np.abs(found - other).max(initial=0.0) < GAP


def test_its_linear_layers_have_8_bits(int8, text_export):
    assert len(int8.read(GRAPH)) < len(text_export.read(GRAPH))
    assert b"MatMulInteger" in int8.read(GRAPH)


def test_a_finished_one_is_found_again(int8, text_export, rows, policy):
    assert has_manifest(int8.uri)
    assert load_exported(int8.uri) == int8
    config = QuantizeConfig(min_share=0.5)
    assert quantize(text_export, rows, TASK.label, policy, config=config) == int8


def test_one_that_loses_too_much_is_refused(text_export, rows, policy, monkeypatch):
    scores = iter([0.8, 0.7])
    monkeypatch.setattr(module, "metric_of", lambda _: OutcomeMetric(lambda _: next(scores)))
    with pytest.raises(QualityError, match=r"keep 99.0% of its micro_f1, however: .* 0.7000 inste"):
        quantize(text_export, rows, TASK.label, policy)


@pytest.mark.parametrize("score", [0.0, float("nan")])
def test_a_full_model_without_any_quality_has_no_share_to_keep(score, rows, monkeypatch):
    monkeypatch.setattr(module, "metric_of", lambda _: OutcomeMetric(lambda _: score))
    model = types.SimpleNamespace(task=TASK, outcomes=lambda *_: None)
    with pytest.raises(QualityError, match=r"micro_f1 must be above 0 .* on 60 rows it is"):
        compared(model, model, rows, TASK.label, QuantizeConfig())


def test_an_error_of_0_can_be_kept(rows, monkeypatch):
    metric = OutcomeMetric(lambda _: 0.0, lower_is_better=True)
    monkeypatch.setattr(module, "metric_of", lambda _: metric)
    model = types.SimpleNamespace(task=text_task("regression"), outcomes=lambda *_: None)
    assert compared(model, model, rows, "label", QuantizeConfig())["int8"] == 0.0


def test_a_proof_is_of_its_rows_label_policy_and_code(rows, monkeypatch):
    artifact = types.SimpleNamespace(task=DRUGS)
    model = ExportedModel(
        uri="", artifact=artifact, files={GRAPH: "0"}, parity={}, probes={}, size_bytes=0
    )
    config, policy = QuantizeConfig(), LabelPolicy(thresholds={}, most_probable=True)
    known = (model, rows, TASK.label, policy, config)
    other_label = rows.append_column("checked", rows[TASK.label])
    strict = LabelPolicy(thresholds={"none": 0.9}, most_probable=True)
    names = [
        proof_name(*known),
        proof_name(dataclasses.replace(model, files={GRAPH: "1"}), *known[1:]),
        proof_name(model, TASK.sample(rows.num_rows, 1), *known[2:]),
        proof_name(model, other_label, "checked", policy, config),
        proof_name(model, rows, TASK.label, strict, config),
        proof_name(*known[:4], QuantizeConfig(min_share=0.9)),
    ]
    assert proof_name(*known) == names[0]
    monkeypatch.setattr(module, "code_fingerprint", lambda: "of another version")
    assert len({*names, proof_name(*known)}) == len(names) + 1


def test_tables_of_numbers_are_not_quantized(export, rows, policy):
    with pytest.raises(
        InputError, match="that gains by it are quantized .* of the family 'tabular'"
    ):
        quantize(export, rows, TASK.label, policy)


@pytest.mark.parametrize("changes", [{"min_share": 0.0}, {"min_share": 1.1}, {"max_rows": 0}])
def test_a_share_that_is_none_is_refused(changes):
    with pytest.raises(InputError, match="min_share must be in"):
        dataclasses.replace(QuantizeConfig(), **changes)


def test_each_row_of_a_table_keeps_its_own_scale():
    draw = np.random.default_rng(0)
    rows = (draw.normal(size=(300, 8)) * 10.0 ** draw.integers(-4, 3, (300, 1))).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["rows", "ids"], ["out"])],
        "one",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(rows, "rows")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    small_tables(model)
    assert {value.name for value in model.graph.initializer} == {"rows.int8", "rows.scale"}
    (found,) = open_session(model.SerializeToString()).run(None, {"ids": np.arange(300)})
    assert (np.abs(found - rows) <= np.abs(rows).max(1, keepdims=True) / 254 * 1.001).all()


def test_rows_that_say_nothing_prove_nothing(text_export, policy):
    rows = TASK.sample(20, 1)
    empty = rows.set_column(
        rows.column_names.index(TASK.label), TASK.label, pa.array(["[]"] * rows.num_rows)
    )
    with pytest.raises(QualityError, match="micro_f1 must be above 0"):
        quantize(text_export, empty, TASK.label, policy)
