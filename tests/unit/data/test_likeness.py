"""A data set to be scored, held against training."""

from collections import Counter

import pyarrow as pa
import pytest

from spt_core.data.likeness import oddities
from spt_core.data.sampling import sample_of
from spt_core.errors import InputError
from spt_core.signature import Field, Signature

SIGNATURE = Signature(
    fields=(
        Field(name="seen", kind="time", notation="epoch_ms"),
        Field(name="code", kind="category", categories=("5411", "742")),
        Field(name="pop", kind="number", notation="decimal_comma"),
        Field(name="amount", kind="number", seen=(1.0, 500.0)),
        Field(name="channel", kind="category", categories=("web", "pos")),
        Field(name="ts", kind="time", notation="day_first"),
    )
)
USUAL = {
    "seen": [1_700_000_000_000, 1_710_000_000_000, 1_690_000_000_000],
    "code": ["5411.0", "742", "5411"],
    "pop": ["45.205", "209", "7"],
    "amount": ["34.6", "7", "480.25"],
    "channel": ["web", "pos", "web"],
    "ts": ["01.03.2024 10:00", "13.03.2024 10:00", "28.12.2024 10:00"],
}


def odd(**columns):
    return oddities(sample_of(pa.table({**USUAL, **columns})), SIGNATURE, "new.csv")


def test_what_is_like_training_is_not_told_of():
    assert odd() == []


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"amount": ["34,6", "7", "80,25"]}, "amount is read with a decimal point, as in training"),
        ({"amount": ["34,600", "1,000", "80,250"]}, "amount lies beyond training's 1 to 500"),
        ({"seen": [1_700_000_000, 1_710_000_000, 1_690_000_000]}, "it looks like epoch s"),
        ({"amount": ["abc", "x", "7"]}, "amount cannot be read in 67% of the sampled rows, such"),
        ({"channel": ["kiosk"] * 3}, "channel holds values that training never saw in 100%"),
        ({"amount": ["900", "7", "8"]}, "amount lies beyond training's 1 to 500 in 33%"),
    ],
)
def test_what_is_unlike_training_is_told(columns, sentence):
    assert any(sentence in one for one in odd(**columns))


def test_days_and_months_do_not_change_places():
    swapped = ["03/01/2024 10:00", "03/13/2024 10:00", "12/28/2024 10:00"]
    with pytest.raises(InputError, match="those of 'ts' are month first"):
        odd(ts=swapped)


@pytest.mark.parametrize("values", [["", "", ""], ["12", "7", "8"], ["1,5", "2,25", "7"]])
def test_what_says_nothing_of_how_it_is_written_is_not_told_of(values):
    assert odd(pop=values) == []


def test_a_file_of_which_no_row_can_be_read_is_left_to_its_quarantine():
    rows = sample_of(pa.table({"__row": pa.array([], pa.int64())}))
    assert oddities(rows._replace(refused=Counter({"broken": 4})), SIGNATURE, "new.csv") == []
    with pytest.raises(InputError, match="new.csv has no row, none of"):
        oddities(rows, SIGNATURE, "new.csv")
    empty = sample_of(pa.table({name: pa.array([], pa.string()) for name in USUAL}))
    assert oddities(empty, SIGNATURE, "new.csv") == []


def test_a_data_set_has_an_input_of_the_model():
    table = pa.table({"AMOUNT": ["1"], "b": ["2"]})
    with pytest.raises(InputError, match="has the columns AMOUNT, b, none of seen, code, pop"):
        oddities(sample_of(table), SIGNATURE, "new.csv")


def test_images_are_judged_when_they_are_read_and_not_by_a_sample():
    signature = Signature(fields=(Field(name="image", kind="image"),))
    rows = sample_of(pa.table({"image": pa.array([b"\xff\xd8\xff", b"\x00"], pa.binary())}))
    assert oddities(rows, signature, "new.parquet") == []
