"""What a network must know of the training rows beside its weights: plain JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spt_core.families.series.reading import num_silent
from spt_core.signature import Field, SequenceShape, Signature
from spt_core.task import Head

USUAL_GAPS = 0.99  # the share of training windows whose gaps at the end are usual
LEAST_SPREAD = 1e-6  # of a channel, relative to its level: below it, it stands still


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
        "value_scale": float(np.abs(center[own])) or 1.0,
        "is_whole": bool(np.all(np.round(values_of_target) == values_of_target)),
    }


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
