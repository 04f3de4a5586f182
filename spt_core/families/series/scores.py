"""Outputs of a network -> the head's scores: calibration, and figures on validation rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spt_core.data.splits import Splits
from spt_core.families.series.network import num_outputs
from spt_core.families.series.rows import encoded_part
from spt_core.heads import HEADS
from spt_core.heads.label_calibration import fit_label_calibration
from spt_core.heads.outcomes import values_of
from spt_core.task import Task

Floats = NDArray[np.float64]
Calibration = tuple[list[float], list[float]]  # (scale, shift) [K]
CALIBRATION_ROWS = 20_000


def calibration_of(
    task: Task,
    splits: Splits,
    field: str,
    facts: Mapping[str, Any],
    outputs: Callable[[NDArray[np.float32]], Floats],
) -> Calibration:
    """What takes outputs to scores: a number's unit, or calibrated logits by calibration rows."""
    size = num_outputs(facts)
    if task.head == "forecasts":
        return [1.0] * size, [0.0] * size
    if task.head != "single_label":
        return [facts["value_spread"]] * size, [facts["value_center"]] * size
    windows, targets = encoded_part(splits, "calibration", field, facts, CALIBRATION_ROWS)
    scale, shift = fit_label_calibration(task.head, outputs(windows), targets.astype(np.float64))
    return scale.tolist(), shift.tolist()


def figures(
    task: Task,
    facts: Mapping[str, Any],
    targets: NDArray[np.float32],
    outputs: Floats,
    calibration: Calibration,
) -> dict[str, float]:
    """Every metric on validation rows, named so that nobody takes it for a held-out figure."""
    head, (scale, shift) = HEADS[task.head], calibration
    true = targets.astype(np.float64)
    if task.head == "regression":
        true = true * facts["value_spread"] + facts["value_center"]
    of = head.fitted(task, tuple(facts["classes"]), true, outputs * scale + shift)
    return {f"validation_{name}": value for name, value in values_of(head.metrics, of).items()}
