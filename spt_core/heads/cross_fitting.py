"""Which of several calibrations is used: the one of least log loss on rows that did not fit it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
T = TypeVar("T")
NUM_FOLDS = 5


def least_cross_fitted(
    forms: Sequence[Callable[[Rows], T]], losses: Callable[[T, Rows], Floats], num_rows: int
) -> Callable[[Rows], T]:
    """The form whose sum of `losses` over held-out folds is least; of equals, the first.

    A form fits parameters to some of `num_rows` rows, `losses` are those of the rows given [B]
    under parameters. Folds are drawn, always alike: rows may come in the order of their time.
    """
    order = np.random.default_rng(0).permutation(num_rows)
    folds = [fold for fold in np.array_split(order, NUM_FOLDS) if len(fold)]
    if len(folds) < NUM_FOLDS:
        return forms[0]
    totals = [
        sum(float(losses(form(np.setdiff1d(order, fold)), fold).sum()) for fold in folds)
        for form in forms
    ]
    return forms[int(np.argmin(totals))]
