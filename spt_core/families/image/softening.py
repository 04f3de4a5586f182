"""What a Ray Data task runs to label altered images with a teacher; opened once per process."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from scipy.special import expit, softmax

from spt_core.artifacts import artifact_from_json
from spt_core.families.image.altering import altered
from spt_core.families.image.checkpoint import open_network
from spt_core.families.image.config import Variation
from spt_core.families.image.encoding import packed
from spt_core.families.image.network import ImageNetwork
from spt_core.families.image.reading import Square, features_of
from spt_core.families.image.rows import arrays_of
from spt_core.families.image.scores import score_images
from spt_core.images import Pixels
from spt_core.plain import from_plain


def soften_images(
    batch: dict[str, NDArray[Any]],
    *,
    teacher: str,
    square: tuple[int, int, int],
    copies: int,
    variation: dict[str, float],
    symmetries: tuple[str, ...],
    temperature: float,
    hard_label_weight: float,
    seed: int,
) -> pa.Table:
    """Images and altered copies with the teacher's distributions; the draw follows row numbers."""
    network, of = _open_teacher(teacher), Square(*square)
    levels, targets, _ = arrays_of(batch, of)
    draw = torch.Generator().manual_seed(
        int(np.random.SeedSequence([seed, int(batch["row"][0])]).generate_state(1)[0])
    )
    how = from_plain(Variation, variation)
    everything = [levels, *(_copied(levels, how, symmetries, draw) for _ in range(copies))]
    soft: list[NDArray[np.float32]] = []
    for number, some in enumerate(everything):
        answers = _softened(network.head, calibrated(network, some), temperature)
        if number == 0:
            answers = answers + hard_label_weight * (targets - answers)
        soft.append(answers.astype(np.float32))
    labelled = np.concatenate(soft)
    rows = pa.array(np.tile(batch["row"], copies + 1), pa.int64())
    weights = np.ones(len(labelled), np.float32)
    return packed(np.concatenate(everything), labelled, weights, rows)


def calibrated(network: ImageNetwork, levels: Pixels) -> NDArray[np.float64]:
    """Calibrated logits [N, K]."""
    scale, shift = network.scale.double().numpy(), network.shift.double().numpy()
    return score_images(network, levels) * scale + shift


def _copied(
    levels: Pixels, variation: Variation, symmetries: tuple[str, ...], draw: torch.Generator
) -> Pixels:
    top = np.iinfo(levels.dtype).max
    copies = altered(torch.from_numpy(features_of(levels)), variation, symmetries, draw)
    return np.rint(copies.numpy() * top).astype(levels.dtype)


def _softened(head: str, logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    if head == "single_label":
        return softmax(logits / temperature, axis=1)
    return expit(logits / temperature)


@functools.lru_cache(maxsize=1)
def _open_teacher(artifact: str) -> ImageNetwork:
    torch.set_num_threads(1)
    return open_network(artifact_from_json(json.loads(artifact)))
