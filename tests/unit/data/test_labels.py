"""Labels by head: what is accepted, the canonical text, and what is bad and why."""

from __future__ import annotations

import json
import re

import pyarrow as pa
import pytest

from spt_core.data.conform import conform
from spt_core.data.labels import (
    LabelRule,
    class_counts,
    classes_of,
    num_saying,
    rule_of,
)
from spt_core.errors import InputError
from spt_core.task import Head, find
from tests.unit.data.text_examples import SPANS, TEXT, task

MULTI = LabelRule(head="multi_label")
PAIR = LabelRule(head="pair", classes=("none", "effect", "int"), negative_class="none")
SPAN = LabelRule(head="span")
WORDS = "aspirin with warfarin or heparin"
MENTIONS = '[{"start":13,"end":21},{"start":0,"end":7},{"start":25,"end":32}]'


def labeled(cells: list[object], rule: LabelRule) -> tuple[list[object], list[str]]:
    size = len(cells)
    table = pa.table({"text": [WORDS] * size, "spans": [MENTIONS] * size, "y": pa.array(cells)})
    good, bad = conform(table, [TEXT, SPANS], label="y", labels=rule)
    return good["y"].to_pylist(), bad["reason"].to_pylist()


@pytest.mark.parametrize(
    "cells",
    [
        ['["b", "a", "a"]', "[]", '["c;d"]'],
        [["b", "a", "a"], [], ["c;d"]],
    ],
)
def test_sets_of_names_become_sorted_json_lists(cells: list[object]) -> None:
    assert labeled(cells, MULTI) == (['["a","b"]', "[]", '["c;d"]'], [])


def test_names_may_be_separated_by_semicolons() -> None:
    assert labeled(["b; a;", "ä"], MULTI) == (['["a","b"]', '["ä"]'], [])


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (None, r"missing \(write \[\] for none\)"),
        (" ", "missing"),
        ("[1]", "one is no name"),
        ('["a"', "does not parse"),
        ('["' + "x" * 201 + '"]', "at most 200 characters"),
    ],
)
def test_a_bad_set_of_names_says_why(cell: object, reason: str) -> None:
    good, (found,) = labeled([cell, "a"], MULTI)
    assert good == ['["a"]']
    assert found.startswith("the label 'y' must ")
    assert re.search(reason, found)


def test_a_class_that_is_not_the_task_s_is_bad_and_the_nearest_is_named() -> None:
    rule = LabelRule(head="ordinal", classes=("low", "medium", "high"))
    good, (reason,) = labeled(["low", "medum", " high "], rule)
    assert good == ["low", "high"]
    assert reason == (
        "the label 'y' must be one of the task's classes, however: 'medum'; the nearest is 'medium'"
    )


def test_any_class_goes_where_the_task_names_none() -> None:
    assert labeled(["x", "new"], LabelRule(head="single_label")) == (["x", "new"], [])


def test_a_class_is_known_by_its_words_however_they_are_written() -> None:
    rule = LabelRule(head="single_label", classes=("internal_fraud", "none", "A", "a"))
    assert labeled(["Internal Fraud", "internal-fraud ", "NONE", "A", "a"], rule) == (
        ["internal_fraud", "internal_fraud", "none", "A", "a"],
        [],
    )


def test_numbers_may_name_classes() -> None:
    assert labeled([3, 1], LabelRule(head="single_label")) == (["3", "1"], [])


@pytest.mark.parametrize(
    ("head", "cells", "values", "bad"),
    [
        ("regression", ["1.5", None, "many"], [1.5, None], ["finite number"]),
        ("anomalies", ["1", "", "7"], [1.0, None], ["0 or 1"]),
        ("single_label", ["a", " ", None], ["a", None, None], []),
        ("multi_label", ['["a"]', None, "[1]"], ['["a"]', None], ["name classes"]),
    ],
)
def test_where_no_label_is_required_a_row_without_one_is_good(
    head: Head, cells: list[object], values: list[object], bad: list[str]
) -> None:
    good, reasons = labeled(cells, LabelRule(head=head, required=False))
    assert good == values
    assert len(reasons) == len(bad)
    assert all(told in reason for told, reason in zip(bad, reasons, strict=True))


def test_labels_are_required_of_all_tasks_but_those_of_readings() -> None:
    assert not rule_of(find("manufacturing/predictive_maintenance")).required
    assert rule_of(find("financial_services/credit_scoring")).required
    assert rule_of(find("manufacturing/visual_inspection")).required


def test_a_number_to_predict_is_finite_and_known() -> None:
    good, reasons = labeled(["1.5", "-2e3", "many", None], LabelRule(head="regression"))
    assert good == [1.5, -2000.0]
    assert [r.split("however")[0] for r in reasons] == [
        "the label 'y' must be a finite number",
        "the label 'y' must be known, ",
    ]


