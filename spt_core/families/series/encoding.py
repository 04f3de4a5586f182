"""What a Ray Data task runs on each batch of a split; it imports little, to start soon."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spt_core.data.corpus import EVENTS, ROW
from spt_core.data.series import windows_of
from spt_core.families.series.reading import filled
from spt_core.signature import Field, signature_from_json

FAR = 30.0  # standard deviations, as network.py has it


def encode_batch(
    table: pa.Table, *, field: str, label: str, signature: str, facts: str, is_training: bool
) -> dict[str, NDArray[Any]]:
    """One batch of windows, encoded: flat features [B, T * C], targets [B, K], weights, rows."""
    own, known = _field(signature, field), json.loads(facts)
    if is_training:
        table = usual_rows(table, known)
    windows, targets = encoded(table, own, label, known, is_training)
    return {
        "features": windows.reshape(len(windows), -1),
        "target": targets,
        "weight": np.ones(len(windows), np.float32),
        "row": np.asarray(table[ROW], dtype=np.int64),
    }


def encoded(
    table: pa.Table, field: Field, label: str, facts: Mapping[str, Any], is_training: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Windows [N, T, C] and what a network is to say of them [N, K].

    Of anomalies, those of training alone that hold none, each with its own last reading.
    """
    assert field.shape is not None
    if is_training:
        table = usual_rows(table, facts)
    windows = filled(windows_of(table[field.name], field.shape))
    return windows, targets_of(table[label], windows, facts)


def usual_rows(table: pa.Table, facts: Mapping[str, Any]) -> pa.Table:
    """The rows that a model of the head learns from: of anomalies, windows that hold none."""
    if facts["head"] != "anomalies" or EVENTS not in table.column_names:
        return table
    return table.filter(pc.equal(table[EVENTS], 0))


def targets_of(
    labels: pa.ChunkedArray, windows: NDArray[np.float32], facts: Mapping[str, Any]
) -> NDArray[np.float32]:
    """What labels ask of a network [N, K], in its own units."""
    if facts["head"] == "regression":
        values = np.asarray(labels, np.float64)
        return ((values - facts["value_center"]) / facts["value_spread"]).astype(np.float32)[
            :, None
        ]
    if facts["head"] == "single_label":
        places = {name: number for number, name in enumerate(facts["classes"])}
        targets = np.zeros((len(labels), len(places)), np.float32)
        for row, name in enumerate(labels.to_pylist()):
            if name in places:
                targets[row, places[name]] = 1.0
        return targets
    if facts["head"] == "forecasts":
        return np.array([json.loads(label) for label in labels.to_pylist()], np.float32).reshape(
            len(labels), int(facts["horizon"])
        )
    assert facts["head"] == "anomalies", facts["head"]
    return standard(windows[:, -1], facts)


def standard(readings: NDArray[np.float32], facts: Mapping[str, Any]) -> NDArray[np.float32]:
    """Readings [N, C] in standard deviations from what is usual; the unknown ones are usual."""
    values = (readings - np.array(facts["center"])) / np.array(facts["spread"])
    return np.clip(np.nan_to_num(values, nan=0.0), -FAR, FAR).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _field(signature: str, name: str) -> Field:
    return signature_from_json(json.loads(signature)).field(name)
