"""What a Ray Data task runs on each batch of a split of images: levels and targets, made once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.data.corpus import ROW
from spt_core.families.image.reading import Square, levels_of

Floats = NDArray[np.float32]


def encode_images(
    table: pa.Table, *, square: tuple[int, int, int], facts: str, image: str, label: str
) -> pa.Table:
    """One batch of typed rows: levels as bytes, targets and weight."""
    model_facts = json.loads(facts)
    levels = levels_of(table[image].to_pylist(), Square(*square))
    targets = targets_of(model_facts, table[label].to_pylist())
    return packed(levels, targets, weights_of(model_facts, targets), table[ROW])


def packed(levels: NDArray[Any], targets: Floats, weights: Floats, rows: Any) -> pa.Table:
    """Rows of images as Ray Data carries them; `rows` are their numbers."""
    return pa.table(
        {
            "levels": pa.array([image.tobytes() for image in levels], pa.large_binary()),
            "targets": pa.array(list(targets), pa.list_(pa.float32())),
            "weight": pa.array(weights, pa.float32()),
            "row": rows,
        }
    )


def targets_of(facts: Mapping[str, Any], values: Sequence[Any]) -> Floats:
    """What labels ask of the logits [N, K]; all zero where a class is not known."""
    if facts["head"] == "binary":
        return np.asarray(values, np.float32)[:, None]
    is_set = facts["head"] == "multi_label"
    named: list[list[str]] = [json.loads(v) if is_set else [v] for v in values]
    index = {name: number for number, name in enumerate(facts["classes"])}
    targets = np.zeros((len(values), len(index)), np.float32)
    for row, names in enumerate(named):
        for name in names:
            if name in index:
                targets[row, index[name]] = 1.0
    return targets


def weights_of(facts: Mapping[str, Any], targets: Floats) -> Floats:
    """The weight [N] of each row: of its class, and none where training saw no such class."""
    if facts["head"] != "single_label":
        return np.ones(len(targets), np.float32)
    of_class = [facts["class_weights"].get(name, 1.0) for name in facts["classes"]]
    return targets @ np.array(of_class, np.float32)
