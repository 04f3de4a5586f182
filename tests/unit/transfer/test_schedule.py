import pytest

from spt_core.errors import InputError
from spt_core.transfer import TransferConfig, transfer_config
from spt_core.transfer.schedule import scheduled
from tests.specification import transfer_strategy

LAYERS = {
    "embedding": ["words"],
    "encoder.0": ["a.weight", "a.bias"],
    "encoder.1": ["b.weight"],
    "encoder.2": ["c.weight"],
    "head": ["vote"],
}
GIVEN = [name for names in LAYERS.values() for name in names]
SPECIFIED = transfer_strategy()


def test_the_specification_s_configuration_unfreezes_epoch_by_epoch_counted_from_one():
    schedule = scheduled(transfer_config(SPECIFIED), LAYERS, GIVEN, 10)
    assert schedule.first_epochs == {
        "vote": 0, "c.weight": 0, "b.weight": 3, "a.weight": 5, "a.bias": 5, "words": 7,
    }  # fmt: skip


def test_a_layer_that_was_never_frozen_is_accepted_and_reported():
    schedule = scheduled(transfer_config(SPECIFIED), LAYERS, GIVEN, 10)
    assert schedule.notes == ("epoch 2 unfreezes encoder.2, which was never frozen",)


def test_a_schedule_alone_freezes_what_it_names_until_then():
    config = transfer_config(
        {
            "strategy": "progressive_unfreezing",
            "unfreeze_schedule": {"epoch_2": ["encoder.2"], "epoch_3": ["encoder.1"]},
        }
    )
    schedule = scheduled(config, LAYERS, GIVEN, 4)
    assert schedule.first_epochs == {
        "vote": 0, "words": 0, "a.weight": 0, "a.bias": 0, "c.weight": 1, "b.weight": 2,
    }  # fmt: skip
    assert schedule.notes == ()


def test_a_layer_that_stays_frozen_is_reported():
    config = TransferConfig(strategy="progressive_unfreezing", freeze_layers=("encoder.1",))
    schedule = scheduled(config, LAYERS, GIVEN, 3)
    assert "b.weight" not in schedule.first_epochs
    assert schedule.notes == ("never unfrozen: encoder.1",)


@pytest.mark.parametrize("key", ["freeze_layers", "unfreeze_schedule"])
def test_a_name_that_is_no_layer_is_refused_with_the_nearest(key):
    wrong = {"freeze_layers": ["encodr.1"], "unfreeze_schedule": {"epoch_2": ["encodr.1"]}}
    config = transfer_config({"strategy": "progressive_unfreezing", key: wrong[key]})
    with pytest.raises(InputError, match="'encodr.1' is none; the nearest is 'encoder.1'"):
        scheduled(config, LAYERS, GIVEN, 3)


def test_an_epoch_that_would_never_come_is_refused():
    with pytest.raises(InputError, match="epoch_8 of 6"):
        scheduled(transfer_config(SPECIFIED), LAYERS, GIVEN, 6)


def test_an_epoch_without_anything_to_train_is_refused():
    config = TransferConfig(strategy="progressive_unfreezing", freeze_layers=tuple(LAYERS))
    with pytest.raises(InputError, match="in epoch 1 all layers are frozen"):
        scheduled(config, LAYERS, GIVEN, 3)


def test_what_the_source_did_not_give_is_trained_from_the_beginning():
    config = TransferConfig(strategy="head_only")
    given = [name for name in GIVEN if name != "b.weight"]
    schedule = scheduled(config, LAYERS, given, 3)
    assert schedule.first_epochs == {"vote": 0, "b.weight": 0}
    assert schedule.notes == ("1 parameters of frozen layers begin afresh and are trained at once",)


@pytest.mark.parametrize("strategy", ["full", "l2_sp"])
def test_all_is_trained_from_the_beginning(strategy):
    schedule = scheduled(TransferConfig(strategy=strategy), LAYERS, GIVEN, 1)
    assert schedule.first_epochs == dict.fromkeys(GIVEN, 0)


@pytest.mark.parametrize(("num_epochs", "epochs"), [(5, [1, 2, 3, 4]), (3, [1, 1, 2, 2])])
def test_without_a_schedule_layers_are_unfrozen_from_the_last_on(num_epochs, epochs):
    config = TransferConfig(strategy="progressive_unfreezing")
    first = scheduled(config, LAYERS, GIVEN, num_epochs).first_epochs
    assert [first[n] for n in ("c.weight", "b.weight", "a.weight", "words")] == epochs
    assert first["vote"] == 0


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ({"strategy": "freeze"}, "'freeze'"),
        ({"freeze_layers": ["head"]}, "must go with the strategy progressive_unfreezing"),
        ({"l2_sp": 0.5}, "l2_sp must go with the strategy l2_sp"),
        ({"margin": -0.1}, "margin at least 0"),
        ({"shares": [0.5, 1.0]}, "shares must be in"),
        ({"unfreze_schedule": {}}, "the nearest is 'unfreeze_schedule'"),
        (
            {"strategy": "progressive_unfreezing", "unfreeze_schedule": {"epoch_0": ["head"]}},
            "count from 1",
        ),
        ({"columns": ["amount"]}, "TARGET:SOURCE"),
        ({"columns": ["sum:amount", "sum:income"]}, "'sum' is named twice"),
        ({"margin": float("nan")}, "both finite"),
        ({"strategy": "l2_sp", "l2_sp": float("inf")}, "both finite"),
        ("full", "must be a mapping"),
        (None, "must be a mapping"),
    ],
)
def test_a_configuration_that_nobody_could_obey_is_refused_in_a_sentence(content, rule):
    with pytest.raises(InputError, match=rule):
        transfer_config(content)


def test_columns_may_be_a_mapping_with_null_for_none():
    columns = {"sum: insured": "amount", "colour": None, "age": "person: age", "a:b": "c:d:e"}
    assert transfer_config({"columns": columns}).matches == columns


def test_a_colon_of_a_source_s_column_is_escaped():
    assert transfer_config({"columns": [r"a:b:c\:d"]}).matches == {"a:b": "c:d"}
