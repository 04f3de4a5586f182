"""What a search may change of a table's student."""

from __future__ import annotations

import dataclasses

from spt_core.artifacts import ModelArtifact
from spt_core.families.space import Range, Space, around
from spt_core.fitting.config import TrainingConfig

# From a seventh of a microsecond to tens of them a row, each about twice the one before.
HIDDEN = ((8,), (16,), (32, 16), (64, 32), (128, 64), (256, 128))
RATE_FACTOR, DECAY_FACTOR = 4.0, 10.0
MAX_DROPOUT = 0.3


def table_space(training: TrainingConfig, teacher: ModelArtifact) -> Space:
    """Hidden layers, learning rate, weight decay and dropout, from the configuration's own on."""
    del teacher
    network = training.network
    shapes = [network.student_hidden, *(h for h in HIDDEN if h != network.student_hidden)]
    return Space(
        {
            "-".join(str(width) for width in hidden): dataclasses.replace(
                network, student_hidden=hidden
            )
            for hidden in shapes
        },
        (
            around(training, "learning_rate", RATE_FACTOR),
            around(training, "weight_decay", DECAY_FACTOR),
            Range("student_dropout", 0.0, MAX_DROPOUT, is_log=False),
        ),
    )
