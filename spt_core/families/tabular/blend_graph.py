"""A blend as one ONNX graph, for other runtimes: the student's graph and a TreeEnsemble.

features [B, F] -> (student's scores x share) + TreeEnsemble + bias -> calibration -> output
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from spt_core.families.graph import OPSET
from spt_core.families.onnx import INPUT
from spt_core.families.tabular.blend import Blend
from spt_core.families.tabular.compiled import BETA
from spt_core.families.tabular.trees import Trees

STUDENT_SCORES = "student_scores"
_TREES_DOMAIN, _TREES_OPSET = "ai.onnx.ml", 5
_UP_TO, _MEMBER = 0, 6  # modes of a node of TreeEnsemble
_SUM, _NONE = 1, 0


def blend_graph(blend: Blend, student: bytes | None, num_columns: int, output: str) -> bytes:
    """The blend's scores; of a decision, its probability [B]. `student` gives STUDENT_SCORES."""
    if student is None:
        features = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", num_columns])
        model = helper.make_model(
            helper.make_graph([], "blend", [features], []),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=10,
        )
    else:
        model = onnx.load_model_from_string(student)
        del model.graph.output[:]
    graph = model.graph
    model.opset_import.append(helper.make_opsetid(_TREES_DOMAIN, _TREES_OPSET))
    writer = _Writer(graph)
    scores = writer.add("TreeEnsemble", [INPUT], domain=_TREES_DOMAIN, **_attributes(blend.trees))
    scores = writer.add("Add", [scores, writer.constant(blend.trees.bias[:1])])
    if student is not None:
        share = writer.constant(np.array(blend.student_share))
        scores = writer.add("Add", [scores, writer.add("Mul", [STUDENT_SCORES, share])])
    scores = _calibrated(writer, scores, blend.calibration)
    shape: list[Any] = ["batch", blend.calibration.shape[1]]
    if len(blend.calibration) == BETA:
        axis = writer.constant(np.array([1]), np.int64)
        scores = writer.add("Squeeze", [writer.add("Sigmoid", [scores]), axis])
        shape = ["batch"]
    graph.node.append(helper.make_node("Identity", [scores], [output]))
    graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))
    onnx.checker.check_model(model)
    return model.SerializeToString()


class _Writer:
    """Adds nodes and constants behind those of a graph."""

    def __init__(self, graph: Any) -> None:
        self._graph, self._number = graph, 0

    def add(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """A node; the name of its output."""
        name = self._name()
        self._graph.node.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, values: NDArray[Any], kind: Any = np.float32) -> str:
        """Its name."""
        name = self._name()
        self._graph.initializer.append(numpy_helper.from_array(values.astype(kind), name))
        return name

    def _name(self) -> str:
        self._number += 1
        return f"blend_{self._number}"


def _calibrated(writer: _Writer, scores: str, calibration: NDArray[np.float64]) -> str:
    if len(calibration) != BETA:
        scale, shift = (writer.constant(row[None]) for row in calibration)
        return writer.add("Add", [writer.add("Mul", [scores, scale]), shift])
    a, b, c = calibration
    straight = writer.add("Mul", [scores, writer.constant(a)])
    bent = writer.add("Mul", [writer.add("Softplus", [scores]), writer.constant(b - a)])
    return writer.add("Add", [writer.add("Add", [straight, bent]), writer.constant(c)])


def _attributes(trees: Trees) -> dict[str, Any]:
    """The trees as the attributes of ai.onnx.ml's TreeEnsemble, version 5."""
    is_leaf = trees.below < 0
    is_leaf[0] = False  # the edge above all leads nowhere
    leaves = np.cumsum(is_leaf) - 1
    left, right = np.arange(1, len(trees.below), 2), np.arange(2, len(trees.below), 2)
    targets = np.where(is_leaf, leaves, trees.below)
    is_category = trees.sets[:, 0] >= 0
    members: list[float] = []
    for first, size in trees.sets[is_category]:
        bits = np.unpackbits(trees.words[first : first + size].view(np.uint8), bitorder="little")
        members += [*np.flatnonzero(bits).tolist(), float("nan")]
    tree_of_edge = np.repeat(np.arange(len(trees.outputs)), 2 * np.diff(trees.firsts))
    outputs = trees.outputs[tree_of_edge][is_leaf[1:]]
    modes = np.where(is_category, _MEMBER, _UP_TO).astype(np.uint8)
    attributes: dict[str, Any] = {
        "n_targets": trees.bias.shape[1],
        "aggregate_function": _SUM,
        "post_transform": _NONE,
        "tree_roots": trees.firsts[:-1].tolist(),
        "nodes_modes": numpy_helper.from_array(modes),
        "nodes_featureids": trees.column.tolist(),
        "nodes_splits": numpy_helper.from_array(trees.threshold),
        "nodes_truenodeids": targets[left].tolist(),
        "nodes_falsenodeids": targets[right].tolist(),
        "nodes_trueleafs": is_leaf[left].astype(int).tolist(),
        "nodes_falseleafs": is_leaf[right].astype(int).tolist(),
        "nodes_missing_value_tracks_true": trees.missing_left.tolist(),
        "leaf_targetids": outputs.tolist(),
        "leaf_weights": numpy_helper.from_array(trees.value[is_leaf]),
    }
    if members:
        attributes["membership_values"] = numpy_helper.from_array(np.array(members, np.float32))
    return attributes
