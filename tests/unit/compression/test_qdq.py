"""Q/DQ graphs: INT8 with scales of their own, from rows, near full precision."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from spt_core.artifacts import GRAPH, has_manifest
from spt_core.compression import quantize as quantize_module
from spt_core.compression.qdq import qdq_graph, quantize_symmetric
from spt_core.compression.quantize import QuantizeConfig
from spt_core.errors import InputError
from spt_core.families.onnx import open_session
from spt_core.heads.metrics import class_log_loss
from spt_core.heads.outcomes import OutcomeMetric
from spt_core.model import default_policy, open_answerer
from spt_core.task import find
from tests.tiny_models import DRUGS

TASK = find(DRUGS)
GAP = 0.25  # of random weights, whose probabilities hang on few bits


@pytest.fixture(scope="module")
def rows():
    return TASK.sample(60, 0)


@pytest.fixture(scope="module")
def int8(text_export, rows):
    """Judged by its probabilities, as in test_quantize.py."""
    smooth = OutcomeMetric(lambda found: 1.0 / (1.0 + class_log_loss(found)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize_module, "metric_of", lambda _: smooth)
        return quantize_symmetric(
            text_export,
            rows,
            TASK.label,
            default_policy(text_export),
            config=QuantizeConfig(min_share=0.5),
        )


def linear_model(weights):
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["features", "weights", "bias"], ["out"], "layer")],
        "one",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", len(weights)])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", weights.shape[1]])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.ones(weights.shape[1], np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString()


def test_weights_and_activations_have_symmetric_scales_and_biases_none():
    draw = np.random.default_rng(0)
    # Channels of very different sizes: one scale for all of them would lose the small ones.
    weights = (draw.normal(size=(8, 4)) * [1e-3, 1.0, 30.0, 1e-2]).astype(np.float32)
    features = draw.normal(size=(64, 8)).astype(np.float32)
    content = linear_model(weights)
    quantized = qdq_graph(content, [{"features": features, "unknown": features}])
    model = onnx.load_model_from_string(quantized)
    values = {v.name: numpy_helper.to_array(v) for v in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type.endswith("izeLinear")]
    assert {node.op_type for node in nodes} == {"QuantizeLinear", "DequantizeLinear"}
    assert all((values[node.input[2]] == 0).all() for node in nodes)
    assert {values[node.input[2]].dtype for node in nodes} == {np.dtype(np.int8)}
    assert (4,) in {values[node.input[1]].shape for node in nodes}
    assert "bias" in values
    (wanted,) = open_session(content).run(None, {"features": features})
    (found,) = open_session(quantized).run(None, {"features": features})
    assert (np.abs(found - wanted).max(0) < 0.03 * np.abs(wanted - 1.0).max(0)).all()


def test_ranges_are_read_off_rows():
    with pytest.raises(InputError, match="read off rows, however: there are none"):
        qdq_graph(linear_model(np.ones((2, 2), np.float32)), [])


def test_a_text_s_graph_runs_and_answers_nearly_like_the_full_model(int8, text_export):
    model = onnx.load_model_from_string(int8.read(GRAPH))
    kinds = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert not {"DynamicQuantizeLinear", "MatMulInteger"} & kinds
    policy = default_policy(text_export)
    small, full = (open_answerer(each, policy) for each in (int8, text_export))
    for record, wanted in zip(int8.probes["records"], int8.probes["probabilities"], strict=True):
        found = small.outputs(record).ravel()
        assert np.abs(found - wanted).max(initial=0.0) <= 1e-6
        assert np.abs(found - full.outputs(record).ravel()).max(initial=0.0) < GAP


def test_quality_is_proven_on_rows_that_gave_no_range(int8, text_export):
    assert int8.parity["quality"]["num_rows"] == 30
    assert int8.parity["full_precision"] == text_export.uri
    assert has_manifest(int8.uri)


def test_a_finished_one_is_found_again(int8, text_export, rows):
    policy, config = default_policy(text_export), QuantizeConfig(min_share=0.5)
    assert quantize_symmetric(text_export, rows, TASK.label, policy, config=config) == int8


def test_one_row_is_too_few(text_export, rows):
    with pytest.raises(InputError, match="rows of their own, however: there are 1"):
        quantize_symmetric(text_export, rows[:1], TASK.label, default_policy(text_export))
