"""Which gaps between groups are beyond chance, however many groups there are.

figures of groups with their errors -> pairs of groups with the intervals of their ratios
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import norm

MAX_LOG = 50.0  # of a ratio's upper limit, beyond which it is endless


class Estimate(NamedTuple):
    """A group's figure with its standard error; of a share, of how many independent rows it is."""

    name: str
    value: float
    error: float
    num_rows: float | None = None

    def limits(self, z: float) -> tuple[float, float]:
        """At z standard errors; of a share those of Wilson, which know that 0 of 50 is not 0."""
        if self.num_rows is None:
            return max(self.value - z * self.error, 0.0), self.value + z * self.error
        size = self.num_rows
        middle = (self.value + z * z / (2 * size)) / (1 + z * z / size)
        spread = self.value * (1 - self.value) / size + z * z / (4 * size * size)
        half = z * math.sqrt(spread) / (1 + z * z / size)
        # Rounding aside, the limits of 0 and 1 are 0 and 1.
        return min(max(middle - half, 0.0), self.value), max(min(middle + half, 1.0), self.value)


class Pair(NamedTuple):
    """The lower figure of two groups over the higher one, with its interval."""

    lower: str
    higher: str
    ratio: float
    low: float
    high: float


def pairs(groups: Sequence[Estimate]) -> list[Pair]:
    """Each pair of groups, the lower over the higher, with intervals that hold for all at once.

    Every pair is fixed before anything is seen, and each interval has the level 1 - 0.05 / pairs
    (Bonferroni): with 95 % the least true ratio of all is between the least `low` and the least
    `high`. The limits are those of the logarithm of a ratio by the limits of either figure (MOVER:
    Zou and Donner, "Construction of confidence intervals about effect measures", Statistics in
    Medicine 2008). Groups of a figure of 0 are not held against each other.
    """
    num_pairs = len(groups) * (len(groups) - 1) // 2
    z = float(norm.isf(0.05 / (2 * num_pairs)))
    ranked = sorted(groups, key=lambda group: group.value)
    return [
        _pair(lower, higher, z)
        for number, lower in enumerate(ranked)
        for higher in ranked[number + 1 :]
        if higher.value > 0
    ]


def _pair(lower: Estimate, higher: Estimate, z: float) -> Pair:
    (lower_low, lower_high), (higher_low, higher_high) = lower.limits(z), higher.limits(z)
    ratio = lower.value / higher.value
    # Of a figure of 0 the logarithm has no end below, and its upper limit is all that counts.
    low, high = 0.0, lower_high / higher.value
    if lower.value > 0:
        up = math.hypot(math.log(lower_high / lower.value), _log(higher.value, higher_low))
        down = math.hypot(_log(lower.value, lower_low), math.log(higher_high / higher.value))
        low, high = ratio * math.exp(-down), ratio * math.exp(min(up, MAX_LOG))
    return Pair(lower.name, higher.name, ratio, low, high)


def _log(value: float, low: float) -> float:
    return math.log(value / low) if low > 0 else math.inf
