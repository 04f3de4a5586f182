"""What is served of several candidates, under limits."""

import dataclasses
import itertools
import json

import numpy as np
import pyarrow as pa
import pytest

from spt_core.artifacts import load_artifact
from spt_core.benchmark.memory import ResidentBytes
from spt_core.compression import measured, selection
from spt_core.compression.limits import Limits
from spt_core.compression.measured import FrontPoint, _bad_quality, _not_compared, over_budget
from spt_core.compression.selection import select
from spt_core.errors import InputError
from spt_core.families.candidate import Candidate, only_the_student
from spt_core.families.tabular.ensemble import BLEND, FORESTS
from spt_core.families.training import TRAINING
from spt_core.model import SpecializedModel
from spt_core.task import find
from tests.kept_exports import kept_export
from tests.tiny_blends import CALIBRATIONS, FORESTS_ALONE, tiny_forests
from tests.tiny_models import tiny_table_artifact

FRAUD = find("financial_services/fraud_detection")
METRIC = f"validation_{FRAUD.metric}"


class FewRows:
    """Stands for splits of which only validation rows are asked."""

    task = FRAUD.path

    def table(self, part, *, limit):
        assert part == "validation"
        return FRAUD.sample(limit, 1).drop_columns([FRAUD.label])


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return tiny_table_artifact(FRAUD, tmp_path_factory.mktemp("student").as_uri())


@pytest.fixture
def offered(student, monkeypatch):
    """The student, and forests that are better; losses can be changed before they are asked for."""
    losses = {"student": 0.5, "forests": 0.4}
    files = {
        FORESTS["lightgbm"]: tiny_forests(FRAUD, student)[FORESTS["lightgbm"]],
        BLEND: json.dumps(
            {"weights": FORESTS_ALONE, "calibration": CALIBRATIONS["binary"]}
        ).encode(),
    }

    def candidates(teacher, student, splits, share):
        figures = {METRIC: 0.7}
        if share == 1.0:
            own = {METRIC: losses.get("student's metric", 0.7)}
            yield Candidate("student", "student", losses["student"], own, {"student": 1.0}, {})
        name = "forests" if share == 1.0 else f"forests of {share:.0%}"
        yield Candidate(name, "blend", losses["forests"], figures, {"lightgbm": 1.0}, files)

    training = TRAINING["tabular"]._replace(candidates=candidates)
    monkeypatch.setitem(TRAINING, "tabular", training)
    monkeypatch.setattr(selection, "export", lambda artifact, *, fresh: kept_export(artifact))
    timed(monkeypatch, *[0.1] * (2 * measured.NUM_ROUNDS))
    return losses


def selected(student, limits=None, **options):
    teacher = SpecializedModel(student)
    return select(teacher, {"": SpecializedModel(student)}, FewRows(), limits, **options)


def timed(monkeypatch, *tails_ms):
    """Rounds of calls whose 99th percentiles these are, of each candidate in turn."""
    tails = itertools.cycle(tails_ms)

    def calls(call, inputs, num_calls):
        call(inputs[0])
        if num_calls == measured.MIN_CALLS and not getattr(calls, "is_round", False):
            calls.is_round = True
            return np.full(num_calls, 1e-3)
        value = next(tails)
        calls.left -= 1
        if not calls.left:
            calls.is_round, calls.left = False, measured.NUM_ROUNDS
        return np.full(num_calls, value / 1000)

    calls.left = measured.NUM_ROUNDS
    monkeypatch.setattr(measured, "timed_calls", calls)


def test_the_least_loss_is_served_and_every_candidate_is_measured(student, offered):
    model, front, _ = selected(student)
    assert model.artifact.role == "blend"
    assert load_artifact(model.artifact.uri).parents == (student.uri, student.uri)
    assert [(point.name, point.chosen) for point in front] == [
        ("student", False),
        ("forests", True),
    ]
    assert all(p.latency_ms["p50"] > 0 and p.size_mb > 0 for p in front)
    assert not any(point.refusal for point in front)


def test_of_equals_the_smallest_is_served(student, offered):
    offered["student"] = offered["forests"]
    model, front, _ = selected(student)
    sizes = {point.name: point.size_mb for point in front}
    assert model.size_bytes / 1e6 == min(sizes.values())


def test_what_is_too_large_is_not_served(student, offered):
    sizes = {point.name: point.size_mb for point in selected(student).front}
    offered[max(sizes, key=sizes.__getitem__)] = 0.1
    model, front, _ = selected(student, Limits(size_mb=sum(sizes.values()) / 2))
    large = max(front, key=lambda point: point.size_mb)
    assert "MB, of" in large.refusal
    assert not large.chosen
    assert model.size_bytes / 1e6 == min(sizes.values())


