"""What columns are taken for, and which are left out."""

from __future__ import annotations

import dataclasses
import uuid

import pyarrow as pa
import pytest

from spt_core.data.corpus import Corpus
from spt_core.data.infer import Columns, columns_of
from spt_core.data.sampling import sample_of
from spt_core.errors import InputError
from spt_core.plain import from_plain
from spt_core.signature import Field, Window
from tests.unit.data.examples import TASK, rows

CORPUS = Corpus(uris=("memory",), format="parquet", name="toy", identity="0", label="y")


def inferred(corpus: Corpus = CORPUS, **columns: object) -> Columns:
    table = rows(200)
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return columns_of(sample_of(table), corpus, TASK)


def kinds(columns: Columns) -> dict[str, str]:
    return {field.name: field.kind for field in columns.features}


def found(columns: Columns) -> dict[str, str]:
    return {finding.column: finding.kind for finding in columns.findings}


def test_content_tells_the_kind() -> None:
    columns = inferred(
        price=["1.5", "2"] * 100,
        flag=["true", "FALSE"] * 100,
        opened=["2024-01-01", "2024-05-05T10:00:00"] * 100,
        channel=["web", "shop"] * 100,
    )
    expected = {"price": "number", "flag": "boolean", "opened": "time", "channel": "category"}
    assert {name: kinds(columns)[name] for name in expected} == expected


def test_declared_wins_over_canonical_and_canonical_over_content() -> None:
    code = Field(name="card", kind="category", description="said so")
    columns = inferred(dataclasses.replace(CORPUS, declared=(code,)))
    assert code in columns.features
    assert columns.features[0].minimum == 0.0


def test_identifiers_and_constants_are_reported_and_left_out() -> None:
    columns = inferred(
        uid=[str(uuid.UUID(int=i)) for i in range(200)],
        number=list(range(5000, 5200)),
        same=["x"] * 200,
        nothing=[None] * 200,
    )
    expected = {"uid": "identifier", "number": "identifier", "same": "constant"}
    assert expected.items() <= found(columns).items()
    assert not set(kinds(columns)) & {"uid", "number", "same", "nothing"}


def test_nearly_unique_amounts_are_not_identifiers() -> None:
    columns = inferred(cents=[(i * 7919) % 100_003 for i in range(200)])
    assert kinds(columns)["cents"] == "number"


def test_protected_columns_are_carried_but_no_features() -> None:
    columns = inferred()
    assert found(columns)["sex"] == "protected"
    assert [field.name for field in columns.carried] == ["sex"]


def test_a_nested_protected_column_is_protected_too() -> None:
    columns = inferred(**{"applicant.Sex": ["f", "m"] * 100})
    assert found(columns)["applicant.Sex"] == "protected"
    assert "applicant.Sex" not in kinds(columns)


def test_a_kept_protected_column_is_a_feature() -> None:
    assert "sex" in kinds(inferred(dataclasses.replace(CORPUS, keep=("sex",))))


def test_entities_and_dropped_columns() -> None:
    corpus = dataclasses.replace(CORPUS, entities=("card",), drop=("code",))
    assert kinds(inferred(corpus)) == {"amount": "number", "when": "time", "card": "entity"}


def test_free_text_is_a_category() -> None:
    columns = inferred(note=[f"customer called about order {i}" for i in range(200)])
    assert kinds(columns)["note"] == "category"
    assert found(columns)["note"] == "free_text"


def test_a_numeric_column_full_of_text_is_refused() -> None:
    table = pa.table({"amount": ["1", "2", "much", "little"] * 10, "y": [0, 1] * 20})
    with pytest.raises(InputError, match="'amount'.*full of text.*50%.*'much'"):
        columns_of(sample_of(table), CORPUS, TASK)


def test_a_label_of_other_values_needs_the_positive_one() -> None:
    table = pa.table({"amount": [1.0, 2.0], "y": ["good", "bad"]})
    with pytest.raises(InputError, match=r"'y'.*data.positive=.*'bad' \(1\), 'good' \(1\)"):
        columns_of(sample_of(table), CORPUS, TASK)


def test_a_corpus_goes_to_json_and_back() -> None:
    corpus = dataclasses.replace(
        CORPUS,
        declared=(Field(name="card", kind="category"),),
        windows=(Window(entity="card", function="count", span_days=1),),
    )
    assert from_plain(Corpus, corpus.to_json()) == corpus
