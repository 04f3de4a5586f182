"""What a model of readings warns of: another unit, a probe that stands still, one that is gone."""

import numpy as np
import pyarrow as pa
import pytest
from jsonschema import Draft202012Validator

from spt_core.artifacts import as_uri
from spt_core.data.series import as_column
from spt_core.families.series.reading import readings_of
from spt_core.families.series.serving import SeriesServing
from spt_core.signature import Signature
from spt_core.task import all_tasks, find
from tests.tiny_models import SERIES_SHAPE, series_task, series_windows, tiny_series_artifact

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


def test_reasons_name_every_channel_once_the_strongest_first(predictor):
    row = predictor.read({"readings": readings_of(WINDOW, SERIES_SHAPE)})
    (prediction,) = predictor.explain([row])
    reasons = prediction.reasons(0, np.array([1.0, 0.0, 0.0]))
    assert sorted(reason.channel for reason in reasons) == ["heat", "speed"]
    assert abs(reasons[0].effect) >= abs(reasons[1].effect)
    assert all(0 <= reason.start < reason.end <= SERIES_SHAPE.length for reason in reasons)
