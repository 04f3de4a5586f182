"""A tabular student as arrays: what its single rows run on, compiled (compiled.py).

At one row ONNX Runtime spends more on a node than on its arithmetic, and multiplies by ramps of
which almost all are 0 or 1. The compiled code looks up the sum of a column's passed ramps and adds
the one that the value lies on. Export proves it against the checkpoint like the graphs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

KERNEL = "kernel.safetensors"
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


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
