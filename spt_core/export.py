"""Checkpoint -> files to serve from, refused unless they answer like the checkpoint.

ModelArtifact (student) -> model.onnx, explain.onnx, kernel.safetensors + parity -> ExportedModel
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from spt_core.artifacts import (
    ExportedModel,
    ModelArtifact,
    code_fingerprint,
    digest,
    has_manifest,
    load_exported,
    write_bytes,
    write_manifest,
)
from spt_core.errors import InputError, ParityError
from spt_core.models.tabular import StudentNetwork
from spt_core.runtime.base import Runtime
from spt_core.runtime.kernel import KERNEL, Kernel, KernelRuntime
from spt_core.runtime.onnx import EXPLAIN_GRAPH, INPUT, SCORE_GRAPH, OnnxRuntime
from spt_core.runtime.pytorch import StudentRuntime, open_student
from spt_core.signature import Signature

OPSET = 18
TOLERANCE = 1e-5
EFFECT_TOLERANCE = 1e-3  # on log-odds, which reach far beyond 1
BATCH_SIZES = (1, 7, 256)
NUM_PROBES = 16


def export(artifact: ModelArtifact, *, fresh: bool = False) -> ExportedModel:
    """The student's ONNX files beside its checkpoint; ParityError when they disagree with it."""
    if artifact.role != "student":
        raise InputError(
            f"only a student can be exported, however: {artifact.uri} is a {artifact.role}"
        )
    uri = f"{artifact.uri}/onnx-{digest([artifact.files, OPSET, code_fingerprint()])}"
    if not fresh and has_manifest(uri):
        return load_exported(uri)
    network = open_student(artifact)
    graphs = {
        SCORE_GRAPH: _graph(
            _Method(network, network.probability), artifact.signature, ["probability"]
        ),
        EXPLAIN_GRAPH: _graph(
            _Method(network, network.explain), artifact.signature, ["probability", "effects"]
        ),
    }
    kernel, checkpoint = kernel_of(network), StudentRuntime(artifact)
    onnx = OnnxRuntime(graphs[SCORE_GRAPH], graphs[EXPLAIN_GRAPH])
    parity = check_parity(checkpoint, onnx, artifact.signature)
    rows_alone = _RowByRow(KernelRuntime(kernel, onnx))
    compiled = check_parity(checkpoint, rows_alone, artifact.signature)
    parity["kernel_max_abs_difference"] = compiled["max_abs_difference"]
    contents = {**graphs, KERNEL: kernel.to_bytes()}
    rows = trial_rows(artifact.signature, NUM_PROBES, seed=1)
    probes = {
        "features": [[None if np.isnan(v) else float(v) for v in row] for row in rows],
        "probabilities": checkpoint.score(rows).tolist(),
    }
    files = {name: write_bytes(f"{uri}/{name}", content) for name, content in contents.items()}
    exported = ExportedModel(
        uri=uri,
        artifact=artifact,
        files=files,
        parity=parity,
        probes=probes,
        size_bytes=sum(len(content) for content in contents.values()),
    )
    write_manifest(uri, exported.to_json())
    return exported


def check_parity(
    checkpoint: StudentRuntime, runtime: Runtime, signature: Signature
) -> dict[str, Any]:
    """The largest differences seen; ParityError beyond TOLERANCE at any batch size."""
    worst = {"probability": 0.0, "effects": 0.0}
    for size in BATCH_SIZES:
        rows = trial_rows(signature, size, seed=size)
        wanted, wanted_effects = checkpoint.explain(rows)
        found, effects = runtime.explain(rows)
        gaps = {
            "score": _gap(runtime.score(rows), wanted),
            "probability": _gap(found, wanted),
            "effects": _gap(effects, wanted_effects),
        }
        limits = {"score": TOLERANCE, "probability": TOLERANCE, "effects": EFFECT_TOLERANCE}
        for name, gap in gaps.items():
            if not gap <= limits[name]:
                raise ParityError(
                    f"an exported model must agree with its checkpoint within {limits[name]:g}, "
                    f"however: {name} differs by {gap:.3g} at batch {size}"
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
        calibration=_array(network.calibration).astype(np.float32),
    )


class _RowByRow:
    """A runtime that is asked for one row at a time."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def score(self, features: NDArray[np.float32]) -> NDArray[Any]:
        return np.concatenate([self._runtime.score(row[None]) for row in features])

    def explain(self, features: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
        found = [self._runtime.explain(row[None]) for row in features]
        return np.concatenate([p for p, _ in found]), np.concatenate([e for _, e in found])


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


class _Method(nn.Module):
    """One method of a network as a module, which is what the exporter takes."""

    def __init__(self, network: StudentNetwork, method: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.network, self._method = network, method

    def forward(self, features: torch.Tensor) -> Any:
        return self._method(features)


def _graph(module: nn.Module, signature: Signature, outputs: list[str]) -> bytes:
    """The module as ONNX with a dynamic batch."""
    example = torch.from_numpy(trial_rows(signature, 3, seed=0))
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=outputs,
            dynamic_shapes={INPUT: {0: batch}},
            verbose=False,
        )
        assert program is not None
        program.optimize()
        model = program.model_proto
    # The exporter writes where its source lies into every node: the bytes would depend on the path.
    for part in (model, model.graph, *model.graph.node, *model.graph.initializer):
        del part.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
    return model.SerializeToString()


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Keep the exporter's notices about itself off the user's terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _array(tensor: torch.Tensor) -> NDArray[np.float64]:
    return tensor.detach().double().numpy()


def _gap(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    return float(np.max(np.abs(found - wanted))) if wanted.size else 0.0
