"""VUS-PR: the volume under the precision-recall surface of anomaly scores along a time axis.

Paparrizos et al., "Volume under the surface: a new accuracy evaluation measure for time-series
anomaly detection", VLDB 2022, as TSB-AD has it (Liu and Paparrizos, NeurIPS 2024). An anomaly is
widened on both sides by a buffer whose weight falls with the distance, so that a score that is
early or late by a little counts; the mean is over all buffers up to the greatest. A curve's recall
is that of the weighted readings times the share of anomalies of which anything was found.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
THRESHOLDS = 250
MAX_BUFFER = 100  # readings, as TSB-AD has it where nothing is periodic
NUM_BUFFERS = 21  # of those up to the greatest, evenly spread: the mean moves by some 0.002


def vus_pr(
    labels: Floats,
    scores: Floats,
    *,
    max_buffer: int = MAX_BUFFER,
    num_buffers: int | None = NUM_BUFFERS,
) -> float:
    """The volume of scores [N] against labels [N], 0 or 1, in the order of time.

    NaN unless there are anomalies and others. With `num_buffers` None every buffer is taken.
    """
    is_anomaly = np.asarray(labels) > 0.5
    if not is_anomaly.any() or is_anomaly.all():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    places = np.linspace(0, len(scores) - 1, THRESHOLDS).astype(int)
    predicted = np.searchsorted(-ranked, -ranked[places], side="right")  # how many are, each time
    edges = np.flatnonzero(np.diff(is_anomaly.astype(np.int8), prepend=0, append=0))
    segments = edges.reshape(-1, 2)
    buffers = np.arange(max_buffer + 1)
    if num_buffers is not None and len(buffers) > num_buffers:
        buffers = np.linspace(0, max_buffer, num_buffers).round().astype(int)
    volumes = [
        _area(scores, order, ranked[places], predicted, is_anomaly, segments, int(buffer))
        for buffer in buffers
    ]
    return float(np.mean(volumes))


def _area(
    scores: Floats,
    order: NDArray[np.int64],
    thresholds: Floats,
    predicted: NDArray[np.int64],
    is_anomaly: NDArray[np.bool_],
    segments: NDArray[np.int64],
    buffer: int,
) -> float:
    """The area under one precision-recall curve."""
    weights = _widened(is_anomaly, segments, buffer)
    hits = np.cumsum(weights[order])[predicted - 1]
    beside = np.cumsum(np.where(is_anomaly, 0.0, weights)[order])[predicted - 1]
    greatest = [scores[a:b].max() for a, b in _joined(segments, buffer // 2, len(scores))]
    share = (np.array(greatest)[:, None] >= thresholds).mean(0)
    total = is_anomaly.sum()
    recall = np.minimum(hits / (total + beside / 2.0), 1.0) * share
    return float(np.diff(recall, prepend=0.0) @ (hits / predicted))


def _widened(is_anomaly: NDArray[np.bool_], segments: NDArray[np.int64], buffer: int) -> Floats:
    """1 within an anomaly, and around it a weight that falls with the distance."""
    weights, half = is_anomaly.astype(np.float64), buffer // 2
    if half:
        ramp = np.sqrt(1.0 - np.arange(1, half + 1) / buffer)
        for start, end in segments:
            after, before = weights[end : end + half], weights[max(start - half, 0) : start]
            after += ramp[: len(after)]
            before += ramp[: len(before)][::-1]
    return np.minimum(weights, 1.0)


def _joined(segments: NDArray[np.int64], half: int, size: int) -> list[tuple[int, int]]:
    """The anomalies with their buffers; those whose buffers meet are one."""
    joined: list[tuple[int, int]] = []
    for start, end in segments.tolist():
        low, high = max(start - half, 0), min(end + half, size)
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return joined
