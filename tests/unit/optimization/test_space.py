"""What a search may change of a student."""

import dataclasses
import json

import pytest

from spt_core.families.space import LEAST, SHAPE, around
from spt_core.families.tabular.config import TabularConfig
from spt_core.families.tabular.space import HIDDEN, table_space
from spt_core.families.text.config import TextConfig
from spt_core.families.text.space import text_space
from spt_core.fitting.config import TrainingConfig

TABLE = TrainingConfig(learning_rate=5e-3, network=TabularConfig(student_hidden=(48, 24)))


class Teacher:
    """Has an encoder of a size."""

    def __init__(self, layers):
        self._encoder = {
            "hidden_size": 384,
            "num_hidden_layers": layers,
            "num_attention_heads": 12,
        }

    def read(self, name):
        assert name == "facts.json"
        return json.dumps({"encoder": self._encoder})


def test_a_table_s_search_begins_with_what_the_configuration_says():
    space = table_space(TABLE, None)
    assert next(iter(space.shapes)) == "48-24"
    assert len(space.shapes) == len(HIDDEN) + 1
    start = space.start(TABLE)
    assert start == {
        SHAPE: "48-24",
        "learning_rate": 5e-3,
        "weight_decay": TABLE.weight_decay,
        "student_dropout": 0.0,
    }
    assert space.configured(TABLE, start) == TABLE


def test_a_point_is_a_training_of_another_network():
    space = table_space(TABLE, None)
    point = {SHAPE: "16", "learning_rate": 1e-3, "weight_decay": 0.1, "student_dropout": 0.2}
    training = space.configured(TABLE, point)
    assert (training.learning_rate, training.weight_decay) == (1e-3, 0.1)
    assert training.network == dataclasses.replace(
        TABLE.network, student_hidden=(16,), student_dropout=0.2
    )


def test_a_rate_of_nothing_has_a_range_all_the_same():
    none = dataclasses.replace(TABLE, weight_decay=0.0)
    assert around(none, "weight_decay", 10.0)[1:3] == pytest.approx((LEAST / 10, LEAST * 10))


@pytest.mark.parametrize("layers", [1, 6])
def test_a_text_s_shapes_are_no_larger_than_their_teacher(layers):
    network = TextConfig(student_layers=2, student_width=256)
    training = TrainingConfig(family="text", network=network)
    space = text_space(training, Teacher(layers))
    assert next(iter(space.shapes)) == f"{min(layers, 2)} layers of 256"
    assert not space.shares_rows
    sizes = {(n.student_layers, n.student_width) for n in list(space.shapes.values())[1:]}
    assert all(count <= layers and width <= 384 and width % 32 == 0 for count, width in sizes)
    assert space.configured(training, space.start(training)) == training
