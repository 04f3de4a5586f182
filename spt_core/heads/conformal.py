"""How far rows that trained nothing say one must go, to hold a share of rows to come."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spt_core.errors import InputError
from spt_core.heads.outcomes import Array


def conformal_quantile(
    scores: Array, groups: NDArray[np.int64], coverage: float, what: str
) -> float:
    """The score that a share of rows to come does not exceed, by scores [N] of rows like them.

    Split conformal prediction (Vovk, Gammerman and Shafer, 2005): the row to come counts as one
    more. Where rows come in groups, these are what is exchangeable: each weighs the same (Dunn,
    Wasserman and Ramdas, JASA 2023, pooled distributions). InputError, about `what`, where there
    are too few for the share.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    needed = math.ceil(round(coverage / (1 - coverage), 9))  # 0.9 / 0.1 is a little above 9
    if len(sizes) < needed:
        unit = "rows" if len(sizes) == len(scores) else "groups of rows"
        raise InputError(
            f"{what} of coverage {coverage:g} needs {needed} {unit} that trained nothing, "
            f"however: there are {len(sizes)}"
        )
    order = np.argsort(scores, kind="stable")
    share = np.cumsum(1 / sizes[group[order]]) / (len(sizes) + 1)
    # Sums of floats: a share that is reached but for their rounding is reached.
    return float(scores[order][np.searchsorted(share, coverage - 1e-9)])