def test_pairs_count_spans_in_the_order_of_the_text() -> None:
    good, bad = labeled(['[[0, 1, "effect"], [1, 2, "none"], [0, 2, "int"]]', "[]"], PAIR)
    # As given, 0 is warfarin and 1 is aspirin; in the text, aspirin comes first.
    assert good == ['[[0,1,"effect"],[1,2,"int"]]', "[]"]
    assert bad == []


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ('[[1, 0, "effect"]]', "0 <= i < j < the number of spans"),
        ('[[0, 3, "effect"]]', "0 <= i < j < the number of spans"),
        ('[[true, 1, "effect"]]', "0 <= i < j < the number of spans"),
        ('[[0, 1, "efect"]]', "the nearest is 'effect'"),
        ('[[0, 1, "effect"], [0, 1, "int"]]', "give a pair one class"),
        ('{"0": 1}', "a list of [i, j, class]"),
        ("[[0, 1]]", "a list of [i, j, class]"),
        ("effect", "does not parse"),
    ],
)
def test_a_bad_pair_says_why(cell: str, reason: str) -> None:
    good, (found,) = labeled([cell, "[]"], PAIR)
    assert good == ["[]"]
    assert reason in found


def test_pairs_of_a_row_without_spans_are_bad() -> None:
    table = pa.table({"text": [WORDS], "spans": [None], "y": ["[]"]})
    _, bad = conform(table, [TEXT, SPANS], label="y", labels=PAIR)
    assert bad["reason"].to_pylist() == [
        "the label 'y' must count spans, however: the row has none"
    ]


def test_found_spans_are_sorted_and_keep_their_names() -> None:
    cells = [[{"start": 13, "end": 21, "label": "drug"}, {"start": 0, "end": 7, "label": "drug"}]]
    (label,), bad = labeled(cells, SPAN)
    assert json.loads(label) == [
        {"start": 0, "end": 7, "label": "drug"},
        {"start": 13, "end": 21, "label": "drug"},
    ]
    assert bad == []


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ('[{"start": 0, "end": 99, "label": "x"}]', "the length of the text"),
        ('[{"start": 5, "end": 5, "label": "x"}]', "the length of the text"),
        ('[{"start": 0, "end": 5}]', "one is no name"),
        (
            '[{"start": 0, "end": 5, "label": "x"}, {"start": 4, "end": 6, "label": "x"}]',
            "do not overlap",
        ),
        ("[[0, 5]]", "a list of objects"),
    ],
)
def test_a_bad_span_says_why(cell: str, reason: str) -> None:
    good, (found,) = labeled([cell, "[]"], SPAN)
    assert good == ["[]"]
    assert reason in found


@pytest.mark.parametrize(
    ("head", "labels", "expected"),
    [
        ("binary", [1.0, 0.0, 1.0], 2),
        ("single_label", ["a", "none", "b"], 2),
        ("ordinal", ["a", "none", "none"], 1),
        ("multi_label", ['["a"]', "[]", "[]"], 1),
        ("pair", ['[[0,1,"a"]]', "[]", "[]"], 1),
        ("span", ["[]", "[]", "[]"], 0),
        ("regression", [0.0, 1.0, 2.0], 3),
    ],
)
def test_a_label_says_something_or_nothing(head: Head, labels: list[object], expected: int) -> None:
    rule = LabelRule(head=head, negative_class="none")
    assert num_saying(pa.chunked_array([labels]), rule) == expected


def test_every_class_says_something_where_none_is_negative() -> None:
    assert num_saying(pa.array(["a", "none"]), LabelRule(head="single_label")) == 2


def test_classes_are_counted_by_head() -> None:
    pairs = pa.array(['[[0,1,"effect"],[0,2,"effect"]]', '[[0,1,"int"]]', "[]"])
    assert class_counts(pairs, PAIR) == {"effect": 2, "int": 1}
    assert class_counts(pa.array(["b", "a", "b"]), LabelRule(head="single_label")) == {
        "a": 1,
        "b": 2,
    }
    assert class_counts(pa.array([1.0]), LabelRule()) == {}


def test_the_classes_are_the_task_s_or_those_of_the_rows_and_pairs_have_the_negative_one() -> None:
    assert classes_of(PAIR, {"int": 3}) == ("none", "effect", "int")
    assert classes_of(LabelRule(head="pair", negative_class="none"), {"b": 1, "a": 2}) == (
        "none",
        "a",
        "b",
    )
    assert classes_of(MULTI, {"b": 1, "a": 2}) == ("a", "b")


def test_an_order_must_be_named() -> None:
    with pytest.raises(InputError, match="in rising order"):
        rule_of(task("ordinal"))
