"""Runs exported graphs on ONNX Runtime, on one thread: models of microseconds lose with more."""

from __future__ import annotations

import threading
from collections.abc import Callable
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
        self._score = _Graph(score_graph)
        self._explain = _Graph(explain_graph)

    def score(self, features: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Calibrated probabilities [B]."""
        return self._score(features)[0]

    def explain(
        self, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """Calibrated probabilities [B] and effects [B, F]."""
        probabilities, effects = self._explain(features)
        return probabilities, effects


class _Graph:
    """One session; single rows go through buffers bound once, which halves their time."""

    def __init__(self, content: bytes) -> None:
        self._session = open_session(content)
        num_features = self._session.get_inputs()[0].shape[1]
        outputs = self._session.get_outputs()
        self._row = np.zeros((1, num_features), np.float32)
        self._answers = [np.zeros((1, *output.shape[1:]), np.float32) for output in outputs]
        self._binding = self._session.io_binding()
        self._lock = threading.Lock()
        self._bind(INPUT, self._row, self._binding.bind_input)
        for output, answer in zip(outputs, self._answers, strict=True):
            self._bind(output.name, answer, self._binding.bind_output)

    def __call__(self, features: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The graph's outputs."""
        if len(features) != 1:
            return cast(list[Any], self._session.run(None, {INPUT: features}))
        with self._lock:
            self._row[:] = features
            self._session.run_with_iobinding(self._binding)
            return [answer.copy() for answer in self._answers]

    @staticmethod
    def _bind(name: str, buffer: NDArray[np.float32], bind: Callable[..., None]) -> None:
        bind(name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    """A single-threaded CPU session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
