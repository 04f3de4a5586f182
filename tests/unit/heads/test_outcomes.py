"""What is true of texts, beside what a model says."""

import json

import numpy as np
import pyarrow as pa
import pytest

from spt_core.heads import ITEM_HEADS
from spt_core.heads.base import Truth
from spt_core.heads.metrics import micro_f1
from spt_core.heads.spans import span_outcomes
from spt_core.judgement import Span
from tests.tiny_models import text_task
from tests.unit.families.text.test_serving import opened

CLASSES = ("neither", "safe", "risky")
TEXT = "aspirin and warfarin and ibuprofen"
SPANS = json.dumps([{"start": 0, "end": 7}, {"start": 12, "end": 20}, {"start": 25, "end": 34}])
PAIR_ROWS = pa.table(
    {
        "text": [TEXT, TEXT + " of another day", "no drug"],
        "mentions": [SPANS, SPANS, "[]"],
        "document": ["a", "a", "b"],
        "label": ['[[0, 1, "risky"], [1, 2, "unheard"]]', "[]", "[]"],
    }
)


def test_the_items_of_pairs_are_all_pairs_of_a_row_s_mentions():
    of = opened("pair").outcomes(PAIR_ROWS, "label")
    assert of.labels.shape == of.probabilities.shape == (6, 3)
    assert of.labels.argmax(1).tolist() == [2, 0, 0, 0, 0, 0]
    assert of.labels.sum(1).tolist() == [1, 1, 0, 1, 1, 1]  # nobody can know what was never seen
    assert of.groups.tolist() == [0] * 6
    assert of.given.sum(1).tolist() == [1] * 6
    assert of.negative == 0


def test_a_pair_that_no_window_holds_is_of_the_negative_class():
    text = "aspirin. " + "So it goes on and on. " * 20 + "warfarin."
    end = len(text) - 1
    spans = json.dumps([{"start": 0, "end": 7}, {"start": end - 8, "end": end}])
    row = pa.table({"text": [text], "mentions": [spans], "label": ['[[0, 1, "risky"]]']})
    of = opened("pair").outcomes(row, "label")
    assert of.probabilities.tolist() == [[1.0, 0.0, 0.0]]
    assert of.labels.tolist() == [[0.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    ("head", "labels", "wanted"),
    [
        ("single_label", ["risky", "unheard"], [[[0, 0, 1]], [[0, 0, 0]]]),
        ("ordinal", ["neither", "safe"], [[[1, 0, 0]], [[0, 1, 0]]]),
        ("multi_label", ['["risky", "safe"]', "[]"], [[[0, 1, 1]], [[0, 0, 0]]]),
        ("regression", [1.5, -2.0], [[[1.5]], [[-2.0]]]),
    ],
)
def test_labels_are_read_as_their_head_says(head, labels, wanted):
    table = pa.table({"text": ["aspirin", "warfarin"], "label": labels})
    truth = Truth(table, "label", np.arange(2))
    found = ITEM_HEADS[head].truths(text_task(head), CLASSES, truth)
    assert found.tolist() == [row for rows in wanted for row in rows]
    of = opened(head).outcomes(table, "label")
    assert of.labels.tolist() == [row for rows in wanted for row in rows]


def test_spans_are_right_with_both_ends_and_their_class():
    true = [{"start": 0, "end": 7, "label": "safe"}, {"start": 12, "end": 20, "label": "risky"}]
    said = [Span(0, 7, "aspirin", "safe"), Span(12, 21, "warfarin ", "risky")]
    rows = pa.table({"text": [TEXT], "label": [json.dumps(true)]})
    of = span_outcomes([said], Truth(rows, "label", np.array([4])), CLASSES)
    assert micro_f1(of) == pytest.approx(2 * 1 / 4)
    assert of.groups.tolist() == [4, 4, 4]
    of = opened("span").outcomes(rows, "label")
    assert of.labels.sum() == 2
