"""The encodings of a table's columns under differential privacy: bin edges and known categories.

training rows + a budget in zCDP -> edges by the exponential mechanism, categories by noisy counts

What is public costs nothing: a number's range that its task or `privacy.ranges` states, the hours
of a day, yes and no. Edges are medians, then medians of each half, each a point of a fixed grid
(Smith, "Privacy-preserving Statistical Estimation with Optimal Convergence Rates", 2011, for the
exponential mechanism of quantiles; Kaplan, Schnapp and Stemmer, "Differentially Private Approximate
Quantiles", ICML 2022, for halves, of which a row lies in one at each depth). An exponential
mechanism of epsilon is epsilon^2 / 8-zCDP (Cesar and Rogers, "Bounding, Concentrating, and
Truncating", ALT 2021). A category is known where its count with Gaussian noise passes a threshold
that a single row's own category passes with a chance of `delta` (Korolova et al., "Releasing Search
Queries and Clicks Privately", WWW 2009; Desfontaines et al., "Differentially Private Partition
Selection", PoPETs 2022). Where rows are too few for an answer, none is bought.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import ndtri

from spt_core.families.tabular.reading import Encoder
from spt_core.fitting.randomness import gaussian, uniform
from spt_core.signature import Signature

MAX_DEPTH = 4  # 15 medians
RANGE_CELLS = 8  # of equal width, of a range that no median was bought in
RANGE_POINTS = 1001
UNSURE = 0.05  # chance of a median off by more than half of what lies on either side of it
# Numbers of three digits: what an edge can be where nobody states a range.
_DIGITS = np.arange(100, 1000)[None, :] * 10.0 ** np.arange(-8, 10)[:, None]
GRID = np.concatenate([-_DIGITS.ravel()[::-1], [0.0], _DIGITS.ravel()])
DECADES = (-1e6, -1e4, -1e2, -10.0, -1.0, 0.0, 1.0, 10.0, 1e2, 1e3, 1e4, 1e5, 1e6)
HOURS, WEEKDAYS = tuple(range(0, 25, 3)), tuple(range(7))
Edges = NDArray[np.float64]


class Number(NamedTuple):
    """A numeric column: the edges that are public, and the grid that medians are bought on."""

    edges: Edges
    grid: Edges | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EncodingPlan:
    """What is bought of a table's rows, and at what price; nothing in it depends on a row's value.

    `depth` halvings of each number in `bought` cost `number_epsilon` each; counts of categories get
    noise of `count_noise`, and one above `threshold` is known. `rho` is the zCDP of all of it, and
    `delta` the chance that a category of one row alone is known.
    """

    numbers: tuple[Number, ...]
    bought: tuple[int, ...]
    depth: int = 0
    number_epsilon: float = 0.0
    count_noise: float = 0.0
    threshold: float = math.inf
    rho: float = 0.0
    delta: float = 0.0

    @property
    def counts_categories(self) -> bool:
        """Whether any category can be known."""
        return self.count_noise > 0

    def facts(self) -> dict[str, Any]:
        """What was bought, as JSON."""
        facts: dict[str, Any] = {"zcdp_rho": self.rho, "delta": self.delta}
        if self.depth:
            facts["numbers"] = {
                "mechanism": "exponential, of medians of halves",
                "columns": len(self.bought),
                "depth": self.depth,
                "epsilon_each": self.number_epsilon,
            }
        if self.counts_categories:
            facts["categories"] = {
                "mechanism": "counts with Gaussian noise above a threshold",
                "noise": self.count_noise,
                "threshold": self.threshold,
            }
        return facts


def encoding_plan(
    signature: Signature,
    ranges: Mapping[str, tuple[float, float]],
    *,
    num_rows: int,
    num_bins: int,
    rho: float,
    delta: float,
) -> EncodingPlan:
    """What `rho` zCDP and `delta` buy of a table of so many rows; `ranges` are public."""
    numbers = tuple(_numbers(signature, ranges, num_bins))
    buyable = tuple(place for place, number in enumerate(numbers) if number.grid is not None)
    num_categories = sum(field.kind == "category" for field in signature.fields)
    share = 0.5 if buyable and num_categories else 1.0
    depth, epsilon = _depth([numbers[n].grid for n in buyable], share * rho, num_rows, num_bins)
    of_numbers = rho * share if depth else 0.0
    noise, threshold = 0.0, math.inf
    if num_categories:
        # A row adds one to a count of each column: the norm of what it changes is their root.
        noise = math.sqrt(num_categories / (2 * (rho - of_numbers)))
        alone = -math.expm1(math.log1p(-delta) / num_categories)  # chance of each column
        threshold = 1.0 + noise * -float(ndtri(alone))
    if threshold >= num_rows:  # nothing could pass it
        noise, threshold, num_categories = 0.0, math.inf, 0
    return EncodingPlan(
        numbers=numbers,
        bought=buyable if depth else (),
        depth=depth,
        number_epsilon=epsilon,
        count_noise=noise,
        threshold=threshold,
        rho=of_numbers + (rho - of_numbers if num_categories else 0.0),
        delta=delta if num_categories else 0.0,
    )


def private_encoding(
    plan: EncodingPlan, signature: Signature, tables: Iterable[pa.Table], *, max_categories: int
) -> tuple[Signature, dict[str, Any]]:
    """The Signature with the known categories alone, and the edges, as facts of a network.

    `cells` are a number's edges and a category's noisy counts: what artificial rows are drawn from.
    It spends the plan's budget each time that it is called.
    """
    columns = Encoder(dataclasses.replace(signature, fields=_without_categories(signature)))
    names = [field.name for field in signature.fields if field.kind == "category"]
    values: list[NDArray[np.float32]] = []
    counts: dict[str, dict[str, int]] = {name: {} for name in names}
    for table in tables:
        values.append(columns.table(table)[:, : len(plan.numbers)])
        if plan.counts_categories:
            for name in names:
                _count(table, name, counts[name])
    rows = np.concatenate(values).astype(np.float64)
    edges = [number.edges for number in plan.numbers]
    for place in plan.bought:
        edges[place] = _bought(rows[:, place], plan, place)
    categories = {name: _known(counts[name], plan, max_categories) for name in names}
    fields = tuple(
        dataclasses.replace(
            field, categories=tuple(categories.get(field.name, ())), seen=None, complete=False
        )
        for field in signature.fields
    )
    typical = [float(of[len(of) // 2]) for of in edges]
    return dataclasses.replace(signature, fields=fields), {
        "edges": [of.tolist() for of in edges],
        "typical": [*typical, *(1.0 if categories[name] else 0.0 for name in names)],
        "cells": [*(of.tolist() for of in edges), *(list(categories[n].values()) for n in names)],
    }


def edge_arrays(edges: Sequence[Sequence[float]], num_bins: int) -> dict[str, list[list[float]]]:
    """Edges of each number as a network's facts have them: lower ends and inverse widths of bins.

    Edges so close that a float32 has no inverse of their distance are one.
    """
    left = np.zeros((len(edges), num_bins), np.float32)
    inverse_width = np.zeros_like(left)
    for number, of in enumerate(edges):
        ends = np.array(of, np.float64)
        ends = ends[np.diff(ends, prepend=-np.inf) > 1e-30][: num_bins + 1]
        if len(ends) > 1:
            left[number, : len(ends) - 1] = ends[:-1]
            inverse_width[number, : len(ends) - 1] = 1.0 / np.diff(ends)
    return {"left": left.tolist(), "inverse_width": inverse_width.tolist()}


def _numbers(
    signature: Signature, ranges: Mapping[str, tuple[float, float]], num_bins: int
) -> Iterable[Number]:
    for column in signature.numbers:
        field = signature.field(column.field)
        if field.kind == "boolean":
            yield Number(np.array([0.0, 1.0]), None)
        elif field.kind == "time":
            public = HOURS if column.part == "hour" else WEEKDAYS
            yield Number(_thinned(np.array(public, float), num_bins + 1), None)
        elif field.name in ranges:
            least, greatest = ranges[field.name]
            cells = min(RANGE_CELLS, num_bins)
            grid = np.linspace(least, greatest, RANGE_POINTS)
            yield Number(np.linspace(least, greatest, cells + 1), grid)
        else:
            yield Number(_thinned(np.array(DECADES), num_bins + 1), GRID)


def _thinned(edges: Edges, most: int) -> Edges:
    return edges[:: -(-len(edges) // most)]


def _depth(
    grids: Sequence[Edges | None], rho: float, num_rows: int, num_bins: int
) -> tuple[int, float]:
    """How often to halve, and the epsilon of each halving: (0, 0.0) where rows are too few."""
    size = max((len(grid) for grid in grids if grid is not None), default=0)
    for depth in range(MAX_DEPTH, 0, -1):
        if not size or 2**depth + 1 > num_bins + 1:
            continue
        epsilon = math.sqrt(8 * rho / (len(grids) * depth))
        off = math.log(size / UNSURE) / epsilon  # rows, by the exponential mechanism's tail
        if off <= num_rows / 2 ** (depth + 1):
            return depth, epsilon
    return 0, 0.0


def _bought(values: Edges, plan: EncodingPlan, place: int) -> Edges:
    """A number's private edges; the ends of a public range join them."""
    number = plan.numbers[place]
    assert number.grid is not None
    middle = (number.grid[1:] + number.grid[:-1]) / 2
    present = values[np.isfinite(values)]
    histogram = np.bincount(np.searchsorted(middle, present), minlength=len(number.grid))
    places = _medians(histogram, 0, len(number.grid) - 1, plan.depth, plan.number_epsilon)
    edges = number.grid[sorted(set(places))]
    if number.grid is not GRID:
        edges = np.unique(np.concatenate([number.grid[[0, -1]], edges]))
    if len(edges) == 1:  # all medians are one point: what lies on either side of it
        edges = np.array([edges[0], number.grid[min(places[0] + 1, len(number.grid) - 1)]])
    return edges


