"""ONNX Runtime on one thread: models of microseconds lose with more."""

from __future__ import annotations

import onnxruntime

INPUT = "features"


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    """A single-threaded CPU session."""
    return onnxruntime.InferenceSession(
        graph, session_options(), providers=["CPUExecutionProvider"]
    )


def session_options() -> onnxruntime.SessionOptions:
    """One thread, and no word but errors."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    return options
