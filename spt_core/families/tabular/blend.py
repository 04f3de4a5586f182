"""A student and forests that answer together, as arrays: what a replica loads of a blend."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from spt_core.families.tabular.trees import Trees

TREES = "trees.safetensors"


class Blend(NamedTuple):
    """Forests with their weights in their leaves, the student's share and what calibrates both."""

    trees: Trees
    student_share: float
    calibration: NDArray[np.float64]  # [3, 1] of a decision, [2, K] of others: see Kernel

    def to_bytes(self) -> bytes:
        """The arrays as safetensors."""
        share = np.array([self.student_share])
        own = {"student_share": share, "calibration": self.calibration}
        return save({**self.trees._asdict(), **own})


def blend_from_bytes(content: bytes) -> Blend:
    """The Blend that `to_bytes` wrote."""
    arrays = {name: array.copy() for name, array in load(content).items()}
    share, calibration = float(arrays.pop("student_share")[0]), arrays.pop("calibration")
    return Blend(Trees(**arrays), share, calibration)
