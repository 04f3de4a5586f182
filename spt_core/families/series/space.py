"""What a search may change of a series' student."""

from __future__ import annotations

import dataclasses

from spt_core.artifacts import ModelArtifact
from spt_core.families.space import Range, Space, around
from spt_core.fitting.config import TrainingConfig

SIZES = ((1, 8), (2, 16), (3, 32), (4, 64))  # filters, width
RATE_FACTOR = 4.0
MAX_DROPOUT = 0.3


def series_space(training: TrainingConfig, teacher: ModelArtifact) -> Space:
    """Filters and width, learning rate and dropout, from the configuration's own on."""
    del teacher
    network = training.network
    own = (network.student_filters, network.student_width)
    shapes = [own, *(size for size in SIZES if size != own)]
    return Space(
        {
            f"{filters} filters, {width} wide": dataclasses.replace(
                network, student_filters=filters, student_width=width
            )
            for filters, width in shapes
        },
        (
            around(training, "learning_rate", RATE_FACTOR),
            Range("dropout", 0.0, MAX_DROPOUT, is_log=False),
        ),
    )
