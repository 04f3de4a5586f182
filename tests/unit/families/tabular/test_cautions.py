"""What of a request no training row had: answered all the same, and said."""

from __future__ import annotations

import numpy as np
import pytest

from spt_core.answering import Cautions
from spt_core.errors import InputError
from spt_core.families.tabular.serving import TablePredictor
from spt_core.signature import Field, Signature

SIGNATURE = Signature(
    fields=(
        Field(name="age", kind="number", required=False, complete=True, seen=(18.0, 90.0)),
        Field(name="ca", kind="number", required=False, complete=True, seen=(0.0, 3.0)),
        Field(name="slope", kind="number", required=False, seen=(1.0, 3.0)),
        Field(name="when", kind="time", required=False, complete=True),
        Field(
            name="thal", kind="category", required=False, complete=True, categories=("3", "6", "7")
        ),
        Field(name="device.os", kind="category", required=False, categories=("a", "b")),
    ),
    gaps=("unknown",),
)
WHOLE = {"age": 50, "ca": 1, "slope": 2, "when": "2024-05-05T10:00", "thal": "3", "device.os": "a"}


class NoRuntime:
    """Only reading is asked for here."""

    def score(self, features):
        raise NotImplementedError

    explain = score


class SureRuntime(NoRuntime):
    """Says 0.5 of every row, for no reason."""

    def explain(self, features):
        return np.full(len(features), 0.5), np.zeros_like(features)


@pytest.fixture(scope="module")
def predictor():
    return TablePredictor(SIGNATURE, NoRuntime())


@pytest.mark.parametrize(
    ("change", "cautions"),
    [
        ({}, Cautions()),
        ({"slope": None, "device.os": None}, Cautions()),  # training rows lacked them too
        ({"ca": None, "thal": ""}, Cautions(missing=("ca", "thal"))),
        ({"ca": "unknown", "thal": "unknown"}, Cautions(missing=("ca", "thal"))),
        ({"when": None}, Cautions(missing=("when",))),
        ({"when": "03:00"}, Cautions()),
        ({"age": 120, "ca": -1}, Cautions(outside=("age", "ca"))),
        ({"thal": "9", "device.os": "c"}, Cautions(unseen=("thal", "device.os"))),
        ({"age": "120", "thal": 3.0}, Cautions(outside=("age",))),
    ],
    ids=str,
)
def test_what_training_rows_never_had_is_said(predictor, change, cautions):
    row = predictor.read(WHOLE | change)
    assert predictor.cautions((row,)) == cautions
    both = (predictor.read(WHOLE), row)
    assert predictor.cautions(both) == cautions


@pytest.mark.parametrize(
    ("change", "novel"),
    [
        ({}, ()),
        ({"thal": "9"}, ("thal",)),
        ({"thal": "9", "device.os": "c"}, ("thal", "device.os")),
        ({"thal": 3.0, "device.os": "unknown"}, ()),  # a gap says nothing, new or old
        ({"thal": None, "when": "03:00", "age": 120}, ()),
    ],
    ids=str,
)
def test_a_prediction_names_the_categories_that_no_training_row_had(change, novel):
    predictor = TablePredictor(SIGNATURE, SureRuntime())
    row = predictor.read(WHOLE | change)
    for rows in ((row,), (predictor.read(WHOLE), row)):
        assert predictor.explain(rows)[-1].novel() == novel


@pytest.mark.parametrize(
    "record", [WHOLE | {"device": None}, {"device": {"os": None}}, {"device": {}, "age": "50"}]
)
def test_null_in_place_of_an_object_is_all_of_its_fields_missing(predictor, record):
    without = {name: value for name, value in record.items() if name != "device.os"}
    assert np.isfinite(predictor.read(without).features[0, -1])


def test_a_record_of_nothing_and_a_stranger_are_refused(predictor):
    with pytest.raises(InputError, match="must hold one of the model's fields"):
        predictor.read({})
    with pytest.raises(InputError, match="'devices' is none of them"):
        predictor.read(WHOLE | {"devices": None})
