"""What a search may change of a student, as a family offers it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from spt_core.fitting.config import TrainingConfig

SHAPE = "shape"
LEAST = 1e-6  # of a rate: a logarithm has no zero
Point = Mapping[str, Any]  # a shape's name, and the value of each range


class Range(NamedTuple):
    """A number that is searched, between two others; a field of TrainingConfig or its network."""

    name: str
    low: float
    high: float
    is_log: bool = True


class Space(NamedTuple):
    """Networks by the name of their shape, which decides latency and size, and what does not.

    The first shape is the one that the search begins with; `shares_rows` says whether students of
    all shapes learn from the very same rows.
    """

    shapes: Mapping[str, Any]
    ranges: tuple[Range, ...]
    shares_rows: bool = True

    def start(self, training: TrainingConfig) -> dict[str, Any]:
        """The point that a configuration stands for, within the ranges."""
        values = {each.name: _value(training, each.name) for each in self.ranges}
        return {
            SHAPE: next(iter(self.shapes)),
            **{r.name: min(max(values[r.name], r.low), r.high) for r in self.ranges},
        }

    def configured(self, training: TrainingConfig, point: Point) -> TrainingConfig:
        """The training of a student at a point."""
        own = {name: value for name, value in point.items() if name != SHAPE}
        of_network = {n: v for n, v in own.items() if not hasattr(training, n)}
        network = dataclasses.replace(self.shapes[point[SHAPE]], **of_network)
        of_training = {n: v for n, v in own.items() if n not in of_network}
        return dataclasses.replace(training, network=network, **of_training)


def around(training: TrainingConfig, name: str, factor: float) -> Range:
    """A range on a logarithmic scale around what a configuration says."""
    value = max(_value(training, name), LEAST)
    return Range(name, value / factor, value * factor)


def _value(training: TrainingConfig, name: str) -> float:
    return getattr(training if hasattr(training, name) else training.network, name)
