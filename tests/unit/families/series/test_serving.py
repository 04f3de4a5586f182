"""What a model of readings warns of: another unit, a probe that stands still, one that is gone."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from jsonschema import Draft202012Validator

from spt_core.answering import Answerer
from spt_core.artifacts import as_uri
from spt_core.data.series import as_column
from spt_core.families.series.facts import with_seen
from spt_core.families.series.reading import readings_of
from spt_core.families.series.serving import SeriesServing, stretches
from spt_core.heads import HEADS
from spt_core.judgement import Silence
from spt_core.signature import Signature
from spt_core.task import all_tasks, find
from tests.tiny_models import (
    NUM_ROWS,
    SERIES_SHAPE,
    series_task,
    series_windows,
    tiny_series_artifact,
)

WINDOW = series_windows(1, 9)[0]


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    folder = as_uri(tmp_path_factory.mktemp("series"))
    artifact = tiny_series_artifact(series_task("regression"), folder)
    return SeriesServing().open_checkpoint(artifact)


def cautions(predictor, window):
    row = predictor.read({"readings": readings_of(window, SERIES_SHAPE)})
    return predictor.cautions([row])


def test_a_window_like_those_of_training_is_answered_without_a_word(predictor):
    assert not any(cautions(predictor, WINDOW))


def test_fahrenheit_for_celsius_is_told(predictor):
    other = WINDOW.copy()
    other[:, 1] = other[:, 1] * 1.8 + 32.0
    assert cautions(predictor, other).outside == ("heat",)


def test_a_probe_that_stands_still_is_told(predictor):
    stuck = WINDOW.copy()
    stuck[:, 0] = stuck[0, 0]
    assert cautions(predictor, stuck).outside == ("speed",)


def test_a_probe_that_is_gone_is_told_and_answered(predictor):
    gone = WINDOW.copy()
    gone[:, 1] = np.nan
    assert cautions(predictor, gone).missing == ("heat",)
    row = predictor.read({"readings": readings_of(gone, SERIES_SHAPE)})
    assert np.isfinite(predictor.predict([row])[0].values).all()


def lost(num_steps, channel=1):
    window = WINDOW.copy()
    window[len(window) - num_steps :, channel] = np.nan
    return window


@pytest.mark.parametrize(("num_steps", "is_told"), [(1, False), (2, False), (3, True), (7, True)])
def test_a_probe_that_stopped_three_steps_ago_is_silent_by_request_and_by_table(
    predictor, num_steps, is_told
):
    window = lost(num_steps)
    asked = predictor.read({"readings": readings_of(window, SERIES_SHAPE)})
    (stored,) = predictor.encode(pa.table({"readings": as_column(window[None])}))
    for row in (asked, stored):
        (prediction,) = predictor.explain([row])
        expected = (Silence("heat", num_steps, SERIES_SHAPE.length),) if is_told else ()
        assert prediction.silent() == expected
        assert predictor.cautions([row]).missing == (("heat",) if is_told else ())


def test_gaps_that_training_windows_end_with_are_no_silence(tmp_path):
    windows = series_windows(200, 3)
    windows[:100, -4:, 1] = np.nan  # it reports every few steps
    task = series_task("regression")
    signature = with_seen(Signature(fields=task.fields), "readings", windows)
    shape = signature.field("readings").shape
    assert shape.gaps == (0, 4)
    assert shape.seen[1] == pytest.approx((np.nanmin(windows[..., 1]), np.nanmax(windows[..., 1])))
    artifact = tiny_series_artifact(task, as_uri(tmp_path))
    opened = SeriesServing().open_checkpoint(dataclasses.replace(artifact, signature=signature))
    assert cautions(opened, lost(4)).missing == ()
    assert cautions(opened, lost(5)).missing == ("heat",)
    assert cautions(opened, lost(len(WINDOW))).missing == ("heat",)


def test_a_judgement_of_every_head_says_which_channels_are_silent(tmp_path):
    for head in ("regression", "anomalies", "single_label"):
        task = series_task(head)
        opened = SeriesServing().open_checkpoint(tiny_series_artifact(task, as_uri(tmp_path)))
        answerer = Answerer(task, opened, HEADS[head].default_policy(task, opened.classes))
        judgement = answerer.judge({"readings": readings_of(lost(4), SERIES_SHAPE)})
        assert judgement.silent == (Silence("heat", 4, SERIES_SHAPE.length),)


def test_a_judgement_of_anomalies_knows_when_the_steps_of_the_window_were(tmp_path):
    task = series_task("anomalies")
    opened = SeriesServing().open_checkpoint(tiny_series_artifact(task, as_uri(tmp_path)))
    answerer = Answerer(task, opened, HEADS["anomalies"].default_policy(task, ()))
    rows = [{**row, "time": 60 * i} for i, row in enumerate(readings_of(WINDOW, SERIES_SHAPE), 1)]
    judgement = answerer.judge({"readings": [{**rows[0], "time": 0}, *rows]})
    assert judgement.moments == tuple(60 * i for i in range(1, len(WINDOW) + 1))
    assert answerer.judge({"readings": readings_of(WINDOW, SERIES_SHAPE)}).moments == ()


def test_a_judgement_of_a_number_knows_the_greatest_label_of_training(predictor):
    answerer = Answerer(
        series_task("regression"), predictor, HEADS["regression"].default_policy(None, ())
    )
    judgement = answerer.judge({"readings": readings_of(WINDOW, SERIES_SHAPE)})
    assert judgement.greatest == series_windows(NUM_ROWS, 0)[:, -1, 0].max()


def test_a_table_s_window_is_answered_as_a_request_s(predictor):
    table = pa.table({"readings": as_column(series_windows(5, 2))})
    rows = predictor.encode(table)
    asked = [predictor.read(row.record) for row in rows]
    one, other = predictor.predict(rows), predictor.predict(asked)
    assert [s.values.tolist() for s in one] == [s.values.tolist() for s in other]
    cells = table.to_pylist()  # as a benchmark asks
    assert predictor.predict([predictor.read(cell) for cell in cells])[0].values.shape == (1, 3)


@pytest.mark.parametrize("path", [p for p, t in all_tasks().items() if t.family == "series"])
def test_the_schema_that_clients_see_holds_for_what_the_reader_takes(path):
    task = find(path)
    schema = Draft202012Validator(Signature(fields=task.fields).json_schema())
    assert schema.is_valid(task.example)
    channels = task.subject.shape.channels
    rows = task.example["readings"]
    by_channel = {name: [row[name] for row in rows] for name in channels}
    assert schema.is_valid({**task.example, "readings": by_channel})
    assert not schema.is_valid({**task.example, "readings": rows[1:]})
    assert not schema.is_valid({**task.example, "readings": [{}] * len(rows)})
    assert not schema.is_valid({})


def test_a_reading_is_shown_as_it_was_sent():
    values = np.array([[1.0, np.nan], [3.2228, np.nan]], np.float32)
    named = stretches(np.ones((2, 2), np.float32), values, ("pressure", "load"))
    assert {each.channel: each.value for each in named} == {"pressure": 3.2228, "load": None}


def test_reasons_name_every_channel_once_the_strongest_first(predictor):
    row = predictor.read({"readings": readings_of(WINDOW, SERIES_SHAPE)})
    (prediction,) = predictor.explain([row])
    reasons = prediction.reasons(0, np.array([1.0, 0.0, 0.0]))
    assert sorted(reason.channel for reason in reasons) == ["heat", "speed"]
    assert abs(reasons[0].effect) >= abs(reasons[1].effect)
    assert all(0 <= reason.start < reason.end <= SERIES_SHAPE.length for reason in reasons)


@pytest.mark.parametrize(("share", "gap"), [(0.001, 0.001), (0.0, 0.0)])
def test_a_replica_s_gap_is_of_what_was_asked_for(predictor, share, gap):
    record = {"readings": readings_of(WINDOW, SERIES_SHAPE)}
    (scores,) = predictor.predict([predictor.window(record)])
    values = scores.values.ravel()
    probes = {"records": [record], "scores": [(values * (1 + share)).tolist()]}
    large = {**probes, "unit": float(np.abs(values).max()) / 100}  # an answer of 100 units
    assert SeriesServing().probe_gap(predictor, large) == pytest.approx(gap, rel=0.01)
    small = {**probes, "unit": float(np.abs(values).max()) * 100}
    assert SeriesServing().probe_gap(predictor, small) == pytest.approx(gap / 100, rel=0.01)
