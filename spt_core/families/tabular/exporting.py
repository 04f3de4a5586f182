"""The files of a student, or of a blend, with the proof that they answer like the checkpoint.

student -> model.onnx, explain.onnx, kernel.safetensors
blend -> model.onnx, trees.safetensors, kernel.safetensors if a student is part of it
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spt_core.artifacts import FACTS, GRAPH, WEIGHTS, ModelArtifact
from spt_core.errors import InputError, ParityError
from spt_core.families.graph import OPSET, Exported, Method, gap, graph
from spt_core.families.onnx import INPUT, open_session
from spt_core.families.tabular.blend import TREES
from spt_core.families.tabular.blend_graph import STUDENT_SCORES, blend_graph
from spt_core.families.tabular.blending import BlendedModel
from spt_core.families.tabular.checkpoint import open_runtime, open_student
from spt_core.families.tabular.compiling import compile_blend
from spt_core.families.tabular.kernel import KERNEL, Kernel
from spt_core.families.tabular.network import StudentNetwork
from spt_core.families.tabular.outputs import DECISION, Target, target_from_json
from spt_core.families.tabular.runtimes import BlendRuntime, KernelRuntime, Runtime
from spt_core.families.tabular.serving import EXPLAIN_GRAPH, OnnxRuntime
from spt_core.families.tabular.settings import REFERENCE
from spt_core.signature import Signature

TOLERANCE = 1e-5
EFFECT_TOLERANCE = 1e-3  # on log-odds, which reach far beyond 1
BATCH_SIZES = (1, 7, 256)
NUM_PROBES = 16


def export_table(artifact: ModelArtifact) -> Exported:
    """The graphs and kernel of a student or a blend; ParityError when they disagree with it."""
    if artifact.role == "teacher":
        raise InputError(
            f"only a student can be exported, or a blend with one, however: {artifact.uri} is a "
            "teacher"
        )
    contents, runtimes = (_student if artifact.role == "student" else _blend)(artifact)
    checkpoint = open_runtime(artifact)
    target = target_from_json(json.loads(artifact.read(FACTS)))
    parity = {"max_abs_difference": {"probability": 0.0, "effects": 0.0}}
    for name, runtime in runtimes.items():
        proof = check_parity(checkpoint, runtime, artifact.signature, target)
        parity |= {f: v for f, v in proof.items() if f != "max_abs_difference"}
        if name == "kernel":
            parity["kernel_max_abs_difference"] = proof["max_abs_difference"]
        else:
            parity["max_abs_difference"] = proof["max_abs_difference"]
    rows = trial_rows(artifact.signature, NUM_PROBES, seed=1)
    probes = {
        "features": [[None if np.isnan(v) else float(v) for v in row] for row in rows],
        "probabilities": checkpoint.score(rows).tolist(),
    }
    kept = {name: artifact.read(name) for name in (REFERENCE,) if name in artifact.files}
    return Exported({**contents, **kept}, parity, probes)


def _student(artifact: ModelArtifact) -> tuple[dict[str, bytes], dict[str, Runtime]]:
    network = open_student(artifact)
    graphs = {
        GRAPH: _graph(network, network.score, artifact.signature, ["probability"]),
        EXPLAIN_GRAPH: _graph(
            network, network.explain, artifact.signature, ["probability", "effects"]
        ),
    }
    kernel = kernel_of(network)
    onnx = OnnxRuntime(graphs[GRAPH], graphs[EXPLAIN_GRAPH])
    contents = {**graphs, KERNEL: kernel.to_bytes()}
    return contents, {"onnx": onnx, "kernel": _RowByRow(KernelRuntime(kernel, onnx))}


def _blend(artifact: ModelArtifact) -> tuple[dict[str, bytes], dict[str, Runtime]]:
    network = open_student(artifact) if WEIGHTS in artifact.files else None
    model = BlendedModel(artifact, network)
    blend = compile_blend(artifact, model)
    contents, kernel, student = {TREES: blend.to_bytes()}, None, None
    if network is not None:
        kernel = kernel_of(network)
        contents[KERNEL] = kernel.to_bytes()
        student = _graph(network, network.scores, artifact.signature, [STUDENT_SCORES])
    num_columns = len(artifact.signature.columns)
    contents[GRAPH] = blend_graph(blend, student, num_columns, "probability")
    runtime = BlendRuntime(blend, kernel, num_columns)
    return contents, {"onnx": _Explained(contents[GRAPH], runtime), "kernel": _RowByRow(runtime)}


class _Explained:
    """A graph's scores with another runtime's effects: a graph of a blend has none."""

    def __init__(self, graph: bytes, effects: Runtime) -> None:
        self._session, self._effects = open_session(graph), effects

    def score(self, features: NDArray[np.float32]) -> NDArray[Any]:
        return np.asarray(self._session.run(None, {INPUT: features})[0])

    def explain(self, features: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
        return self.score(features), self._effects.explain(features)[1]


def check_parity(
    checkpoint: Runtime,
    runtime: Runtime,
    signature: Signature,
    target: Target = DECISION,
) -> dict[str, Any]:
    """The largest differences seen; ParityError beyond TOLERANCE at any batch size.

    Those of classes are of probabilities, those of numbers, and their effects, in standard units.
    """

    def comparable(scores: NDArray[Any]) -> NDArray[Any]:
        return target.output.comparable(scores, target)

    worst = {"probability": 0.0, "effects": 0.0}
    for size in BATCH_SIZES:
        rows = trial_rows(signature, size, seed=size)
        expected, expected_effects = checkpoint.explain(rows)
        actual, effects = runtime.explain(rows)
        gaps = {
            "score": gap(comparable(runtime.score(rows)), comparable(expected)),
            "probability": gap(comparable(actual), comparable(expected)),
            "effects": gap(effects, expected_effects) / target.spread,
        }
        limits = {"score": TOLERANCE, "probability": TOLERANCE, "effects": EFFECT_TOLERANCE}
        for name, difference in gaps.items():
            if not difference <= limits[name]:
                raise ParityError(
                    f"an exported model must agree with its checkpoint within {limits[name]:g}, "
                    f"however: {name} differs by {difference:.3g} at batch {size}"
                )
        worst["probability"] = max(worst["probability"], gaps["score"], gaps["probability"])
        worst["effects"] = max(worst["effects"], gaps["effects"])
    return {
        "max_abs_difference": worst,
        "tolerance": TOLERANCE,
        "batch_sizes": list(BATCH_SIZES),
        "opset": OPSET,
    }


def kernel_of(network: StudentNetwork) -> Kernel:
    """The network as arrays of the compiled kernel; sums are made in double precision."""
    width = len(network.bias)
    places: list[tuple[int, int]] = []
    ramps, steps, sums = [np.empty((0, 2))], [np.empty((0, width))], [np.empty((0, width))]
    num_ramps = num_sums = 0
    for column in range(network.num_numbers):
        left = _array(network.encoding.left[column])
        inverse_width = _array(network.encoding.inverse_width[column])
        used = np.flatnonzero(inverse_width > 0)
        order = used[np.argsort(left[used], kind="stable")]
        places.append((num_ramps, num_ramps + len(order)))
        ramps.append(np.column_stack([left[order], inverse_width[order]]))
        steps.append(_array(network.number_weight[column])[order])
        sums.append(np.concatenate([np.zeros((1, width)), steps[-1].cumsum(0)]))
        num_ramps += len(order)
        num_sums += len(order) + 1
    for rows in network.category_rows():
        places.append((num_sums, -1))
        sums.append(_array(rows))
        num_sums += len(rows)
    layers: list[Any] = [*network.upper, network.output]
    upper = [_array(values).ravel() for layer in layers for values in (layer.weight, layer.bias)]
    is_decision = network.is_decision
    calibration = (
        network.calibration[:, None] if is_decision else torch.stack([network.scale, network.shift])
    )
    return Kernel(
        places=np.array(places, np.int64),
        ramps=np.concatenate(ramps).astype(np.float32),
        steps=np.concatenate(steps).astype(np.float32),
        sums=np.concatenate(sums).astype(np.float32),
        centers=np.concatenate([_array(network.baseline), _array(network.bias)[None]]).astype(
            np.float32
        ),
        sizes=np.array([layer.in_features for layer in layers], np.int64),
        upper=np.concatenate(upper).astype(np.float32),
        calibration=_array(calibration).astype(np.float32),
    )


class _RowByRow:
    """A runtime that is asked for one row at a time."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def score(self, features: NDArray[np.float32]) -> NDArray[Any]:
        return np.concatenate([self._runtime.score(row[None]) for row in features])

    def explain(self, features: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
        answers = [self._runtime.explain(row[None]) for row in features]
        return np.concatenate([p for p, _ in answers]), np.concatenate([e for _, e in answers])


def trial_rows(signature: Signature, num_rows: int, *, seed: int) -> NDArray[np.float32]:
    """Rows [N, F] over many magnitudes, with missing numbers and unseen categories among them."""
    draw = np.random.default_rng(seed)
    num_numbers = len(signature.numbers)
    numbers = draw.normal(size=(num_rows, num_numbers)) * 10.0 ** draw.integers(
        -2, 7, (num_rows, num_numbers)
    )
    numbers[draw.random(numbers.shape) < 0.15] = np.nan
    categories = [draw.integers(0, size, num_rows) for size in signature.cardinalities]
    rows = np.column_stack([numbers, *categories]).astype(np.float32)
    rows[0, :num_numbers] = np.nan  # one row of which nothing is known
    rows[0, num_numbers:] = 0.0
    return rows


def _graph(
    network: StudentNetwork, method: Callable[..., Any], signature: Signature, outputs: list[str]
) -> bytes:
    """A method of the network as ONNX with a dynamic batch."""
    example = torch.from_numpy(trial_rows(signature, 3, seed=0))
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    return graph(Method(network, method), [example], {INPUT: {0: batch}}, outputs)


def _array(tensor: torch.Tensor) -> NDArray[np.float64]:
    return tensor.detach().double().numpy()
