"""The code that runs on single rows, compiled by Numba when a model is opened, kept in its cache.

All of it in one file: Numba compiles anew what has changed itself, not what calls into it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from spt_core.families.tabular.kernel import Kernel
    from spt_core.families.tabular.trees import Trees

BETA = 3  # the parameters of a beta calibration
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled on first use and kept beside the source, or for a user; else in memory alone.

    Sums are made in any order, or they could not be made eight at a time; nor does a division ask
    whether it is one by zero.
    """
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"reassoc", "contract", "nsz"},
    }
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that it could be kept in can be written
        return numba.njit(**options)(function)


@compiled
def answer_student(kernel: Kernel, row: Floats, scores: Doubles, effects: Doubles) -> None:
    """Fills scores [K] of a row [F] and, unless it has no rows, effects [K, F].

    A decision's score is the probability, its effects are on the log-odds.
    """
    explain_student(kernel, row, scores, np.empty(len(scores)), effects)
    if len(kernel.calibration) == BETA:
        scores[0] = 1.0 / (1.0 + math.exp(-scores[0]))


@compiled
def explain_student(
    kernel: Kernel, features: Floats, scores: Doubles, of_nothing: Doubles, effects: Doubles
) -> None:
    """Fills calibrated scores [K] of a row [F], those of nothing known, and effects [K, F].

    Nothing but the scores, where effects has no rows. A decision's are log-odds.
    """
    places, ramps, steps, sums = kernel.places, kernel.ramps, kernel.steps, kernel.sums
    centers, sizes, upper, calibration = (
        kernel.centers, kernel.sizes, kernel.upper, kernel.calibration,
    )  # fmt: skip
    num_columns, width = len(features), centers.shape[1]
    num_scores = len(scores)
    parts = np.empty((num_columns, width), np.float32)
    row, nothing = np.empty(width, np.float32), np.empty(width, np.float32)
    hidden, work = np.empty(width, np.float32), np.empty((2, sizes.max()), np.float32)
    for i in range(width):
        row[i] = nothing[i] = centers[num_columns, i]
    for column in range(num_columns):
        part, center = parts[column], centers[column]
        _contribution(column, features[column], places, ramps, steps, sums, part)
        for i in range(width):
            row[i] += part[i]
            nothing[i] += center[i]
    _scores(row, sizes, upper, calibration, work, scores)
    if len(effects) == 0:
        return
    without, alone = np.empty(num_scores), np.empty(num_scores)
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
            effects[k, column] = 0.5 * ((scores[k] - without[k]) + (alone[k] - of_nothing[k]))


