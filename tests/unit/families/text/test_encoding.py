"""Rows without a label have targets of the shape that a label would have given."""

import json

import numpy as np
import pytest

from spt_core.families.text.encoding import no_targets, targets_of
from spt_core.families.text.reading import Mention, TextEncoder
from tests.tiny_models import tiny_text_facts, tiny_tokenizer

TEXT = "the patient took warfarin and then metformin for a year"
SPANS = [{"start": 17, "end": 25, "label": "b"}]
LABELS = {
    "single_label": "b",
    "multi_label": json.dumps(["b"]),
    "ordinal": "b",
    "regression": 2.0,
    "pair": json.dumps([[0, 1, "b"]]),
    "span": json.dumps(SPANS),
}


@pytest.mark.parametrize("head", LABELS)
def test_a_row_without_a_label_has_zeros_in_the_shape_of_one_with_it(head):
    tokenizer = tiny_tokenizer([TEXT])
    more = {"negative_class": "a"} if head == "pair" else {}
    facts = tiny_text_facts(head, ("a", "b", "c"), tokenizer, **more)
    encoder = TextEncoder(tokenizer, max_tokens=8, overlap=2)
    if head == "pair":
        encoder = TextEncoder(tokenizer, max_tokens=40, overlap=2)
        row = encoder.encode_pairs(TEXT, [Mention(17, 25), Mention(35, 44)])
    else:
        row = encoder.encode([TEXT])[0]
    known = targets_of(facts, LABELS[head], row)
    unknown = no_targets(facts, row)
    assert unknown.shape == known.shape
    assert unknown.dtype == known.dtype
    assert not unknown.any()
    assert np.abs(known).sum() > 0
