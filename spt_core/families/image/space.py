"""What a search may change of an image's student."""

from __future__ import annotations

import dataclasses
import itertools
import json

from spt_core.artifacts import FACTS, ModelArtifact
from spt_core.families.image.config import ImageConfig
from spt_core.families.image.network import architecture_of
from spt_core.families.space import Range, Space, around
from spt_core.fitting.config import TrainingConfig

STAGES = (3, 4, 5)
EXPANSIONS = (1.0, 0.5)
RATE_FACTOR = 3.0
MAX_DROPOUT = 0.4


def image_space(training: TrainingConfig, teacher: ModelArtifact) -> Space:
    """Stages, channels inside blocks, rate and dropout, from the configuration's own on."""
    most = len(architecture_of(json.loads(teacher.read(FACTS))).stages) - 1
    own_stages = min(training.network.student_stages, most)
    network = dataclasses.replace(training.network, student_stages=own_stages)
    shapes = {_name(network): network}
    for stages, expansion in itertools.product((n for n in STAGES if n <= most), EXPANSIONS):
        own = dataclasses.replace(network, student_stages=stages, student_expansion=expansion)
        shapes.setdefault(_name(own), own)
    return Space(
        shapes,
        (
            around(training, "learning_rate", RATE_FACTOR),
            Range("dropout", 0.0, MAX_DROPOUT, is_log=False),
        ),
    )


def _name(network: ImageConfig) -> str:
    name = f"{network.student_stages} stages of {network.student_width:g}"
    expansion = network.student_expansion
    return name if expansion == 1 else f"{name}, {expansion:g} inside"