@compiled
def _scores(
    hidden: Floats, sizes: Integers, upper: Floats, calibration: Floats, work: Floats,
    scores: Doubles,
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
        scores[k] = calibrated(total, calibration, k)


@compiled
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


@compiled
def answer_blend(
    kernel: Kernel, trees: Trees, student_share: float, calibration: Doubles, rows: Floats,
    scores: Doubles, effects: Doubles,
) -> None:  # fmt: skip
    """Fills scores [B, K] of rows [B, F] and, unless it has no rows, effects [B, K, F].

    What a student says, times its share, and what weighted forests say, calibrated. The effects of
    both are on scores before the calibration, which is no straight line for a decision: they are
    stretched by what it makes of the distance between the row's score and the average one.
    """
    num_scores = scores.shape[1]
    own, of_nothing = np.zeros(num_scores), np.zeros(num_scores)
    own_effects = np.zeros((num_scores if len(effects) else 0, rows.shape[1]))
    for number in range(len(rows)):
        row, of_row = rows[number], scores[number]
        if student_share > 0.0:
            explain_student(kernel, row, own, of_nothing, own_effects)
        for k in range(num_scores):
            of_row[k] = student_share * own[k] + trees.bias[0, k]
        add_scores(trees, row, of_row)
        if len(effects):
            effects[number] = student_share * own_effects
            add_effects(trees, row, effects[number])
        for k in range(num_scores):
            before = of_row[k]
            of_row[k] = calibrated(before, calibration, k)
            if len(effects):
                average = student_share * of_nothing[k] + trees.bias[1, k]
                far = before - average
                slope = (of_row[k] - calibrated(average, calibration, k)) / far if far else 1.0
                for column in range(rows.shape[1]):
                    effects[number, k, column] *= slope
        if len(calibration) == BETA:
            of_row[0] = 1.0 / (1.0 + math.exp(-of_row[0]))


@compiled
def calibrated(score: float, calibration: Doubles, k: int) -> float:
    """A score by a decision's beta calibration [3, 1], or by scale and shift [2, K]."""
    if len(calibration) != BETA:
        return score * calibration[0, k] + calibration[1, k]
    a, b, c = calibration[0, k], calibration[1, k], calibration[2, k]
    return a * score + (b - a) * (max(score, 0.0) + math.log1p(math.exp(-abs(score)))) + c


@compiled
def add_scores(trees: Trees, row: Floats, scores: Doubles) -> None:
    """Add what every tree says of a row [F] to scores [K]."""
    column, below, value = trees.column, trees.below, trees.value
    for tree in range(len(trees.outputs)):
        split, edge = trees.firsts[tree], 0
        while split >= 0:
            is_left = _goes_left(trees, split, row[column[split]])
            edge = 2 * split + (1 if is_left else 2)
            split = below[edge]
        scores[trees.outputs[tree]] += value[edge]


@compiled
def add_effects(trees: Trees, row: Floats, effects: Doubles) -> None:
    """Add the columns' Shapley values of a row [F] to effects [K, F].

    Four points at a time, which is as fast as one. With t a point, an edge's factor is t + (1 - t)
    `share` if the row takes it and every earlier one of its column, else (1 - t) `share`; a path's
    product is that of its columns' last factors, and a column's value the sum over its edges of
    what the factor's derivative is of itself, times the leaves below.
    """
    firsts, outputs, num_blocks = trees.firsts, trees.outputs, trees.num_blocks
    column, above, earlier = trees.column, trees.above, trees.earlier
    value, share, points = trees.value, trees.share, trees.points
    largest = 0
    for tree in range(len(outputs)):
        largest = max(largest, firsts[tree + 1] - firsts[tree])
    taken = np.empty(2 * largest + 1, np.float32)
    factors, inverse = (
        np.empty((2 * largest + 1, 4), np.float32),
        np.empty((2 * largest + 1, 4), np.float32),
    )
    products, sums = (
        np.empty((2 * largest + 1, 4), np.float32),
        np.empty((2 * largest + 1, 4), np.float32),
    )
    slopes, gains = (
        np.empty((2 * largest + 1, 4), np.float32),
        np.empty((2 * largest + 1, 4), np.float32),
    )
    flat_factors, flat_inverse = factors.ravel(), inverse.ravel()
    at, rest = np.empty(4, np.float32), np.empty(4, np.float32)
    taken[0] = 1.0
    factors[0], slopes[0] = 1.0, 0.0
    for tree in range(len(outputs)):
        # Local numbers: those of splits are less `first`, those of edges less 2 `first`.
        first, output = np.int64(firsts[tree]), outputs[tree]
        size = np.int64(firsts[tree + 1]) - first
        offset = 2 * first
        for i in range(size):
            split = first + i
            x = row[column[split]]
            is_left = _goes_left(trees, split, x)
            left, right = 2 * i + 1, 2 * i + 2
            before_left = max(np.int64(earlier[offset + left]) - offset, 0)
            before_right = max(np.int64(earlier[offset + right]) - offset, 0)
            taken[left] = taken[before_left] if is_left else np.float32(0.0)
            taken[right] = np.float32(0.0) if is_left else taken[before_right]
        blocks = np.int64(num_blocks[tree])
        for block in range(blocks * (blocks - 1) // 2, blocks * (blocks + 1) // 2):
            for q in range(4):
                at[q], rest[q] = points[block, 0, q], np.float32(1.0) - points[block, 0, q]
                products[0, q], sums[0, q] = points[block, 1, q], 0.0
            for edge in range(1, 2 * size + 1):
                base, own = taken[edge], share[offset + edge]
                for q in range(4):
                    factors[edge, q] = base * at[q] + own * rest[q]
            for k in range(4 * (2 * size + 1)):
                flat_inverse[k] = np.float32(1.0) / flat_factors[k]
            for i in range(size):
                over = max(np.int64(above[first + i]) - offset, 0)
                for edge in (2 * i + 1, 2 * i + 2):
                    before = max(np.int64(earlier[offset + edge]) - offset, 0)
                    leaf, slope = value[offset + edge], taken[edge] - share[offset + edge]
                    for q in range(4):
                        products[edge, q] = (
                            products[over, q] * factors[edge, q] * inverse[before, q]
                        )
                        slopes[edge, q] = slope * inverse[edge, q]
                        gains[edge, q] = slopes[edge, q] - slopes[before, q]
                        sums[edge, q] = products[edge, q] * leaf
            for i in range(size - 1, -1, -1):
                left, right = 2 * i + 1, 2 * i + 2
                over = max(np.int64(above[first + i]) - offset, 0)
                total = np.float32(0.0)
                for q in range(4):
                    total += sums[left, q] * gains[left, q] + sums[right, q] * gains[right, q]
                    sums[over, q] += sums[left, q] + sums[right, q]
                effects[output, column[first + i]] += total


@compiled
def _goes_left(trees: Trees, split: int, x: float) -> bool:
    """Whether a split sends a value to the left."""
    begin = trees.sets[split, 0]
    if begin < 0:
        return (x <= trees.threshold[split]) | ((x != x) & (trees.missing_left[split] != 0))
    category = int(x)
    word = category >> 5
    if word >= trees.sets[split, 1]:
        return False
    return (trees.words[begin + word] >> np.uint32(category & 31)) & np.uint32(1) != 0
