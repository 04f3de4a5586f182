"""Settings that a model of a number would choose: a bounded search among what was done before.

record + reference rows -> candidates -> those that past operation lies around -> the best expected

Only fields marked as controllable are changed. A candidate takes the settings of a past row, or
goes half of the way there. It counts only where the whole row, ambient fields included, lies as
close to past rows as they lie to each other: ranges of single fields would let through combinations
that never were. What comes out are associations of past rows, not causes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from spt_core.heads.base import Floats
from spt_core.judgement import Settings
from spt_core.policy import IntervalPolicy
from spt_core.signature import Signature

REFERENCE = "reference.safetensors"
MAX_REFERENCE_ROWS = 500  # a search of 2 * 500 candidates takes milliseconds
NEIGHBORS = 3  # whose mean distance says how close a row lies to past rows
CLOSE = 0.95  # as close as this share of past rows lie to each other
AT_ONCE = 64  # candidates whose distances are looked at in one go, the best expected first

Features = NDArray[np.float32]
Score = Callable[[Features], Floats]  # scores [B, K] of features [B, F]


class Reference(NamedTuple):
    """Past rows [R, F], and the mean distance to neighbors within which a row counts as like them.

    `ranks` are the rows with each number as its rank among them, 0 to 1.
    """

    rows: Features
    ranks: Features
    limit: NDArray[np.float64]  # [1]

    def to_bytes(self) -> bytes:
        """The arrays as safetensors."""
        return save(self._asdict())


def reference_from_bytes(content: bytes) -> Reference:
    """The Reference that `to_bytes` wrote."""
    return Reference(**load(content))


def is_searched(signature: Signature) -> bool:
    """Whether there is a goal, and somebody can set a field of the rows."""
    return signature.goal is not None and any(field.controllable for field in signature.fields)


def reference_of(features: Features, num_numbers: int, *, seed: int) -> Reference:
    """Up to MAX_REFERENCE_ROWS of the training rows [N, F], drawn at random."""
    chosen = np.random.default_rng(seed).permutation(len(features))[:MAX_REFERENCE_ROWS]
    rows = features[np.sort(chosen)]
    ranks = _ranks(rows, rows, num_numbers)
    apart = _distances(ranks, ranks, num_numbers)
    np.fill_diagonal(apart, np.inf)
    limit = np.quantile(_to_neighbors(apart), CLOSE)
    return Reference(rows, ranks, np.array([limit]))


def recommended(
    row: Features,
    reference: Reference | None,
    signature: Signature,
    score: Score,
    policy: IntervalPolicy,
) -> Settings:
    """The best settings for a row [1, F] within the joint density of the reference rows."""
    assert signature.goal is not None, "without one there is nothing to search for"
    now = (*_expected(score(row), policy), signature.goal)
    columns = [
        number
        for number, column in enumerate(signature.columns)
        if signature.field(column.field).controllable
    ]
    if reference is None or not columns:
        return Settings(
            {}, *now, "no settings: no field of this model's data is marked controllable"
        )
    num_numbers = len(signature.numbers)
    candidates = _candidates(row[0], reference.rows, columns, num_numbers)
    values = score(candidates)[:, 0]
    sign = 1.0 if signature.goal == "lower" else -1.0
    order = np.argsort(sign * values, kind="stable")
    order = order[sign * values[order] < sign * now[0]]
    best = _first_close(candidates, order, reference, num_numbers)
    if best is None:
        return Settings({}, *now, "no settings within past operation are expected to be better")
    expected = _expected(score(candidates[best : best + 1]), policy)
    changed = _values(candidates[best], row[0], columns, signature)
    return Settings(
        changed, *expected, signature.goal, "settings that past rows had, or half of the way there"
    )


def _candidates(row: Features, rows: Features, columns: list[int], num_numbers: int) -> Features:
    """The row with the settings of each past row, and half of the way there in its numbers."""
    whole = np.repeat(row[None], len(rows), axis=0)
    whole[:, columns] = rows[:, columns]
    half = whole.copy()
    numbers = [column for column in columns if column < num_numbers]
    half[:, numbers] = (row[numbers] + rows[:, numbers]) / 2
    return np.unique(np.concatenate([whole, half]), axis=0)


def _first_close(
    candidates: Features, order: NDArray[np.int64], reference: Reference, num_numbers: int
) -> int | None:
    """The first of the candidates in that order that lies close to past rows."""
    for start in range(0, len(order), AT_ONCE):
        block = order[start : start + AT_ONCE]
        ranks = _ranks(candidates[block], reference.rows, num_numbers)
        apart = _to_neighbors(_distances(ranks, reference.ranks, num_numbers))
        close = np.flatnonzero(apart <= reference.limit[0])
        if len(close):
            return int(block[close[0]])
    return None


def _ranks(rows: Features, among: Features, num_numbers: int) -> Features:
    """The rows with each number as its rank among others; missing stays missing."""
    ranks = rows.copy()
    for column in range(num_numbers):
        sorted_values = np.sort(among[:, column][np.isfinite(among[:, column])])
        if len(sorted_values):
            values = rows[:, column]
            places = np.searchsorted(sorted_values, values) + np.searchsorted(
                sorted_values, values, side="right"
            )
            ranks[:, column] = np.where(
                np.isfinite(values), places / (2 * len(sorted_values)), np.nan
            )
    return ranks


def _distances(ranks: Features, others: Features, num_numbers: int) -> Floats:
    """Mean distance over the columns [N, M]: of ranks; 1 where categories differ or one lacks."""
    total = np.zeros((len(ranks), len(others)))
    for column in range(ranks.shape[1]):
        mine, theirs = ranks[:, column, None], others[None, :, column]
        if column >= num_numbers:
            total += mine != theirs
        else:
            gap = np.abs(mine - theirs)
            both_missing = np.isnan(mine) & np.isnan(theirs)
            total += np.where(np.isnan(gap), np.where(both_missing, 0.0, 1.0), gap)
    return total / ranks.shape[1]


def _to_neighbors(apart: Floats) -> Floats:
    """The mean distance [N] to the nearest of others [N, M]."""
    size = min(NEIGHBORS, apart.shape[1] - 1) or 1
    return np.sort(apart, axis=1)[:, :size].mean(1)


def _expected(scores: Floats, policy: IntervalPolicy) -> tuple[float, float, float]:
    """The value and its interval of one row's scores [1, K]."""
    own = scores[:, 1:] if scores.shape[1] > 1 else scores
    low, high = policy.bounds(own.min(1), own.max(1))
    return float(scores[0, 0]), float(low[0]), float(high[0])


def _values(
    candidate: Features, row: Features, columns: list[int], signature: Signature
) -> dict[str, float | bool | str | None]:
    """What changes, as a record would say it."""
    changed: dict[str, float | bool | str | None] = {}
    for column in columns:
        value, before = float(candidate[column]), float(row[column])
        if value == before or np.isnan(value):
            continue
        field = signature.field(signature.columns[column].field)
        if field.kind == "category":
            changed[field.name] = field.categories[int(value) - 1] if value else None
        elif field.kind == "boolean":
            changed[field.name] = value > 0.5
        elif field.kind == "number":
            changed[field.name] = float(f"{value:.6g}")
    return changed
