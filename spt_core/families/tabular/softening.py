"""What a Ray Data task runs to label augmented rows with a teacher; opened once per process."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spt_core.artifacts import artifact_from_json
from spt_core.families.tabular.ensemble import TeacherEnsemble

MAX_TEACHERS = 16  # that a process keeps open
ROWS_AT_ONCE = 65_536  # a small corpus has hundreds of copies, of which memory holds a few


def soften(
    batch: dict[str, NDArray[Any]],
    *,
    teachers: Sequence[str],
    copies: int,
    num_numbers: int,
    swap_probability: float,
    forget_probability: float,
    hard_label_weight: float,
    seed: int,
) -> Iterator[dict[str, NDArray[Any]]]:
    """A batch, then augmented copies, labelled by teachers; the draw follows the rows' numbers.

    The first teacher answers the rows, and the mean of all answers copies, which are nobody's
    training rows. They come in pieces of about ROWS_AT_ONCE rows.
    """
    features, labels = batch["features"], batch["target"]
    num_rows = len(features)
    draw = np.random.default_rng([seed, int(batch["row"][0]), num_rows])
    unknown = np.where(np.arange(features.shape[1]) < num_numbers, np.float32(np.nan), 0)

    def versions() -> Iterator[NDArray[np.float32]]:
        yield features
        for _ in range(copies):
            donors = draw.integers(0, num_rows, features.shape)
            swapped = np.take_along_axis(features, donors, axis=0)
            copy = np.where(draw.random(features.shape) < swap_probability, swapped, features)
            forgotten = draw.random(features.shape) < forget_probability
            yield np.where(forgotten, unknown, copy).astype(np.float32)

    left, at_once, is_first = versions(), max(ROWS_AT_ONCE // num_rows, 1), True
    while parts := list(itertools.islice(left, at_once)):
        piece = np.concatenate(parts)
        targets = np.mean([_open_teacher(each).soft(piece) for each in teachers], axis=0)
        if is_first:  # it holds the original rows
            if len(teachers) > 1:
                targets[:num_rows] = _open_teacher(teachers[0]).soft(features)
            original_targets = (
                targets[:num_rows] if labels.ndim == 1 else targets[:num_rows, : labels.shape[1]]
            )
            original_targets += hard_label_weight * (labels - original_targets)
            is_first = False
        yield {
            "features": piece,
            "target": targets.astype(np.float32),
            "weight": np.tile(batch["weight"], len(parts)),
        }


@functools.lru_cache(maxsize=MAX_TEACHERS)
def _open_teacher(artifact: str) -> TeacherEnsemble:
    torch.set_num_threads(1)
    return TeacherEnsemble(artifact_from_json(json.loads(artifact)))
