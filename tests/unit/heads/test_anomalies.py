"""Alarms: events, not readings, within a budget by day and unit."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from spt_core.errors import InputError
from spt_core.heads import HEADS
from spt_core.heads.anomalies import AnomalyHead, days
from spt_core.heads.base import Prediction, Scores, Truth
from spt_core.policy import AlarmPolicy
from tests.tiny_models import series_task

HEAD, TASK = AnomalyHead(), series_task("anomalies")
MINUTE_US = 60_000_000


def decided(labels, scores, threshold, units=None, minutes=None):
    size = len(labels)
    minutes = np.arange(size) if minutes is None else np.asarray(minutes)
    table = pa.table({"label": np.asarray(labels, float), "__instant": minutes * MINUTE_US})
    groups = np.zeros(size, np.int64) if units is None else np.asarray(units)
    policy = AlarmPolicy(threshold=threshold, alarms_per_day=1.0)
    outputs = np.asarray(scores, float)[:, None]
    return HEAD.decided(TASK, (), Truth(table, "label", groups), outputs, policy)


def figures(of):
    return {name: metric(of) for name, metric in HEAD.metrics.items()}


def test_readings_in_a_row_are_one_alarm_and_one_in_an_anomaly_finds_it():
    labels = [0, 0, 1, 1, 1, 0, 0, 0, 0, 1]
    scores = [0, 9, 0, 9, 9, 0, 9, 9, 0, 0]
    known = figures(decided(labels, scores, 5.0))
    assert known["event_recall"] == 0.5
    assert known["detection_delay_readings"] == 1.0  # one reading late, and one that is missed
    assert known["false_alarms_per_day"] == pytest.approx(2 / (10 / 1440))


def test_an_alarm_that_begins_before_an_anomaly_and_reaches_into_it_is_not_false():
    assert figures(decided([0, 0, 1], [0, 9, 9], 5.0))["false_alarms_per_day"] == 0.0


def test_units_do_not_run_into_each_other():
    known = figures(decided([0, 1, 1, 0], [9, 0, 9, 9], 5.0, units=[1, 0, 1, 0]))
    assert known["event_recall"] == 0.5


def test_items_are_put_in_the_order_of_unit_and_time():
    of = decided([1, 0, 0], [3, 1, 2], 9.0, minutes=[2, 0, 1])
    assert of.labels[:, 0].tolist() == [0, 0, 1]
    assert of.probabilities[:, 0].tolist() == [1, 2, 3]


def test_the_threshold_keeps_the_budget_on_usual_readings():
    draw = np.random.default_rng(0)
    labels = np.zeros(3 * 1440)
    scores = draw.gamma(2.0, size=len(labels))
    labels[1000:1100], scores[1000:1100] = 1, 50.0  # an anomaly asks for no budget
    usual = decided(labels, scores, 1.0)
    policy = HEAD.policy(TASK, usual)
    of = decided(labels, scores, policy.threshold)
    assert HEAD.metrics["false_alarms_per_day"](of) <= policy.alarms_per_day
    lower = decided(labels, scores, policy.threshold * 0.8)
    assert HEAD.metrics["false_alarms_per_day"](lower) > policy.alarms_per_day


def test_windows_that_still_hold_an_anomaly_ask_for_no_budget():
    labels, scores = np.zeros(2880), np.random.default_rng(0).random(2880)
    labels[100], scores[100:130] = 1, 50.0
    events = np.zeros(2880)
    events[100:130] = 1
    of = decided(labels, scores, 1.0)._replace(clear=(events <= labels).astype(float))
    assert HEAD.policy(TASK, of).threshold < 1.0
    assert HEAD.policy(TASK, of._replace(clear=None)).threshold > 0.99


def test_a_budget_that_a_short_time_cannot_hold_raises_no_alarm():
    scores = np.random.default_rng(0).random(100)
    policy = HEAD.policy(TASK, decided(np.zeros(100), scores, 1.0))
    assert policy.threshold > scores.max()


def test_an_edited_budget_gets_a_threshold_of_its_own_and_an_edited_threshold_stays():
    draw = np.random.default_rng(0)
    of = decided(np.zeros(2880), draw.random(2880), 1.0)
    before = HEAD.policy(TASK, of)
    more = dataclasses.replace(before, alarms_per_day=50.0, version="")
    assert HEAD.refitted(more, before, lambda: of).threshold < before.threshold
    stated = dataclasses.replace(before, threshold=0.1, version="")
    assert HEAD.refitted(stated, before, lambda: pytest.fail("it was scored")) == stated


def test_a_hole_in_the_readings_is_not_counted_as_time():
    of = decided(np.zeros(4), np.zeros(4), 1.0, minutes=[0, 1, 2, 1440])
    assert days(of) * 1440 == pytest.approx(13)


def test_readings_without_a_time_count_as_many_a_day_as_the_task_says():
    table = pa.table({"label": np.zeros(1440)})
    truth = Truth(table, "label", np.zeros(1440, np.int64))
    usual = HEAD.default_policy(TASK, ())
    of = HEAD.decided(TASK, (), truth, np.zeros((1440, 1)), usual)
    assert days(of) == pytest.approx(1.0, rel=0.01)


def test_a_judgement_is_an_alarm_from_the_threshold_on():
    policy = AlarmPolicy(threshold=2.0, alarms_per_day=1.0)
    for score, is_anomaly in ((1.9, False), (2.0, True)):
        prediction = Prediction({}, Scores(np.array([[score]])), lambda *_: ())
        judged = HEAD.judgement(TASK, (), prediction, policy)
        assert judged.is_anomaly is is_anomaly
        assert HEADS["anomalies"].summary(judged).labels == (
            ("anomaly",) if is_anomaly else ("usual",)
        )


def test_a_picture_loses_no_alarm():
    labels, scores = np.zeros(5000), np.zeros(5000)
    labels[2500:2510], scores[2503] = 1, 9.0
    curve = HEAD.curves(decided(labels, scores, 5.0))
    assert len(curve["score"]) <= 400
    assert max(curve["score"]) == 9.0
    assert sum(curve["alarm"]) == 1.0


def test_alarms_without_a_budget_are_refused():
    with pytest.raises(InputError, match="a budget above 0, however"):
        AlarmPolicy(threshold=1.0, alarms_per_day=0.0)
