"""What a Ray Data task runs to label copies of windows with a teacher; opened once per process."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax

from spt_core.artifacts import artifact_from_json
from spt_core.families.series.ensemble import TeacherEnsemble, open_teacher
from spt_core.families.series.facts import num_rows
from spt_core.families.series.reading import filled

Windows = NDArray[np.float32]


def soften(
    batch: dict[str, NDArray[Any]],
    *,
    teacher: str,
    copies: int,
    jitter: float,
    mix_probability: float,
    gap_probability: float,
    hard_label_weight: float,
    seed: int,
) -> Iterator[dict[str, NDArray[Any]]]:
    """A batch, then augmented copies, labelled by the teacher; the draw follows the rows' numbers.

    Targets of numbers are the teacher's value and interval [N, 3], those of classes distributions.
    """
    size = len(batch["row"])
    if not size:
        return
    opened = _open_teacher(teacher)
    facts = opened.facts
    shape = (-1, num_rows(facts), len(facts["center"]))
    windows = np.array(batch["features"], np.float32).reshape(shape)
    labels = np.array(batch["target"], np.float32)
    draw = np.random.default_rng([seed, int(batch["row"][0]), size])
    spread = np.array(facts["spread"], np.float32) * np.float32(jitter)
    for number in range(copies + 1):
        own: Windows = windows
        if number:
            noise = spread * draw.standard_normal(windows.shape, np.float32)
            own = (copied_windows(windows, draw, mix_probability, gap_probability) + noise).astype(
                np.float32
            )
        targets = soft_targets(opened.outputs(own), facts["head"])
        if (
            not number and hard_label_weight and labels.shape[1] <= targets.shape[1]
        ):  # these are the rows themselves
            width = labels.shape[1]
            targets[:, :width] += hard_label_weight * (labels - targets[:, :width])
        yield {
            "features": own.reshape(size, -1),
            "target": targets.astype(np.float32),
            "weight": np.ones(size, np.float32),
        }


def copied_windows(
    windows: Windows, draw: np.random.Generator, mix_probability: float, gap_probability: float
) -> Windows:
    """Copies of windows [N, T, C]: some are mixed, some channels lose a stretch of readings."""
    size, length, width = windows.shape
    share = np.where(draw.random(size) < mix_probability, draw.beta(0.4, 0.4, size), 1.0)
    share = share.astype(np.float32)[:, None, None]
    mixed = share * windows + (1.0 - share) * windows[draw.permutation(size)]
    starts = draw.integers(0, length, (size, width))
    sizes = draw.integers(1, max(length // 2, 2), (size, width))
    steps = np.arange(length)[None, :, None]
    lost = (steps >= starts[:, None]) & (steps < (starts + sizes)[:, None])
    lost &= (draw.random((size, width)) < gap_probability)[:, None]
    return filled(np.where(lost, np.float32(np.nan), mixed))


def soft_targets(outputs: NDArray[np.float64], head: str) -> NDArray[np.float64]:
    """What a teacher's outputs ask of its student: distributions of classes, else themselves."""
    return softmax(outputs, axis=1) if head == "single_label" else outputs.copy()


@functools.lru_cache(maxsize=1)
def _open_teacher(artifact: str) -> TeacherEnsemble:
    torch.set_num_threads(1)
    return open_teacher(artifact_from_json(json.loads(artifact)))