def test_what_is_too_slow_is_not_served(student, offered, monkeypatch):
    timed(monkeypatch, *[0.1] * 5, *[3.0] * 20)
    model, front, _ = selected(student, Limits(latency_ms=1.0))
    assert model.artifact.role == "student"
    assert front[1].refusal == "3.000 ms at the 99th percentile, of 1"
    assert [p.name for p in front[2:]] == ["forests of 50%", "forests of 25%", "forests of 12%"]


def test_of_forests_that_are_too_slow_fewer_trees_are_offered(student, offered, monkeypatch):
    timed(monkeypatch, *[0.1] * 5, *[3.0] * 10, *[0.5] * 5)
    _, front, _ = selected(student, Limits(latency_ms=1.0))
    assert [p.name for p in front if p.chosen] == ["forests of 25%"]
    assert front[-1].chosen  # and no fewer still


def test_another_aim_takes_what_is_as_good(student, offered, monkeypatch):
    timed(monkeypatch, *[0.1] * 5, *[0.2] * 5)
    _, front, _ = selected(student, aim="latency")
    assert [p.name for p in front if p.chosen] == ["student"]
    limits = Limits(quality={"average_precision": 0.7})
    _, front, _ = selected(student, limits, aim="memory")
    assert min(p.size_mb for p in front) == next(p.size_mb for p in front if p.chosen)


def test_quality_is_a_limit_too(student, offered):
    fact = "student .*average precision 0.7000 on validation rows, of 0.8; forests"
    with pytest.raises(InputError, match=fact):
        selected(student, Limits(quality={"average_precision": 0.8}))
    with pytest.raises(InputError, match="quality names metrics of a binary task .*'f1'"):
        selected(student, Limits(quality={"f1": 0.8}))


def test_of_several_students_each_is_offered_and_forests_once(student, offered):
    students = {name: SpecializedModel(student) for name in ("64-32", "8")}
    _, front, _ = select(SpecializedModel(student), students, FewRows())
    assert [p.name for p in front] == ["student 64-32", "forests", "student 8"]


def test_a_machine_that_is_too_busy_to_tell_is_said_where_a_latency_was_asked_for(
    student, offered, monkeypatch
):
    timed(monkeypatch, *[0.1] * 5, 0.5, 20.0, 0.5, 0.5, 0.5)
    _, front, _ = selected(student, Limits(latency_ms=1.0))
    assert front[1].refusal.endswith("of 1: the machine is too busy to tell")
    assert not any(point.refusal for point in selected(student).front)


def test_a_tail_far_beyond_the_median_in_every_round_is_the_machine_s():
    point = FrontPoint(
        name="student",
        parts={"student": 1.0},
        loss=0.5,
        metric=0.7,
        metrics={},
        size_mb=3.3,
        latency_ms={"p50": 0.9, "low": 31.5, "high": 328.5},
    )
    limits = Limits(latency_ms=20.0)
    assert over_budget(point, limits, FRAUD) == (
        "31.500 to 328.500 ms at the 99th percentile (median 0.900), of 20: the machine is too "
        "busy to tell"
    )
    slow = dataclasses.replace(point, latency_ms={"p50": 9.0, "low": 31.5, "high": 328.5})
    assert over_budget(slow, limits, FRAUD) == "31.500 ms at the 99th percentile, of 20"


@pytest.mark.parametrize(
    ("facts", "refusal"),
    [
        ({"impact_ratio": 0.8}, ""),
        (
            {"impact_ratio": 0.79, "least_group": "sex b"},
            "an impact ratio of 0.79 (approval rate of sex b), of 0.8",
        ),
        (
            {"impact_ratio": 0.0, "least_group": "sex b"},
            "an impact ratio of 0.00 (approval rate of sex b), of 0.8",
        ),
        (
            {"not_compared": "two groups of 50 rows or more are needed"},
            "no impact ratio could be measured on validation rows: two groups of 50 rows or more "
            "are needed",
        ),
    ],
)
def test_an_impact_ratio_that_is_asked_for_is_measured_and_kept(facts, refusal):
    point = FrontPoint(
        name="student",
        parts={},
        loss=0.5,
        metric=0.7,
        metrics={},
        size_mb=3.3,
        latency_ms={"p50": 0.9, "low": 1.0, "high": 1.1},
        **facts,
    )
    assert _bad_quality(point, Limits(impact_ratio=0.8), FRAUD) == refusal
    assert _bad_quality(point, Limits(), FRAUD) == ""


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"amount": [1.0] * 100}, "they hold no protected or monitored attribute"),
        (
            {"sex": ["a"] * 60 + ["b"] * 40},
            "two groups of 50 rows or more are needed; groups with fewer: sex b 40",
        ),
        ({"sex": ["a"] * 100}, "two groups of 50 rows or more are needed"),
        ({"sex": ["a", "b"] * 50}, "the approval rate is 0 in every group"),
    ],
)
def test_what_stands_in_the_way_of_comparing_groups_is_said(columns, why):
    assert _not_compared(pa.table(columns), ("sex",), np.ones(100, bool), "approval_rate") == why


