"""What a search may change of an image's student."""

from __future__ import annotations

import dataclasses

from spt_core.artifacts import ModelArtifact
from spt_core.families.space import Range, Space, around
from spt_core.fitting.config import TrainingConfig

STAGES = (3, 4, 5)
WIDTHS = (1.0, 0.5)
RATE_FACTOR = 3.0
MAX_DROPOUT = 0.4


def image_space(training: TrainingConfig, teacher: ModelArtifact) -> Space:
    """Stages, width, learning rate and dropout, from the configuration's own on."""
    del teacher
    network = training.network
    shapes = {(network.student_stages, network.student_width): network}
    for stages in STAGES:
        for width in WIDTHS:
            shapes.setdefault(
                (stages, width),
                dataclasses.replace(network, student_stages=stages, student_width=width),
            )
    return Space(
        {f"{stages} stages of {width:g}": shape for (stages, width), shape in shapes.items()},
        (
            around(training, "learning_rate", RATE_FACTOR),
            Range("dropout", 0.0, MAX_DROPOUT, is_log=False),
        ),
    )
