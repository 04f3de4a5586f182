"""Randomness that nobody can repeat: of the operating system, without a seed.

Whoever knows the seed of a generator knows its noise, and takes it off. A Gaussian number is half
the sum of four, which hides the low bits that tell floats apart (Mironov, "On Significance of the
Least Significant Bits for Differential Privacy", 2012; Holohan and Braghin, "Secure Random Sampling
in Differential Privacy", 2021). Opacus does the same with torchcsprng, which torch's newer releases
do not have. Noise remains a float's: the guarantee is that of the ideal mechanism up to rounding.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

SOURCE = "the operating system (os.urandom), no seed: no run repeats another's noise"
_SUMMANDS = 4


def uniform(size: int) -> NDArray[np.float64]:
    """Numbers [N] in (0, 1), neither end included."""
    whole = np.frombuffer(os.urandom(8 * size), np.uint64) >> np.uint64(12)
    return np.ldexp(whole + 0.5, -52)  # exact in a double


def gaussian(size: int) -> NDArray[np.float64]:
    """Numbers [N] of the standard normal distribution."""
    parts = ndtri(uniform(_SUMMANDS * size)).reshape(_SUMMANDS, size)
    return parts.sum(0) / np.sqrt(_SUMMANDS)


def drawn(size: int, rate: float) -> NDArray[np.int64]:
    """Which of N were drawn, each by itself with the same probability (Poisson sampling)."""
    return np.flatnonzero(uniform(size) < rate)
