"""Runs a tabular student's single rows on a compiled kernel; batches go to ONNX Runtime.

At one row ONNX Runtime spends more on a node than on its arithmetic, and multiplies by ramps of
which almost all are 0 or 1. The kernel (compiled by Numba when the model is opened, kept in its
cache) looks up the sum of a column's passed ramps and adds the one that the value lies on. Export
proves it against the checkpoint like the graphs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numba
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

KERNEL = "kernel.safetensors"
_BETA = 3  # the parameters of a beta calibration
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
        self._kernel, self._batches = tuple(kernel), batches
        self._no_effects = np.empty((0, 0))
        self._is_decision = len(kernel.calibration) == _BETA
        self._num_scores = kernel.calibration.shape[1]
        self.score(np.zeros((1, len(kernel.places)), np.float32))  # compiles, or finds it compiled

    def score(self, features: Floats) -> NDArray[np.floating[Any]]:
        """Calibrated probabilities [B], or scores [B, K]."""
        if len(features) != 1:
            return self._batches.score(features)
        scores = np.empty(self._num_scores)
        _answer(*self._kernel, features, scores, self._no_effects)
        return scores if self._is_decision else scores[None]

    def explain(
        self, features: Floats
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """The same and effects [B, F], or [B, K, F]."""
        if len(features) != 1:
            return self._batches.explain(features)
        num_scores = self._num_scores
        scores, effects = np.empty(num_scores), np.empty((num_scores, features.shape[1]))
        _answer(*self._kernel, features, scores, effects)
        return (scores, effects) if self._is_decision else (scores[None], effects[None])


def compile_ahead() -> None:
    """Compile before there is a model, as the installation does: the first one need not wait."""
    nothing = np.zeros((0, 2), np.float32), np.zeros((0, 1), np.float32)
    width_1 = np.zeros((1, 1), np.float32), np.zeros((2, 1), np.float32), np.ones(1, np.int64)
    upper, row = np.zeros(2, np.float32), np.zeros((1, 1), np.float32)
    calibration = np.zeros((2, 1), np.float32)
    model_arrays = np.zeros((1, 2), np.int64), *nothing, *width_1, upper, calibration
    _answer(*model_arrays, row, np.empty(1), np.empty((1, 1)))


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled on first use and kept beside the source, or for a user; else in memory alone.

    Sums are made in any order, or they could not be made eight at a time.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that it could be kept in can be written
        return numba.njit(**options)(function)


@_compiled
def _answer(
    places: Integers, ramps: Floats, steps: Floats, sums: Floats, centers: Floats, sizes: Integers,
    upper: Floats, calibration: Floats, features: Floats, scores: NDArray[np.float64],
    effects: NDArray[np.float64],
) -> None:  # fmt: skip
    """Fills scores [K] and, unless it has no rows, effects [K, F]; features are [1, F].

    A decision's score is the probability, its effects are on the log-odds.
    """
    num_columns, width = features.shape[1], centers.shape[1]
    num_scores = len(scores)
    parts = np.empty((num_columns, width), np.float32)
    row, nothing = np.empty(width, np.float32), np.empty(width, np.float32)
    hidden, work = np.empty(width, np.float32), np.empty((2, sizes.max()), np.float32)
    for i in range(width):
        row[i] = nothing[i] = centers[num_columns, i]
    for column in range(num_columns):
        part, center = parts[column], centers[column]
        _contribution(column, features[0, column], places, ramps, steps, sums, part)
        for i in range(width):
            row[i] += part[i]
            nothing[i] += center[i]
    of_row = np.empty(num_scores)
    _scores(row, sizes, upper, calibration, work, of_row)
    for k in range(num_scores):
        scores[k] = of_row[k]
    if len(calibration) == _BETA:
        scores[0] = 1.0 / (1.0 + math.exp(-of_row[0]))
    if len(effects) == 0:
        return
    of_nothing, without, alone = np.empty(num_scores), np.empty(num_scores), np.empty(num_scores)
    _scores(nothing, sizes, upper, calibration, work, of_nothing)
    for column in range(num_columns):
        part, center = parts[column], centers[column]
        for i in range(width):
            hidden[i] = row[i] - part[i] + center[i]
        _scores(hidden, sizes, upper, calibration, work, without)
        for i in range(width):
            hidden[i] = nothing[i] - center[i] + part[i]
        _scores(hidden, sizes, upper, calibration, work, alone)
        for k in range(num_scores):
            effects[k, column] = 0.5 * ((of_row[k] - without[k]) + (alone[k] - of_nothing[k]))


@_compiled
def _scores(
    hidden: Floats, sizes: Integers, upper: Floats, calibration: Floats, work: Floats,
    scores: NDArray[np.float64],
) -> None:  # fmt: skip
    """Fills calibrated scores [K] of a first hidden layer [H] before its activation.

    A decision's are its log-odds.
    """
    at, before, after = 0, work[0], work[1]
    for i in range(sizes[0]):
        before[i] = max(hidden[i], np.float32(0.0))
    for layer in range(1, len(sizes)):
        num_in, num_out = sizes[layer - 1], sizes[layer]
        bias = at + num_in * num_out
        for out in range(num_out):
            weights, total = upper[at + out * num_in : at + (out + 1) * num_in], upper[bias + out]
            for i in range(num_in):
                total += before[i] * weights[i]
            after[out] = max(total, np.float32(0.0))
        at, before, after = bias + num_out, after, before
    width, num_scores = sizes[-1], len(scores)
    for k in range(num_scores):
        weights, total = (
            upper[at + k * width : at + (k + 1) * width],
            upper[at + num_scores * width + k],
        )
        for i in range(width):
            total += before[i] * weights[i]
        if len(calibration) == _BETA:
            a, b, c = calibration[0, k], calibration[1, k], calibration[2, k]
            scores[k] = (
                a * total + (b - a) * (max(total, 0.0) + math.log1p(math.exp(-abs(total)))) + c
            )
        else:
            scores[k] = total * calibration[0, k] + calibration[1, k]


@_compiled
def _contribution(
    column: int, value: float, places: Integers, ramps: Floats, steps: Floats, sums: Floats,
    part: Floats,
) -> None:  # fmt: skip
    """The vector [H] that one column adds to the first hidden layer."""
    ramp, end = places[column, 0], places[column, 1]
    if end < 0:  # a category: its row
        row = ramp + int(value)
    elif math.isnan(value):  # missing: no ramp is passed
        row, ramp = ramp + column, end
    else:
        while ramp < end and (value - ramps[ramp, 0]) * ramps[ramp, 1] >= 1.0:
            ramp += 1
        row = ramp + column
    for i in range(len(part)):
        part[i] = sums[row, i]
    while ramp < end:
        share = (value - ramps[ramp, 0]) * ramps[ramp, 1]
        if share <= 0.0:
            break
        share = min(share, np.float32(1.0))
        for i in range(len(part)):
            part[i] += share * steps[ramp, i]
        ramp += 1
