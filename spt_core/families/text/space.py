"""What a search may change of a text's student."""

from __future__ import annotations

import dataclasses
import json

from spt_core.artifacts import FACTS, ModelArtifact
from spt_core.families.space import Range, Space, around
from spt_core.families.text.bodies import whole_heads
from spt_core.fitting.config import TrainingConfig

LAYERS = (1, 2, 4)
WIDTHS = (1 / 6, 1 / 3, 2 / 3, 1.0)  # of the teacher's
RATE_FACTOR = 3.0
MAX_DROPOUT = 0.2


def text_space(training: TrainingConfig, teacher: ModelArtifact) -> Space:
    """Layers, width, learning rate and dropout, from the configuration's own on."""
    encoder = json.loads(teacher.read(FACTS))["encoder"]
    size, depth, network = encoder["hidden_size"], encoder["num_hidden_layers"], training.network
    per_head = size // encoder["num_attention_heads"]
    own = (min(network.student_layers, depth), whole_heads(encoder, network.student_width))
    shapes = {own: network}
    for layers in LAYERS:
        for share in WIDTHS:
            width = whole_heads(encoder, max(int(size * share), per_head))
            if layers <= depth:
                shapes.setdefault(
                    (layers, width),
                    dataclasses.replace(network, student_layers=layers, student_width=width),
                )
    return Space(
        {f"{layers} layers of {width}": network for (layers, width), network in shapes.items()},
        (
            around(training, "learning_rate", RATE_FACTOR),
            Range("dropout", 0.0, MAX_DROPOUT, is_log=False),
        ),
        shares_rows=False,  # ids and states are those of a shape
    )
