"""Texts without labels whose mentions nobody marked."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from spt_core.data.corpus import ROW
from spt_core.families.text.encoding import tokenize_batch
from spt_core.families.text.unlabelled import with_mentions
from tests.tiny_models import TEXTS, tiny_text_facts, tiny_tokenizer

NAMES = ("aspirin", "warfarin")
TEXT = TEXTS[0]
MENTIONS = [{"start": 0, "end": 7}, {"start": 35, "end": 43}]


def rows(**columns: Any) -> pa.Table:
    return with_mentions(
        pa.table({"text": [TEXT, TEXT], ROW: [0, 1], **columns}),
        text="text",
        spans="spans",
        names=NAMES,
    )


@pytest.mark.parametrize("columns", [{}, {"spans": pa.nulls(2, pa.large_string())}])
def test_mentions_that_are_not_given_are_those_of_known_names(columns: dict[str, Any]) -> None:
    found = rows(**columns)["spans"].to_pylist()
    assert [json.loads(value) for value in found] == [MENTIONS] * 2


def test_mentions_that_are_given_stay_as_they_are() -> None:
    given = '[{"start":0,"end":7}]'
    assert rows(spans=[given, "[]"])["spans"].to_pylist() == [given, "[]"]


def test_a_text_without_marked_mentions_becomes_tokens_of_its_pairs() -> None:
    tokenizer = tiny_tokenizer()
    facts = tiny_text_facts("pair", ("none", "effect"), tokenizer, negative_class="none")
    made = tokenize_batch(
        rows(),
        tokenizer=tokenizer,
        sizes=(64, 4),
        facts=json.dumps(facts),
        text="text",
        spans="spans",
        label=None,
        class_weights={},
    )
    assert [len(pairs) for pairs in made["pairs"].to_pylist()] == [5, 5]
