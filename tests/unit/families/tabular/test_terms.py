"""Sets of terms and pairs of numbers in the encoding of tables, and what is said of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from spt_core.answering import Cautions
from spt_core.data.conform import conform
from spt_core.errors import InputError
from spt_core.families.tabular.reading import Encoder
from spt_core.families.tabular.serving import TablePredictor
from spt_core.judgement import UnseenTerm
from spt_core.signature import Column, Field, Signature
from spt_core.terms import ABSENT

SYMPTOMS = Field(name="symptoms", kind="terms", required=False, categories=("fever", "cough"))
PRESSURE = Field(name="bp", kind="number_pair", required=False, minimum=10.0, maximum=350.0)
SEX = Field(name="sex", kind="category", required=False, categories=("female", "male"))
SIGNATURE = Signature(fields=(SYMPTOMS, PRESSURE, SEX))
RECORDS = [
    {"symptoms": ["Cough", "rash"], "bp": "150/95", "sex": "male"},
    {"symptoms": [], "bp": [120, 80], "sex": "female"},
    {"symptoms": None, "bp": None, "sex": None},
]
ENCODED = [[150, 95, 2, 1, 2], [120, 80, 1, 1, 1], [np.nan, np.nan, 0, 0, 0]]


class Runtime:
    """Effects 0.1, 0.2, ... of the columns, whatever the row."""

    def score(self, features):
        return np.zeros((len(features), 2))

    def explain(self, features):
        effects = np.arange(1, features.shape[1] + 1) / 10
        return self.score(features), np.tile(effects, (len(features), 2, 1))


@pytest.fixture(scope="module")
def predictor():
    return TablePredictor(SIGNATURE, Runtime(), ("ill", "well"))


def test_a_term_is_a_column_of_three_states_and_a_pair_two_numbers():
    assert SIGNATURE.columns == (
        Column("bp", "first"),
        Column("bp", "second"),
        Column("sex", "index"),
        Column("symptoms", "term", "fever"),
        Column("symptoms", "term", "cough"),
    )
    assert SIGNATURE.cardinalities == (3, 3, 3)


def test_requests_and_tables_are_encoded_alike():
    encoder = Encoder(SIGNATURE)
    single = np.concatenate([encoder.record(record) for record in RECORDS])
    np.testing.assert_array_equal(single, np.array(ENCODED, np.float32))
    columns = {name: [record[name] for record in RECORDS] for name in ("symptoms", "sex")}
    raw = pa.table({**columns, "bp": ["150/95", "120 / 80", None]})
    good, bad = conform(raw, SIGNATURE.fields)
    assert bad.num_rows == 0
    np.testing.assert_array_equal(encoder.table(good), single)


def test_a_table_without_the_columns_tells_nothing():
    (row,) = Encoder(SIGNATURE).table(pa.table({"sex": ["male"]}))
    np.testing.assert_array_equal(row, np.array([np.nan, np.nan, 2, 0, 0], np.float32))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([["fever"], [], None]), ['["fever"]', "[]", None]),
        (pa.array(["fever; Dry cough", "[]", ""]), ['["dry_cough", "fever"]', "[]", None]),
        (pa.array([None, None, None]), [None, None, None]),
    ],
)
def test_lists_and_delimited_cells_are_one_column(column, expected):
    good, bad = conform(pa.table({"symptoms": column}), [SYMPTOMS])
    assert good["symptoms"].to_pylist() == expected
    assert bad.num_rows == 0


def test_a_bad_cell_goes_aside_with_its_reason():
    table = pa.table({"bp": ["150/95", "high", "900/95"], "symptoms": ["a", "[a", "b"]})
    good, bad = conform(table, [PRESSURE, SYMPTOMS])
    assert good.num_rows == 1
    assert bad["__row"].to_pylist() == [1, 2]
    first, second = bad["reason"].to_pylist()
    assert first == "the field 'bp' must be two numbers such as 150/95"
    assert second == "the field 'bp' must be at least 10 and at most 350"


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        ({"bp": "150-95"}, "'bp' must be two numbers"),
        ({"bp": "900/95"}, "'bp' must be at most 350"),
        ({"symptoms": 3}, "'symptoms' must be a list of terms"),
    ],
)
def test_a_request_that_breaks_a_rule_is_refused(record, rule):
    with pytest.raises(InputError, match=rule):
        Encoder(SIGNATURE).record(record)


def test_each_term_is_a_reason_and_those_that_are_absent_are_one(predictor):
    (prediction,) = predictor.explain((predictor.read(RECORDS[0]),))
    reasons = {(r.field, r.value): r.effect for r in prediction.reasons(0, np.array([1.0, 0.0]))}
    assert reasons == {
        ("bp", "150/95"): pytest.approx(0.3),
        ("sex", "male"): pytest.approx(0.3),
        ("symptoms", "cough"): pytest.approx(0.5),
        ("symptoms", ABSENT): pytest.approx(0.4),
    }


def test_unseen_terms_are_told_with_the_nearest_known_one(predictor):
    row = predictor.read({"symptoms": ["feverr", "zzz"], "bp": "110/80"})
    (prediction,) = predictor.explain((row,))
    assert prediction.unseen() == (
        UnseenTerm("symptoms", "feverr", "fever"),
        UnseenTerm("symptoms", "zzz", None),
    )
    assert prediction.vocabulary == {"symptoms": SIGNATURE.field("symptoms").categories}
    assert predictor.cautions((row,)) == Cautions(unseen=("symptoms",))


def test_the_schema_asks_for_lists_and_for_two_numbers():
    properties = SIGNATURE.json_schema()["properties"]
    assert properties["symptoms"]["type"] == ["array", "string", "null"]
    assert properties["symptoms"]["examples"] == [["fever", "cough"]]
    assert properties["bp"]["examples"] == ["150/95"]
    assert properties["bp"]["items"] == {"type": "number", "minimum": 10.0, "maximum": 350.0}