def test_of_recalls_positive_rows_are_counted():
    is_positive = np.arange(120) < 100
    groups = pa.table({"sex": ["a", "b"] * 60})
    assert (
        _not_compared(groups, ("sex",), is_positive, "recall") == "the recall is 0 in every group"
    )
    is_positive[:20] = False
    assert _not_compared(groups, ("sex",), is_positive, "recall") == (
        "two groups of 50 positive rows or more are needed; groups with fewer: sex a 40, sex b 40"
    )


def test_memory_and_throughput_are_measured_where_they_are_limited(student, offered, monkeypatch):
    monkeypatch.setattr(
        measured, "resident_bytes", lambda exported: ResidentBytes(90_000_000, 7_000_000)
    )
    with pytest.raises(InputError, match=r"however: student .*: 7.0 MB of memory, of 5; forests"):
        selected(student, Limits(memory_mb=5.0))
    with pytest.raises(InputError, match="10,000 records a second, of 20000"):
        selected(student, Limits(throughput_qps=20_000))
    assert selected(student, Limits(throughput_qps=5_000)).front[0].throughput_qps == 10_000


@pytest.mark.parametrize(("batch_s", "num_batches"), [(2.0, 5), (0.3, 10), (0.001, 50)])
def test_the_throughput_of_a_slow_model_is_told_from_few_batches(
    student, monkeypatch, batch_s, num_batches
):
    counts = []

    def calls(call, inputs, num_calls):
        assert len(inputs[0]) == measured.BATCH_ROWS
        counts.append(num_calls)
        return np.full(num_calls, batch_s)

    monkeypatch.setattr(measured, "timed_calls", calls)
    answerer = SpecializedModel(student).open()
    assert measured._throughput_qps(answerer, [{}] * 200) == measured.BATCH_ROWS / batch_s
    assert counts == [1, num_batches]


def test_models_in_full_precision_are_refused_where_int8_is_asked_for(student, offered):
    with pytest.raises(InputError, match="full precision, where INT8 is asked for"):
        selected(student, Limits(int8_only=True))


def test_limits_that_nothing_keeps_are_refused_with_the_nearest(student, offered):
    fact = r"kept by some candidate \(.*size_mb 1e-06\), however: student .* MB, of 1e-06"
    with pytest.raises(InputError, match=fact):
        selected(student, Limits(size_mb=1e-6))


def test_limits_that_nobody_stated_are_the_report_s_business(student, offered, monkeypatch):
    timed(monkeypatch, *[100.0] * 10)
    model, front, _ = selected(student)
    assert all(point.refusal for point in front)
    assert model.artifact.role == "blend"


@pytest.mark.parametrize(
    ("metric", "role", "num_notes"), [(0.07, "blend", 1), (0.62, "blend", 1), (0.64, "student", 0)]
)
def test_limits_that_nobody_stated_give_way_where_they_leave_no_use(
    student, offered, monkeypatch, metric, role, num_notes
):
    offered["student's metric"] = metric
    timed(monkeypatch, *[0.1] * 5, *[100.0] * 5)
    model, _, notes = selected(student)
    assert (model.artifact.role, len(notes)) == (role, num_notes)


def test_the_task_s_own_limit_holds_beside_a_stated_one(student, offered, monkeypatch):
    timed(monkeypatch, *[0.1] * 5, *[100.0] * 20)
    model, _, _ = selected(student, Limits(size_mb=5.0))
    assert model.artifact.role == "student"


@pytest.mark.parametrize("limits", [{"latency_ms": 0.0}, {"size_mb": -1.0}])
def test_a_limit_of_nothing_is_refused(limits):
    with pytest.raises(InputError, match="must be above 0"):
        Limits(**limits)


def test_a_student_alone_is_the_only_candidate_of_texts(student):
    student = dataclasses.replace(student, metrics={"validation_log_loss": 0.3, METRIC: 0.7})
    (candidate,) = only_the_student(student, student, FewRows())
    assert (candidate.name, candidate.files, candidate.loss) == ("student", {}, 0.3)
    assert only_the_student(student, student, FewRows(), 0.5) == []
