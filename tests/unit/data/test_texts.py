"""Texts and spans as columns: which rows no model can read, and the columns of a text corpus."""

from __future__ import annotations

import dataclasses
import json

import pyarrow as pa
import pytest

from spt_core.data.conform import conform
from spt_core.data.infer import columns_of
from spt_core.data.raw import column_from
from spt_core.data.sampling import sample_of
from spt_core.errors import InputError
from spt_core.families.text.reading import checked_mentions, checked_text
from spt_core.signature import MAX_CHARACTERS, MAX_SPANS, Field, Signature
from tests.unit.data.text_examples import CORPUS, SPANS, TEXT, task, topics

ODD_TEXTS = [
    "plain",
    "",
    "  \n\t",
    "\x00\x07\x1b",
    "a\x00b",
    "😀😀",
    "\u200b\ufeff",
    "\u200d",
    "مرحبا بالعالم and 你好",
    "e\u0301",
    "\u00a0",
    "x" * MAX_CHARACTERS,
    "x" * (MAX_CHARACTERS + 1),
    "😀" * MAX_CHARACTERS,
]


def is_taken_by_a_model(text: str) -> bool:
    try:
        return checked_text(text, "text") == text
    except InputError:
        return False


def test_a_row_is_bad_exactly_if_a_request_with_its_text_would_be() -> None:
    good, bad = conform(pa.table({"text": ODD_TEXTS}), [TEXT])
    assert good["text"].to_pylist() == [text for text in ODD_TEXTS if is_taken_by_a_model(text)]
    assert set(bad["reason"].to_pylist()) == {
        "the field 'text' must hold a text, however: it is empty or has no visible character",
        f"the field 'text' must have at most {MAX_CHARACTERS:,} characters",
    }


def test_a_row_without_a_text_is_bad() -> None:
    _, bad = conform(pa.table({"text": pa.array([None, "a"])}), [TEXT])
    assert bad["reason"].to_pylist() == [
        "the field 'text' must hold a text, however: it is missing"
    ]


@pytest.mark.parametrize(
    "cell",
    [
        '[{"start": 4, "end": 6, "label": "x"}, {"end": 3, "start": 0}]',
        [{"start": 4, "end": 6, "label": "x"}, {"start": 0, "end": 3, "label": None}],
    ],
)
def test_spans_are_sorted_json(cell: object) -> None:
    good, _ = conform(pa.table({"text": ["abc def"], "spans": pa.array([cell])}), [TEXT, SPANS])
    (spans,) = good["spans"].to_pylist()
    assert spans == '[{"start":0,"end":3},{"start":4,"end":6,"label":"x"}]'
    assert [(m.start, m.end) for m in checked_mentions(json.loads(spans), "spans", "abc def")] == [
        (0, 3),
        (4, 6),
    ]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("oops", "does not parse"),
        ('[{"start": 0, "end": 8}]', "the length of the text"),
        ('[{"start": -1, "end": 2}]', "the length of the text"),
        ('[{"start": "0", "end": 2}]', "the length of the text"),
        ('[{"start": 0, "end": 2}, {"start": 0, "end": 2}]', "one comes twice"),
        ('{"start": 0, "end": 2}', "a list of objects"),
        (json.dumps([{"start": 0, "end": 1}] * (MAX_SPANS + 1)), f"at most {MAX_SPANS} spans"),
    ],
)
def test_bad_spans_say_why(cell: str, reason: str) -> None:
    table = pa.table({"text": ["abc def", "abc"], "spans": [cell, None]})
    good, bad = conform(table, [TEXT, SPANS])
    assert good["spans"].to_pylist() == [None]
    assert reason in bad["reason"][0].as_py()


def test_half_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(InputError, match="surrogate"):
        column_from(["a", "\ud83d"])


def test_a_text_corpus_has_its_task_s_fields_and_the_rest_is_named() -> None:
    table = topics(50).append_column("note", pa.array(["x"] * 50))
    columns = columns_of(
        sample_of(table.append_column("when", pa.array(["2024-01-01"] * 50))),
        dataclasses.replace(CORPUS, group="document", time="when"),
        task("multi_label"),
    )
    assert columns.features == (TEXT,)
    assert {(field.name, field.kind) for field in columns.carried} == {
        ("document", "entity"),
        ("when", "time"),
    }
    assert [(finding.kind, finding.column) for finding in columns.findings] == [("unused", "note")]


def test_a_protected_column_is_carried_beside_a_text() -> None:
    table = topics(50).append_column("sex", pa.array(["f", "m"] * 25))
    columns = columns_of(sample_of(table), CORPUS, task("multi_label", protected=("sex",)))
    assert ("sex", "category") in {(field.name, field.kind) for field in columns.carried}


def test_a_text_corpus_needs_its_text_and_a_corpus_of_pairs_its_spans() -> None:
    with pytest.raises(InputError, match=r"no column 'text'; the nearest is 'texts'"):
        columns_of(
            sample_of(topics(9).rename_columns(["texts", "document", "y"])), CORPUS, task("span")
        )
    with pytest.raises(InputError, match="no column 'spans'"):
        columns_of(sample_of(topics(9)), CORPUS, task("pair"))


def test_what_a_text_model_could_not_heed_is_refused() -> None:
    declared = (Field(name="note", kind="number"),)
    for asked in ({"keep": ("note",)}, {"declared": declared}):
        with pytest.raises(InputError, match="task's fields alone.*'note'"):
            columns_of(
                sample_of(topics(9)), dataclasses.replace(CORPUS, **asked), task("multi_label")
            )
    with pytest.raises(InputError, match="positive"):
        columns_of(
            sample_of(topics(9)), dataclasses.replace(CORPUS, positive="c"), task("multi_label")
        )


def test_a_column_of_something_else_is_refused_as_label() -> None:
    table = topics(50).append_column("spans", pa.array(["[]"] * 50))
    by_document = dataclasses.replace(CORPUS, label="document")
    with pytest.raises(InputError, match="pair labels, however: 50 of the 50 sampled rows"):
        columns_of(sample_of(table), by_document, task("pair"))


def test_nearly_as_many_names_as_rows_are_no_classes() -> None:
    table = topics(50).append_column("code", pa.array([f"c{i}" for i in range(50)]))
    by_code = dataclasses.replace(CORPUS, label="code")
    with pytest.raises(InputError, match="must hold class names, however: there are 50 in 50 rows"):
        columns_of(sample_of(table), by_code, task("single_label"))


def test_the_schema_of_a_request_states_the_limits_of_texts_and_spans() -> None:
    properties = Signature(fields=(TEXT, SPANS)).json_schema()["properties"]
    assert properties["text"] == {"type": ["string"], "minLength": 1, "maxLength": MAX_CHARACTERS}
    assert properties["spans"]["type"] == ["array", "null"]
    assert properties["spans"]["items"]["required"] == ["start", "end"]
