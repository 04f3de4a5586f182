"""Checkpoint -> ONNX files, refused unless they answer like the checkpoint.

ModelArtifact (student) -> model.onnx, explain.onnx + parity -> ExportedModel
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnxscript import opset18
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
from spt_core.models.tabular_graph import ExplainGraph, ScoreGraph
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
        SCORE_GRAPH: _graph(ScoreGraph(network), artifact.signature, ["probability"]),
        EXPLAIN_GRAPH: _graph(
            ExplainGraph(network), artifact.signature, ["probability", "effects"]
        ),
    }
    runtime = OnnxRuntime(graphs[SCORE_GRAPH], graphs[EXPLAIN_GRAPH])
    checkpoint = StudentRuntime(artifact)
    parity = check_parity(checkpoint, runtime, artifact.signature)
    rows = trial_rows(artifact.signature, NUM_PROBES, seed=1)
    probes = {
        "features": [[None if np.isnan(v) else float(v) for v in row] for row in rows],
        "probabilities": checkpoint.score(rows).tolist(),
    }
    files = {name: write_bytes(f"{uri}/{name}", content) for name, content in graphs.items()}
    exported = ExportedModel(
        uri=uri,
        artifact=artifact,
        files=files,
        parity=parity,
        probes=probes,
        size_bytes=sum(len(content) for content in graphs.values()),
    )
    write_manifest(uri, exported.to_json())
    return exported


def check_parity(
    checkpoint: StudentRuntime, runtime: OnnxRuntime, signature: Signature
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
            custom_translation_table={torch.ops.aten.softplus.default: _softplus},
        )
        assert program is not None
        program.optimize()
        return program.model_proto.SerializeToString()


def _softplus(logits: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """One node; the exporter's own translation guards a threshold with three more."""
    del beta, threshold
    return opset18.Softplus(logits)


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


def _gap(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    return float(np.max(np.abs(found - wanted))) if wanted.size else 0.0
