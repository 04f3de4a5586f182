"""What is usual in windows without anomalies: their principal components, and the network's errors.

usual training windows -> components, deviations, mean; those of validation rows -> noise and units
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from spt_core.data.series import windows_of
from spt_core.data.splits import Splits
from spt_core.errors import CorruptArtifactError, InputError
from spt_core.families.series.encoding import standard, usual_rows
from spt_core.families.series.facts import sequence_field
from spt_core.families.series.network import UsualWindows
from spt_core.families.series.reading import filled
from spt_core.families.series.rows import encoded_part
from spt_core.heads import ITEM_HEADS
from spt_core.heads.base import Truth
from spt_core.heads.outcomes import groups_of, values_of
from spt_core.task import Task

PCA_ROWS = 4_000
USUAL_QUANTILE = 0.99  # of usual windows' errors: where a score is 1
LEAST = 1e-6
LEAST_SPREAD = 0.1  # of a component, so that one that never varied is not the whole score
FIGURE_ROWS = 20_000
Floats = NDArray[np.float64]
Windows = NDArray[np.float32]
Expect = Callable[[Windows], Floats]  # the last reading of windows [N, T, C], standardised [N, C]


def usual_windows(splits: Splits, field: str, facts: Mapping[str, Any]) -> tuple[Windows, Windows]:
    """Windows without an anomaly, of training and of validation rows."""
    windows, _ = encoded_part(splits, "train", field, facts, PCA_ROWS)
    table = usual_rows(splits.table("validation", FIGURE_ROWS), facts)
    own = sequence_field(splits.signature)
    assert own.shape is not None
    if not table.num_rows:
        raise InputError(
            "validation rows must have windows without an anomaly, to tell what is usual, however: "
            "there are none"
        )
    return windows, filled(windows_of(table[field], own.shape))


def fit_usual(
    windows: Windows,
    held_out: Windows,
    facts: Mapping[str, Any],
    num_components: int,
    expect: Expect,
) -> UsualWindows:
    """What is usual in training windows, with the errors on held-out ones of what is expected."""
    cells = standardised(windows, facts).astype(np.float64)
    typical = cells.mean(0)
    size = min(num_components, *cells.shape)
    _, values, axes = np.linalg.svd(cells - typical, full_matrices=False)
    components = np.zeros((min(num_components, cells.shape[1]), cells.shape[1]))
    components[:size] = axes[:size]
    spreads = np.ones(len(components))
    spreads[:size] = np.maximum(values[:size] / np.sqrt(len(cells)), LEAST_SPREAD)
    error = standard(held_out[:, -1], facts) - expect(held_out)
    noise = np.maximum(np.sqrt((error**2).mean(0)), LEAST)
    usual = UsualWindows(components, spreads, typical, noise, np.ones(3))
    errors = parts_of(held_out, error, usual, facts).sum((2, 3))
    units = np.maximum(np.quantile(3.0 * errors, USUAL_QUANTILE, axis=1), LEAST)
    return usual._replace(units=units)


def parts_of(
    windows: Windows, error: Floats, usual: UsualWindows, facts: Mapping[str, Any]
) -> Floats:
    """What each reading adds to the score [3, N, T, C]: what is left (Q), T2, the last reading."""
    centered = standardised(windows, facts) - usual.typical
    inner = centered @ usual.components.T
    parts = np.zeros((3, *windows.shape))
    parts[0] = ((centered - inner @ usual.components) ** 2).reshape(windows.shape)
    parts[1] = (((inner / usual.spreads) @ usual.components) ** 2).reshape(windows.shape)
    parts[2, :, -1] = (error / usual.noise) ** 2
    sizes = np.array([centered.shape[1], len(usual.spreads), windows.shape[2]])
    return parts / (3.0 * usual.units * sizes)[:, None, None, None]


def standardised(windows: Windows, facts: Mapping[str, Any]) -> Windows:
    """Windows as rows of cells [N, T * C] in standard deviations."""
    cells = standard(windows.reshape(-1, windows.shape[2]), facts)
    return cells.reshape(len(windows), -1)


def usual_bytes(usual: UsualWindows) -> bytes:
    """The arrays as a safetensors file."""
    return save({name: np.asarray(v, np.float64) for name, v in usual._asdict().items()})


def usual_from_bytes(content: bytes) -> UsualWindows:
    """What `usual_bytes` wrote; CorruptArtifactError where an array is missing."""
    arrays = load(content)
    if set(arrays) != set(UsualWindows._fields):
        raise CorruptArtifactError(
            f"a teacher of anomalies must have {', '.join(UsualWindows._fields)}, however: this "
            f"one has {', '.join(sorted(arrays))}; train it again"
        )
    return UsualWindows(**arrays)


def anomaly_figures(
    task: Task, splits: Splits, field: str, score: Callable[[Windows], Floats]
) -> dict[str, float]:
    """Every metric on validation rows, in their order, under the threshold that usual ones ask."""
    table, head = splits.table("validation", FIGURE_ROWS), ITEM_HEADS["anomalies"]
    own = sequence_field(splits.signature)
    assert own.shape is not None
    scores = score(filled(windows_of(table[field], own.shape)))
    truth = Truth(table, splits.label, groups_of(table, splits.corpus.group))
    of = head.decided(task, (), truth, scores, head.default_policy(task, ()))
    of = head.decided(task, (), truth, scores, head.policy(task, of))
    return {f"validation_{name}": value for name, value in values_of(head.metrics, of).items()}
