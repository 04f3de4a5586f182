"""Gradient-boosted forests as a few arrays, whichever library grew them: what a replica runs.

row [F] -> every tree's leaf -> scores [K]; row [F] -> Shapley values [K, F] (compiled.py)

The values are the path-dependent ones of TreeSHAP (Lundberg et al., "From local explanations to
global understanding with explainable AI for trees", Nature Machine Intelligence 2020), exactly, at
a cost that is linear in the nodes: a leaf's value times a product over the columns of its path is a
game whose Shapley value is the integral over t in [0, 1] of a polynomial (Owen, "Multilinear
Extensions of Games", Management Science 1972), which Gauss and Legendre's points integrate without
error; what one column adds is kept on its edges, as in "Linear TreeShap" (Yu et al., NeurIPS 2022).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]


class Trees(NamedTuple):
    """T trees: I splits, a tree's in preorder, and E = 1 + 2 I edges below them, edge 0 above all.

    The edges of split i are 1 + 2 i to the left and 2 + 2 i to the right. A split of a number sends
    values up to its threshold left, one of a category those in its set: a run of `words`, 32
    categories in each. `earlier` is the last edge above that answers the same column, or edge 0.
    `share` is the part of the training rows that an edge takes, of those that came to the first
    split on its path that asks the same column.
    """

    firsts: Integers  # [T + 1]: each tree's first split, and I
    outputs: Integers  # [T]: the score that a tree adds to
    num_blocks: Integers  # [T]: blocks of points that its integral takes
    column: Integers  # [I]
    threshold: Floats  # [I]
    missing_left: NDArray[np.uint8]  # [I]: whether a missing number goes left
    sets: Integers  # [I, 2]: where a category's words begin, and how many; -1 of a number
    words: NDArray[np.uint32]
    above: Integers  # [I]: the edge that leads to a split; 0 of a root
    below: Integers  # [E]: the split that an edge leads to; -1 of a leaf
    value: Floats  # [E]: a leaf's; 0 of others
    earlier: Integers  # [E]
    share: Floats  # [E]
    points: Floats  # [B, 2, 4]: of one block, of two, ...: where the integral is taken, and weights
    bias: NDArray[np.float64]  # [2, K]: what all rows start from, and what is said on average
