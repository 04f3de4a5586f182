"""Artificial rows of released encodings alone, which a private teacher teaches its student by.

cells of each column (private_encoding.py) -> float32 [B, F]; no row of anybody's
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNKNOWN = 0.05  # of the values are missing: the student must have an answer for those
Cells = Sequence[Sequence[float]]


def draw_batch(
    batch: dict[str, NDArray[Any]], *, cells: Cells, num_numbers: int, seed: int
) -> dict[str, NDArray[Any]]:
    """Artificial rows of these numbers, in the columns of `encode_batch`; nobody has labels yet."""
    rows = batch["id"]
    return {
        "features": draw_rows(cells, num_numbers, len(rows), seed=[seed, int(rows[0])]),
        "target": np.zeros(len(rows), np.float32),
        "weight": np.ones(len(rows), np.float32),
        "row": rows,
    }


def draw_rows(
    cells: Cells, num_numbers: int, num_rows: int, *, seed: Sequence[int]
) -> NDArray[np.float32]:
    """Artificial rows [N, F]; a share UNKNOWN of their values is missing.

    A number lies in one of its cells, each as likely, or up to a cell's width outside; a category
    is as frequent as its noisy count says. Columns are independent of each other: only how they
    hang together in the teacher is known.
    """
    draw = np.random.default_rng(seed)
    columns = [
        (_number if place < num_numbers else _category)(np.array(of, float), draw, num_rows)
        for place, of in enumerate(cells)
    ]
    rows = np.column_stack(columns)
    nothing = np.where(np.arange(rows.shape[1]) < num_numbers, np.nan, 0.0)
    return np.where(draw.random(rows.shape) < UNKNOWN, nothing, rows).astype(np.float32)


def _number(
    edges: NDArray[np.float64], draw: np.random.Generator, num_rows: int
) -> NDArray[np.float64]:
    widths = np.diff(edges)
    ends = np.concatenate([[edges[0] - widths[0]], edges, [edges[-1] + widths[-1]]])
    cell = draw.integers(0, len(ends) - 1, num_rows)
    return ends[cell] + draw.random(num_rows) * np.diff(ends)[cell]


def _category(
    counts: NDArray[np.float64], draw: np.random.Generator, num_rows: int
) -> NDArray[np.float64]:
    if not len(counts):
        return np.zeros(num_rows)
    chosen = draw.choice(len(counts), num_rows, p=counts / counts.sum())
    return (chosen + 1).astype(np.float64)
