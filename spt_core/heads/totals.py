"""What several steps of a forecast come to together: the distribution of their sum.

quantiles of each step -> distributions of each -> convolved -> the sum's quantile
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spt_core.heads.forecasts import LEVELS, by_step
from spt_core.heads.outcomes import Outcomes

NUM_CELLS = 1024  # at most, that a sum is counted in; whole numbers fill one each where they fit
ROUNDING = 1e-9  # of the transform
LEAST_SCALE = 1e-9  # of a tail
LEAST_TAIL = 1e-4  # what the tail beyond the last quantile is drawn to
HELD_LEVELS = (0.8, 0.9, 0.95, 0.99)
HELD_WINDOWS = 1000
Floats = NDArray[np.float64]
Step = Mapping[float, float]  # a value by the level of its quantile


class Total(NamedTuple):
    """The distribution of a sum: `below` [G] is its share up to least, least + cell, ..."""

    least: float
    cell: float
    below: Floats

    def quantile(self, level: float) -> float:
        """The value that the sum does not exceed with the probability `level`."""
        return self.least + self.cell * int((self.below >= level - ROUNDING).argmax())


def total_of(steps: Sequence[Step]) -> Total:
    """The distribution of the sum of steps, in their unit; all have quantiles of the same levels.

    Steps are taken for independent, and their distributions convolved by the Fourier transform.
    Each is read off its quantiles: the distribution function is straight between two of them, has
    all below the lowest one there, and beyond the highest an exponential tail through the last two.
    Of whole numbers it is that of whole numbers; between nothing and the first quantile above it
    there is no smaller demand, as orders come in whole packs. What comes less often than in a
    hundredth of steps, no quantile says.
    """
    levels = np.array(sorted(steps[0]))
    return _convolved(levels, np.array([[step[level] for level in sorted(step)] for step in steps]))


def _convolved(levels: Floats, values: Floats) -> Total:
    """Of steps whose quantiles are values [S, Q]."""
    scale = (values[:, -1] - values[:, -2]) / math.log((1.0 - levels[-2]) / (1.0 - levels[-1]))
    spans = values[:, -1] - values[:, 0] + scale * math.log((1.0 - levels[-1]) / LEAST_TAIL)
    total, least = float(spans.sum()), float(values[:, 0].sum())
    if total <= 0.0:
        return Total(least, 1.0, np.ones(1))
    is_whole = bool((values == np.rint(values)).all())
    cell = 1.0 if is_whole and total <= NUM_CELLS else total / NUM_CELLS
    sizes = np.ceil(spans / cell).astype(int) + 1
    middle = 0.0 if is_whole and cell == 1.0 else cell / 2.0  # of a cell, what is in it on average
    at = values[:, :1] + cell * np.arange(sizes.max()) + middle
    below = _distributions(at, levels, values, scale)
    below[np.arange(sizes.max()) >= sizes[:, None] - 1] = 1.0
    size = 1 << (int(sizes.sum()) - 1).bit_length()
    spectra = np.fft.rfft(np.diff(below, prepend=0.0), size)
    return Total(least, cell, np.cumsum(np.fft.irfft(spectra.prod(0), size)))


def _distributions(at: Floats, levels: Floats, values: Floats, scale: Floats) -> Floats:
    """The share of each step's values up to the points [S, G]."""
    places = (at[:, :, None] >= values[:, None]).sum(2) - 1  # from 0: all are from the lowest on
    inner = np.minimum(places, len(levels) - 2)
    low = np.take_along_axis(values, inner, 1)
    high = np.take_along_axis(values, inner + 1, 1)
    way = np.where(low == 0.0, 0.0, (at - low) / np.where(high > low, high - low, 1.0))
    below = levels[inner] + (levels[inner + 1] - levels[inner]) * way
    beyond = np.maximum(at - values[:, -1:], 0.0) / np.maximum(scale, LEAST_SCALE)[:, None]
    return np.where(places > inner, 1.0 - (1.0 - levels[-1]) * np.exp(-beyond), below)


def totals_held(of: Outcomes) -> list[dict[str, Any]]:
    """How often the sum of the first half of the horizon, and of all of it, was in its quantile.

    `held` is a share of windows by level, of at most HELD_WINDOWS that are spread over all. Where
    demand clusters, so that steps are not independent, a level holds less than its share.
    """
    kept = np.unique(np.linspace(0, len(of.labels) - 1, HELD_WINDOWS).astype(int))
    true, levels = of.labels[kept], by_step(of)[kept]
    horizon = true.shape[1]
    at = np.array(LEVELS)
    rows: list[dict[str, Any]] = []
    for num_steps in sorted({max(horizon // 2, 1), horizon}):
        came = true[:, :num_steps].sum(1)
        totals = [_convolved(at, steps[:num_steps]) for steps in levels]
        held: dict[str, float] = {}
        for level in HELD_LEVELS:
            points = np.array([total.quantile(level) for total in totals])
            held[f"{level:g}"] = float(np.mean(came <= points + ROUNDING))
        rows.append({"steps": num_steps, "num_windows": len(kept), "held": held})
    return rows
