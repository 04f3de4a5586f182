"""A report on a text model: from rows in storage to the page and the terminal's table."""

from __future__ import annotations

import types
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.stages.judging import NUM_SHOWN_METRICS, show_report
from spt_core.artifacts import ExportedModel, as_uri
from spt_core.benchmark import BenchmarkConfig, BenchmarkSuite, Report, report_from_json
from spt_core.data.partition import PARTS
from spt_core.data.splits import EvaluationSet, table_of
from spt_core.heads import HEADS
from spt_core.model import default_policy
from spt_core.task import find
from tests.tiny_models import DRUGS

TASK = find(DRUGS)


@pytest.fixture(scope="module")
def report(text_export: ExportedModel, tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("rows")
    for seed, (part, num_rows) in enumerate((("train", 300), ("validation", 80), ("test", 60))):
        (folder / part).mkdir()
        pq.write_table(TASK.sample(num_rows, seed), folder / part / "0.parquet")
    rows = EvaluationSet(
        uri=as_uri(folder / "test"),
        task=TASK.path,
        num_rows=60,
        num_positives=30,
        fingerprint="f",
        label=TASK.label,
        signature=text_export.artifact.signature,
        synthetic=True,
    )

    def table(part: str, limit: int | None = None) -> Any:
        return table_of([as_uri(folder / part / "0.parquet")], limit)

    counts = {part: 60 for part in PARTS}
    splits: Any = types.SimpleNamespace(
        table=table,
        label=TASK.label,
        corpus=types.SimpleNamespace(group=TASK.group, time=None, weight=None),
        num_rows=counts,
        num_positives={part: 30 for part in PARTS},
        files=lambda part: [as_uri(folder / part / "0.parquet")],
    )
    config = BenchmarkConfig(num_trials=2, num_resamples=20, num_calls=100)
    policy = default_policy(text_export)
    return BenchmarkSuite(config).run(text_export, rows, policy=policy, splits=splits)


def test_every_metric_of_the_head_has_an_interval_over_documents(report: Report) -> None:
    assert list(report.quality) == ["default", "TF-IDF + logistic regression"]
    for figures in report.quality.values():
        assert set(figures) == set(HEADS["pair"].metrics)
        assert all(f["low"] <= f["high"] for f in figures.values())
    assert (report.head, report.num_groups) == ("pair", 6)


def test_each_class_has_its_figures(report: Report) -> None:
    labels = [row["label"] for row in report.classes["default"]]
    assert labels == ["none", "advise", "effect", "int", "mechanism"]
    known, other = report.classes.values()
    assert [row["support"] for row in known] == [row["support"] for row in other]


def test_latency_size_and_memory_are_there(report: Report) -> None:
    assert all(times["p50"] > 0 for times in report.latency_ms.values())
    assert report.size_bytes > 50_000
    assert report.memory_bytes > 0


def test_the_report_is_json_and_a_page(report: Report) -> None:
    assert report_from_json(report.to_json()) == report
    page = report.html(facts={"seed": 0})
    assert page.count("data:image/png;base64,iVBOR") == 3
    assert "mechanism" in page


def test_the_terminal_shows_the_head_s_metrics(report: Report) -> None:
    told: list[Any] = []
    warned: list[tuple[str, str]] = []
    screen = types.SimpleNamespace(
        table=lambda *parts: told.append(parts),
        say=told.append,
        warn=lambda *parts: warned.append(parts),
    )
    run: Any = types.SimpleNamespace(screen=screen)
    show_report(run, report)
    title, columns, rows = told[0]
    assert "60 held-out rows of 6 groups, 30 with a label, SYNTHETIC" in title
    shown = list(HEADS["pair"].metrics)[:NUM_SHOWN_METRICS]
    assert columns[1:-1] == [name.replace("_", " ") for name in shown]
    assert len(rows) == 2
    ((_, failed),) = warned
    assert "classes_measured: classes with fewer than 10 held-out items" in failed
