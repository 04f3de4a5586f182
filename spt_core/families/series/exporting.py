"""A series student's files: one graph and its facts; a replica needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spt_core.artifacts import FACTS, GRAPH, ModelArtifact
from spt_core.errors import InputError, ParityError
from spt_core.families.graph import OPSET, Exported, Method, gap, graph
from spt_core.families.onnx import INPUT
from spt_core.families.series.checkpoint import StudentRuntime, open_student
from spt_core.families.series.facts import num_rows
from spt_core.families.series.network import ForecastNetwork
from spt_core.families.series.reading import filled, record_of
from spt_core.families.series.serving import (
    OUTPUTS,
    OnnxSeriesRuntime,
    SeriesPredictor,
    SeriesRuntime,
)
from spt_core.signature import SequenceShape

TOLERANCE = 1e-4  # sums of many fp32 products, which another library adds in another order
PROBE_TOLERANCE = 1e-4
BATCH_SIZES = (1, 7, 64)
NUM_PROBES = 8


def export_series(artifact: ModelArtifact) -> Exported:
    """The student as one graph; ParityError when it disagrees with its checkpoint."""
    if artifact.role != "student":
        raise InputError(
            f"only a student can be exported, however: {artifact.uri} is a {artifact.role}"
        )
    network, facts = open_student(artifact), json.loads(artifact.read(FACTS))
    has_map = not isinstance(network, ForecastNetwork)
    method: Any = network.explain if has_map else network.forward
    outputs = OUTPUTS if has_map else OUTPUTS[:1]
    batch = torch.export.Dim("batch", min=1, max=1 << 16)
    example = torch.from_numpy(trial_windows(facts, 3, seed=0))
    content = graph(Method(network, method), [example], {INPUT: {0: batch}}, outputs)
    checkpoint = StudentRuntime(network)
    parity = check_parity(checkpoint, OnnxSeriesRuntime(content), facts)
    predictor = SeriesPredictor(artifact.signature, checkpoint, facts)
    assert predictor.field.shape is not None
    return Exported(
        {GRAPH: content, FACTS: artifact.read(FACTS)},
        parity,
        _probes(predictor, predictor.field.shape, facts),
    )


def check_parity(
    checkpoint: SeriesRuntime, runtime: SeriesRuntime, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The largest differences seen, in the network's own units; ParityError beyond TOLERANCE.

    A graph may silently keep the batch size of its example, so none is that size.
    """
    unit = unit_of(facts)
    worst = {"probability": 0.0, "map": 0.0}
    for size in BATCH_SIZES:
        windows = trial_windows(facts, size, seed=size)
        expected, expected_map = checkpoint.explain(windows)
        actual, parts = runtime.explain(windows)
        level = max(1.0, float(np.abs(expected / unit).max(initial=0.0)))
        gaps = {
            "probability": gap(actual, expected) / unit / level,
            "map": gap(parts, expected_map) / unit / level,
        }
        for name, difference in gaps.items():
            if not difference <= TOLERANCE:
                raise ParityError(
                    f"an exported model must agree with its checkpoint within {TOLERANCE:g}, "
                    f"however: {name} differs by {difference:.3g} at batch {size}"
                )
            worst[name] = max(worst[name], difference)
    return {
        "max_abs_difference": worst,
        "tolerance": TOLERANCE,
        "batch_sizes": list(BATCH_SIZES),
        "opset": OPSET,
    }


def unit_of(facts: Mapping[str, Any]) -> float:
    """What a score of 1 of the network is in the head's unit."""
    return float(facts["value_scale" if facts["head"] == "forecasts" else "value_spread"])


def trial_windows(facts: Mapping[str, Any], size: int, *, seed: int) -> NDArray[np.float32]:
    """Windows [N, T, C] about what is usual and far from it, some channels without a reading.

    What is foretold always has some: a request without is refused.
    """
    draw = np.random.default_rng(seed)
    center, spread = np.array(facts["center"]), np.array(facts["spread"])
    shape = (size, num_rows(facts), len(center))
    far = 10.0 ** draw.integers(-1, 2, (size, 1, len(center)))
    windows = center + spread * far * draw.normal(size=shape)
    windows[draw.random(shape) < 0.05] = np.nan
    if len(facts["channels"]) > 1:  # a window must have a reading
        is_foretold = facts["head"] == "forecasts" and facts["target"] == 0
        windows[0, :, 1 if is_foretold else 0] = np.nan
    windows = filled(windows.astype(np.float32))
    ahead = windows[:, int(facts["length"]) :, facts.get("columns_ahead", [])]
    ahead[np.isnan(ahead)] = 0.0  # a request must have these
    windows[:, int(facts["length"]) :, facts.get("columns_ahead", [])] = ahead
    return windows


def _probes(
    predictor: SeriesPredictor, shape: SequenceShape, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Records with the scores that a replica must reproduce."""
    windows = trial_windows(facts, NUM_PROBES, seed=1)
    name = predictor.field.name
    records = [record_of(name, window, shape) for window in windows]
    scores = predictor.predict([predictor.window(record) for record in records])
    return {
        "records": records,
        "scores": [row.values.ravel().tolist() for row in scores],
        "unit": unit_of(facts),
        "tolerance": PROBE_TOLERANCE,
    }
