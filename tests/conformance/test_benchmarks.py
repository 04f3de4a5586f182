"""Families and heads are benchmarked whole: each benchmark has a score, figures or a reason.

All of them take a quarter of a minute: tests/slow asks those that are not asked here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from spt_core.artifacts import as_uri
from spt_core.benchmark import BenchmarkConfig, BenchmarkSuite
from spt_core.task import Family, Head
from tests.held_out import held_out
from tests.tiny_models import TEXTS, TINY, series_rows, table_rows, tiny_image

pytestmark = pytest.mark.slow  # torch
QUICK = BenchmarkConfig(num_resamples=10, num_calls=100, reasoning_rows=20, altered_rows=40)
PAIRS: list[tuple[Family, Head]] = [
    ("tabular", "single_label"),
    ("text", "pair"),
    ("image", "binary"),
    ("series", "forecasts"),
]
CLASSES = ("neither", "safe", "risky")
MIN_ROWS, NUM_IMAGES = 60, 30


def label_of(head: Head, number: int) -> Any:
    name = CLASSES[number % 3]
    match head:
        case "binary":
            return number % 2
        case "regression":
            return float(number % 7)
        case "multi_label":
            return json.dumps([name] if name != "neither" else [])
        case "pair":
            return json.dumps([[0, 1, "safe"]])
        case "span":
            return json.dumps([{"start": 0, "end": 3, "label": "safe"}])
        case _:
            return name


def rows_of(family: Family, head: Head) -> pa.Table:
    if family == "tabular":
        return table_rows(head, 200, 3)
    if family == "series":
        return series_rows(head, 80, 3)
    size = NUM_IMAGES if family == "image" else MIN_ROWS
    labels = [label_of(head, number) for number in range(size)]
    if family == "image":
        return pa.table({"image": [tiny_image(n) for n in range(size)], "label": labels})
    columns: dict[str, Any] = {"text": [TEXTS[n % len(TEXTS)] for n in range(size)]}
    if head == "pair":
        spans = json.dumps([{"start": 0, "end": 7}, {"start": 8, "end": 11}])
        columns["mentions"] = [spans] * size
    return pa.table({**columns, "label": labels})


@pytest.mark.parametrize(("family", "head"), PAIRS)
def test_a_model_is_benchmarked_whole(
    family: Family, head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_benchmarks(family, head, tmp_path, monkeypatch)


def require_benchmarks(
    family: Family, head: Head, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of random weights gets a share, figures or a reason from each benchmark."""
    task = TINY[family].task(head)
    for module in ("spt_core.model", "tests.held_out"):
        monkeypatch.setattr(f"{module}.find", lambda path: task)
    artifact = TINY[family].artifact(task, as_uri(folder))
    model = held_out(artifact, rows_of(family, head), folder)
    result = BenchmarkSuite(QUICK).run_comprehensive_benchmark(model=model, model_name="tiny")
    json.dumps(result, allow_nan=False)
    for one in result["benchmarks"]:
        assert (one["score"] is None) or 0 <= one["score"] <= 1
        is_told = one["not_measured"] or one["score"] is not None or one["figures"]
        assert is_told, one["task_id"]
