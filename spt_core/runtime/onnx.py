"""Runs exported graphs on ONNX Runtime, on one thread: models of microseconds lose with more."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

SCORE_GRAPH = "model.onnx"
EXPLAIN_GRAPH = "explain.onnx"
INPUT = "features"


class OnnxRuntime:
    """Two graphs of one model: probabilities alone, and with effects. Thread-safe."""

    def __init__(self, score_graph: bytes, explain_graph: bytes) -> None:
        self._score, self._explain = open_session(score_graph), open_session(explain_graph)

    def score(self, features: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Calibrated probabilities [B]."""
        return cast(list[Any], self._score.run(None, {INPUT: features}))[0]

    def explain(
        self, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """Calibrated probabilities [B] and effects [B, F]."""
        probabilities, effects = cast(list[Any], self._explain.run(None, {INPUT: features}))
        return probabilities, effects


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    """A single-threaded CPU session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
