"""Readers of notes and code, on the files that SPT_DATA_HOME has."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from spt_core.artifacts import as_uri
from spt_core.data.catalog import DATASETS
from spt_core.data.catalog.healthcare import identifier_of
from spt_core.data.conform import conform
from spt_core.data.labels import class_counts, rule_of
from spt_core.task import find

HOME = Path(os.environ.get("SPT_DATA_HOME", "no folder"))


def rows_of(name):
    """Good and bad rows of a data set, read as a corpus of its task."""
    dataset = DATASETS[name]
    task = find(dataset.task)
    folder = HOME / task.industry / name
    if not folder.is_dir():
        pytest.skip(f"SPT_DATA_HOME has no {name}")
    table = dataset.read(as_uri(folder))
    rule = rule_of(task)
    good, bad = conform(table, task.fields, label=task.label, labels=rule)
    return table, good, bad, class_counts(good[task.label], rule)


@pytest.mark.parametrize(
    ("kind", "value", "identifier"),
    [
        ("DATE_TIME", "1974", None),
        ("DATE_TIME", "7/14/1995", "date"),
        ("AGE", "89", None),
        ("AGE", "90", "date"),
        ("TITLE", "Dr.", None),
        ("ORGANIZATION", "Persint", "name"),
        ("IBAN_CODE", "GB56HXDO88167774656119", "account"),
    ],
)
def test_what_safe_harbor_lets_stay_is_no_identifier(kind, value, identifier):
    assert identifier_of(kind, value) == identifier


def test_presidio_s_texts_have_spans_that_stand_where_they_say():
    table, good, bad, counts = rows_of("phi-presidio-synth")
    assert (good.num_rows, bad.num_rows) == (1500, 0)
    assert len(set(table["template"].to_pylist())) == 209
    assert counts["name"] == 857 + 250
    assert counts["ssn"] == 16
    for text, label in zip(good["text"].to_pylist(), good["identifiers"].to_pylist(), strict=True):
        assert all(0 <= s["start"] < s["end"] <= len(text) for s in json.loads(label))


def test_sven_has_both_sides_of_each_commit_s_functions():
    table, good, bad, counts = rows_of("sven")
    assert table.num_rows == 2 * 716
    assert bad.num_rows == table.num_rows - good.num_rows <= 2
    assert len(counts) == 9
    labels = Counter(table["weaknesses"].to_pylist())
    assert labels["[]"] == 716


def test_owasp_s_cases_are_about_half_vulnerable_and_carry_their_category():
    table, good, _, counts = rows_of("owasp-benchmark-java")
    assert good.num_rows == 2740
    assert sum(counts.values()) == 1415
    assert len(set(table["category"].to_pylist())) == len(counts) == 11
