"""Months, typos and gaps of held-out rows, and the causes that generators state."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from industries.manufacturing import failure_detection as failures
from spt_core.artifacts import as_uri
from spt_core.benchmark import BenchmarkConfig, BenchmarkSuite
from spt_core.benchmark.robustness import _misspelt_terms, months, typos
from spt_core.benchmark.subject import Subject
from spt_core.task import find
from tests.held_out import held_out
from tests.tiny_models import FRAUD, tiny_table_artifact

pytestmark = pytest.mark.slow  # torch
CONFIG = BenchmarkConfig(num_resamples=10, num_calls=100)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder, task = tmp_path_factory.mktemp("model"), find(FRAUD)
    model = held_out(tiny_table_artifact(task, as_uri(folder)), task.sample(900, 2), folder)
    found, why = BenchmarkSuite(CONFIG)._subject(model)
    assert found is not None, why
    return found


def test_the_worst_month_is_held_against_all_rows(subject: Subject) -> None:
    result = months(subject)
    assert set(result.figures) == {"2026-01", "2026-02"}  # March has one day
    assert result.score is not None
    worst = min(figure["value"] for figure in result.figures.values())
    assert result.score == pytest.approx(min(worst / subject.metric(subject.of), 1.0))
    assert result.low is not None
    assert result.high is not None
    assert 0 <= result.low <= result.high <= 1


def test_typos_are_made_in_words_alone_and_change_no_lengths(subject: Subject) -> None:
    asked: list[dict[str, int]] = []

    def outcomes(table):  # type: ignore[no-untyped-def]
        asked.append({name: table[name].to_pylist() for name in ("merchant", "amount")})
        return subject.of.take(np.arange(table.num_rows))

    class Seen:
        def __getattr__(self, name):  # type: ignore[no-untyped-def]
            return outcomes if name == "outcomes" else getattr(subject, name)

    typos(Seen())  # type: ignore[arg-type]
    before, after = asked
    pairs = list(zip(before["merchant"], after["merchant"], strict=True))
    changed = [(a, b) for a, b in pairs if a != b]
    assert 0.05 < len(changed) / len(pairs) < 0.15
    assert all(sorted(a) == sorted(b) for a, b in changed)
    assert before["amount"] == after["amount"]


def test_typos_are_made_in_terms_too_and_the_note_says_where(tmp_path: Path) -> None:
    task = find("healthcare/telemedicine_triage")
    table = task.sample(300, 2)
    for place, name in enumerate(table.column_names):
        if isinstance(table[name][0].as_py(), list):
            cells = [None if c is None else json.dumps(c) for c in table[name].to_pylist()]
            table = table.set_column(place, name, pa.array(cells))
    model = held_out(tiny_table_artifact(task, as_uri(tmp_path)), table, tmp_path)
    found, why = BenchmarkSuite(CONFIG)._subject(model)
    assert found is not None, why
    result = typos(found)
    assert result.note.endswith(
        "with typos in 10% of the categories and terms of patient.gender, patient.symptoms, "
        "patient.history"
    )
    assert result.score is not None


def test_a_misspelt_set_of_terms_has_as_many_terms_of_the_same_letters() -> None:
    draw = np.random.default_rng(0)
    before = [json.dumps(["chest_pain", "fever", "flu"]), None, "[]"] * 200
    after = _misspelt_terms(before, draw)
    sets = [(json.loads(a), json.loads(b)) for a, b in zip(before, after, strict=True) if a]
    assert [a for a in after if a is None] == [None] * 200
    assert all(len(a) == len(b) for a, b in sets)
    assert all(sorted("".join(a)) == sorted("".join(b)) for a, b in sets)
    num_changed = sum(len(set(a) - set(b)) for a, b in sets)
    assert 0.07 < num_changed / (2 * 200) < 0.13  # "flu" has too few letters


def test_stated_causes_are_what_the_labels_were_drawn_from() -> None:
    draw = np.random.default_rng(5)
    made = failures.drawn(20_000, draw)
    table = failures.sample(20_000, 5)
    parts = failures.causes(table)
    assert set(parts) <= {field.name for field in find("manufacturing/failure_detection").fields}
    rest = made.log_odds - np.nansum(list(parts.values()), 0)
    for name in ("tool_wear", "service_hours"):
        assert abs(np.corrcoef(rest, parts[name])[0, 1]) < 0.05
        assert np.corrcoef(made.log_odds, parts[name])[0, 1] > 0.05
    assert not parts["variant"].any()
