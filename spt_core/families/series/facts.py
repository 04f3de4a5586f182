"""What a network must know of the training rows beside its weights: plain JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spt_core.families.series.reading import num_silent
from spt_core.heads.forecasts import LEVELS
from spt_core.signature import Field, SequenceShape, Signature
from spt_core.task import Head

USUAL_GAPS = 0.99  # the share of training windows whose gaps at the end are usual
LEAST_SPREAD = 1e-6  # of a channel, relative to its level: below it, it stands still
LEAST_SCALE = 0.1  # of a forecast's window, in mean demand: windows without any have a scale too
SHORTEST_HALF_LIFE = 2.0  # steps; of fewer readings a scale is mostly noise
CHOOSING_WINDOWS = 20_000  # that a half-life is chosen by


def series_facts(
    shape: SequenceShape,
    windows: NDArray[np.float32],
    *,
    head: Head,
    classes: Sequence[str] = (),
    values: NDArray[np.float64] | None = None,
    target: str = "",
) -> dict[str, Any]:
    """Center and spread of each channel in training windows [N, T, C], and of values [N].

    Windows may have columns of the calendar and rows of the horizon behind that: `columns_ahead`
    are those that are known there, for `ahead` steps. `moves` says of each channel whether it moved
    in every training window: one that stands still then is broken. `target` is the channel that is
    foretold, `value_scale` its mean; `is_whole` says that it counts, so that its quantiles are
    whole numbers. `value_greatest` is the greatest of the values, None where there are none.
    `half_life_steps` is that of the weights of a window's readings in its scale; None: all alike.
    """
    windows = windows[:, : shape.length]
    cells = windows.reshape(-1, windows.shape[2]).astype(np.float64)
    is_present = ~np.isnan(cells)
    counts = np.maximum(is_present.sum(0), 1)
    center = np.where(is_present, cells, 0.0).sum(0) / counts
    spread = np.sqrt((np.where(is_present, cells - center, 0.0) ** 2).sum(0) / counts)
    spread = np.where(spread > LEAST_SPREAD * np.abs(center) + 1e-12, spread, 1.0)
    stillness = (windows.max(1) == windows.min(1)) | np.isnan(windows).any(1)
    labels = np.zeros(1) if values is None else values
    own = shape.channels.index(target) if target in shape.channels else 0
    values_of_target = cells[is_present[:, own], own]
    scale = float(np.abs(center[own])) or 1.0
    return {
        "head": head,
        "classes": list(classes),
        "channels": list(shape.channels),
        "length": shape.length,
        "horizon": shape.horizon,
        "ahead": shape.num_ahead,
        "columns_ahead": columns_ahead(shape),
        "center": center.tolist(),
        "spread": spread.tolist(),
        "moves": (~stillness.any(0)).tolist(),
        "value_center": float(labels.mean()),
        "value_spread": float(labels.std()) or 1.0,
        "value_greatest": None if values is None else float(values.max()),
        "target": own,
        "value_scale": scale,
        "half_life_steps": half_life(windows[:, :, own], shape.horizon, LEAST_SCALE * scale)
        if head == "forecasts"
        else None,
        "is_whole": bool(np.all(np.round(values_of_target) == values_of_target)),
    }


def half_life(readings: NDArray[np.float32], horizon: int, least: float) -> float | None:
    """Of which half-life, in steps, a window's scale foretells best how large the next steps are.

    Readings [N, T] are split before the last `horizon`; candidates halve from T / 2 on, beside no
    weights at all (None). Each gives quantiles of what follows over its scale, and the one of least
    quantile loss is taken. Where swings come in clusters, as a market's, it is short (RiskMetrics
    has 11 days: J.P. Morgan, 1996); where demand is steady there is none.
    """
    stride = -(-len(readings) // CHOOSING_WINDOWS)
    cells = np.nan_to_num(readings[:: max(stride, 1)].astype(np.float64))
    num_after = max(min(horizon, cells.shape[1] // 2), 1)
    before, after = np.abs(cells[:, :-num_after]), cells[:, -num_after:]
    if not before.size:
        return None
    candidates: list[float | None] = [None]
    longest = cells.shape[1] / 2.0
    while longest >= SHORTEST_HALF_LIFE:
        candidates.append(longest)
        longest /= 2.0
    levels = np.array(LEVELS)

    def loss(candidate: float | None) -> float:
        scale = before @ scale_weights(before.shape[1], candidate) + least
        quantiles = np.quantile(after / scale[:, None], levels)
        miss = after[:, :, None] - scale[:, None, None] * quantiles
        return float(np.maximum(levels * miss, (levels - 1.0) * miss).mean())

    return min(candidates, key=loss)


def scale_weights(length: int, half_life_steps: float | None) -> NDArray[np.float64]:
    """The weights [T] of a window's readings in its scale; their sum is 1."""
    if half_life_steps is None:
        return np.full(length, 1.0 / length)
    weights = 0.5 ** (np.arange(length)[::-1] / half_life_steps)
    return weights / weights.sum()


def with_seen(signature: Signature, name: str, windows: NDArray[np.float32]) -> Signature:
    """The Signature whose channels say what training windows [N, T, C], gaps in them, have of them.

    That is their least and greatest reading, and how many gaps in a row windows may end with.
    """
    own = signature.field(name)
    assert own.shape is not None
    cells = windows[..., : len(own.shape.channels)].reshape(-1, len(own.shape.channels))
    least = np.nanmin(cells, 0, initial=np.inf)
    greatest = np.nanmax(cells, 0, initial=-np.inf)
    seen = [
        (float(low), float(high)) if low <= high else (0.0, 0.0)
        for low, high in zip(least, greatest, strict=True)
    ]
    gaps = _usual_gaps(windows[:, : own.shape.length, : len(own.shape.channels)])
    shape = dataclasses.replace(own.shape, seen=tuple(seen), gaps=gaps)
    shaped = dataclasses.replace(own, shape=shape)
    return dataclasses.replace(
        signature, fields=tuple(shaped if f.name == name else f for f in signature.fields)
    )


def _usual_gaps(readings: NDArray[np.float32]) -> tuple[int, ...]:
    """Of each channel, over the windows that have any reading of it."""
    runs, length = num_silent(readings), readings.shape[1]
    usual: list[int] = []
    for own in runs.T:
        own = own[own < length]
        usual.append(int(np.quantile(own, USUAL_GAPS, method="inverted_cdf")) if len(own) else 0)
    return tuple(usual)


def columns_ahead(shape: SequenceShape) -> list[int]:
    """The columns of a window that are known for the horizon: channels, then the calendar's."""
    own = [shape.channels.index(name) for name in shape.in_advance]
    return [*own, *range(len(shape.channels), shape.num_columns)]


def num_rows(facts: Mapping[str, Any]) -> int:
    """The rows of a window: its readings and, where something is known of it, the horizon."""
    return int(facts["length"]) + int(facts.get("ahead", 0))


def sequence_field(signature: Signature) -> Field:
    """The field that holds the windows."""
    return next(field for field in signature.fields if field.kind == "sequence")
