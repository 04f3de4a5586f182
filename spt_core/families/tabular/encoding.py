"""What a Ray Data task runs on each batch of a split; it imports little, to start soon."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.data.corpus import ROW
from spt_core.families.tabular.outputs import Target, target_from_json
from spt_core.families.tabular.reading import Encoder
from spt_core.signature import signature_from_json


def encode_batch(
    table: pa.Table,
    *,
    signature: str,
    label: str,
    target: str,
    weight: str | None = None,
    rows: NDArray[np.int64] | None = None,
) -> dict[str, NDArray[Any]]:
    """One batch of typed rows, encoded; `weight` names the column of their weights.

    `rows` are the numbers of the rows that are left; None leaves all.
    """
    if rows is not None:
        table = table.filter(pa.array(np.isin(np.asarray(table[ROW]), rows)))
    model_target = _target(target)
    targets = targets_of(table[label], model_target)
    weights = weights_of(targets, model_target)
    if weight is not None:
        weights = weights * np.asarray(table[weight], np.float32)
    return {
        "features": encoder(signature).table(table),
        "target": targets,
        "weight": weights,
        "row": np.asarray(table[ROW], dtype=np.int64),
    }


def targets_of(labels: pa.ChunkedArray, target: Target) -> NDArray[np.float32]:
    """What labels ask of a network: [B] of decisions, else [B, K]."""
    is_named = bool(target.classes)
    values: Any = labels.to_pylist() if is_named else np.asarray(labels, np.float64)
    return target.output.targets(values, target).astype(np.float32)


def weights_of(targets: NDArray[np.float32], target: Target) -> NDArray[np.float32]:
    """The weight [B] of each row: of its class, and none where training saw no such class."""
    if targets.ndim == 1:
        no, yes = target.class_weights or (1.0, 1.0)
        return np.where(targets > 0.5, yes, no).astype(np.float32)
    if target.head != "single_label":
        return np.ones(len(targets), np.float32)
    of_class = np.array(target.class_weights or [1.0] * len(target.classes), np.float32)
    return targets @ of_class


@functools.lru_cache(maxsize=8)
def encoder(signature: str) -> Encoder:
    """The encoder of a Signature in JSON, built once per process."""
    return Encoder(signature_from_json(json.loads(signature)))


@functools.lru_cache(maxsize=8)
def _target(target: str) -> Target:
    return target_from_json(json.loads(target))
