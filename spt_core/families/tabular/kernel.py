"""Runs a tabular student's single rows on a compiled kernel; batches go to ONNX Runtime.

At one row ONNX Runtime spends more on a node than on its arithmetic, and multiplies by ramps of
which almost all are 0 or 1. The kernel (compiled by Numba when the model is opened, kept in its
cache) looks up the sum of a column's passed ramps and adds the one that the value lies on. Export
proves it against the checkpoint like the graphs.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from spt_core.families.tabular.compiled import BETA, answer_student

KERNEL = "kernel.safetensors"
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


class Runtime(Protocol):
    """Scores encoded rows. Thread-safe, holds the weights, raises nothing on finite input."""

    def score(self, features: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Calibrated probabilities [B] of decisions, else scores [B, K], of features [B, F]."""
        ...

    def explain(
        self, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """The same, and signed effects [B, F] on the log-odds, or [B, K, F] on the scores."""
        ...


class Kernel(NamedTuple):
    """A student as arrays: F columns, N numbers first; R ramps; H the first hidden layer's width.

    A number column's row of `places` says where its ramps begin and end, sorted by left edge; a
    category column's, where its rows begin in `sums`, and -1. `sums` holds for each number column
    what none, one, ... all of its ramps add up to, then the categories' rows.
    """

    places: Integers  # [F, 2]
    ramps: Floats  # [R, 2]: left edge, inverse width
    steps: Floats  # [R, H]: what a passed ramp adds
    sums: Floats  # [R + N + categories, H]
    centers: Floats  # [F + 1, H]: each column's mean contribution, the bias last
    sizes: Integers  # [L]: widths of the hidden layers, the first is H
    upper: Floats  # each layer's weights [out, in] and bias [out]; the output's [K, in] and [K]
    calibration: Floats  # [3, 1]: a, b, c of a decision's beta calibration; [2, K]: scale, shift

    def to_bytes(self) -> bytes:
        """The arrays as safetensors."""
        return save(self._asdict())


def kernel_from_bytes(content: bytes) -> Kernel:
    """The Kernel that `to_bytes` wrote."""
    arrays = {name: array.copy() for name, array in load(content).items()}
    if arrays["calibration"].ndim == 1:  # decisions' kernels of before there were other heads
        arrays["calibration"] = arrays["calibration"][:, None]
    return Kernel(**arrays)


class KernelRuntime:
    """Single rows on the compiled kernel, batches on another runtime of the same model."""

    def __init__(self, kernel: Kernel, batches: Runtime) -> None:
        self._kernel, self._batches = kernel, batches
        self._no_effects = np.empty((0, 0))
        self._is_decision = len(kernel.calibration) == BETA
        self._num_scores = kernel.calibration.shape[1]
        self.score(np.zeros((1, len(kernel.places)), np.float32))  # compiles, or finds it compiled

    def score(self, features: Floats) -> NDArray[np.floating[Any]]:
        """Calibrated probabilities [B], or scores [B, K]."""
        if len(features) != 1:
            return self._batches.score(features)
        scores = np.empty(self._num_scores)
        answer_student(self._kernel, features[0], scores, self._no_effects)
        return scores if self._is_decision else scores[None]

    def explain(
        self, features: Floats
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """The same and effects [B, F], or [B, K, F]."""
        if len(features) != 1:
            return self._batches.explain(features)
        num_scores = self._num_scores
        scores, effects = np.empty(num_scores), np.empty((num_scores, features.shape[1]))
        answer_student(self._kernel, features[0], scores, effects)
        return (scores, effects) if self._is_decision else (scores[None], effects[None])
