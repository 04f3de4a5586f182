"""What a Ray Data task runs on each batch of a split; it imports little, to start soon."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.data.corpus import ROW
from spt_core.families.tabular.reading import Encoder
from spt_core.signature import signature_from_json


def encode_batch(
    table: pa.Table, *, signature: str, label: str, weights: tuple[float, float]
) -> dict[str, NDArray[Any]]:
    """One batch of typed rows, encoded."""
    targets = np.asarray(table[label], dtype=np.float32)
    return {
        "features": encoder(signature).table(table),
        "target": targets,
        "weight": np.where(targets > 0.5, weights[1], weights[0]).astype(np.float32),
        "row": np.asarray(table[ROW], dtype=np.int64),
    }


@functools.lru_cache(maxsize=8)
def encoder(signature: str) -> Encoder:
    """The encoder of a Signature in JSON, built once per process."""
    return Encoder(signature_from_json(json.loads(signature)))