def _medians(
    histogram: NDArray[np.int64], low: int, high: int, depth: int, epsilon: float
) -> list[int]:
    """Places of medians among grid points low..high, then of what lies strictly below and above."""
    if not depth or low > high:
        return []
    place = low + private_median(histogram[low : high + 1], epsilon)
    below = _medians(histogram, low, place - 1, depth - 1, epsilon)
    return [place, *below, *_medians(histogram, place + 1, high, depth - 1, epsilon)]


def private_median(counts: NDArray[np.int64], epsilon: float) -> int:
    """The place of a median of grid points with so many rows each, by the exponential mechanism."""
    gumbel = -np.log(-np.log(uniform(len(counts))))
    return int(np.argmax(epsilon * median_scores(counts) + gumbel))


def median_scores(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """How good a median each grid point is: 0 or less, and a row changes it by a half at most.

    Minus half of how many more rows lie on one side than on the other, but for those at the point.
    """
    below = np.concatenate([[0], np.cumsum(counts)[:-1]])
    above = counts.sum() - below - counts
    return -0.5 * np.maximum(np.abs(below - above) - counts, 0)


def _count(table: pa.Table, name: str, counts: dict[str, int]) -> None:
    if name not in table.column_names:
        return
    column = table[name].cast(pa.large_string()).combine_chunks().drop_null()
    counted = pc.value_counts(column)
    pairs = zip(
        counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True
    )
    for value, count in pairs:
        counts[value] = counts.get(value, 0) + count


def _known(counts: Mapping[str, int], plan: EncodingPlan, most: int) -> dict[str, int]:
    """The categories above the threshold with their noisy counts, the most frequent first."""
    if not counts:
        return {}
    noisy = np.array([*counts.values()]) + plan.count_noise * gaussian(len(counts))
    passed = {n: round(float(c)) for n, c in zip(counts, noisy, strict=True) if c > plan.threshold}
    return dict(sorted(passed.items(), key=lambda pair: (-pair[1], pair[0]))[:most])


def _without_categories(signature: Signature) -> tuple[Any, ...]:
    return tuple(f for f in signature.fields if f.kind not in ("category", "entity"))
