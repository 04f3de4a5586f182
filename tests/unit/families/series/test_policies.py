"""Baselines are given the same chance as the model: their policy comes of the calibration rows."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spt_core.artifacts import as_uri
from spt_core.data.series import as_column
from spt_core.families.baseline import BaselineWork
from spt_core.families.series.baselines import tune_series_baselines
from spt_core.families.series.detectors import simple_detector
from spt_core.families.series.forecasters import (
    BOOSTED,
    FORECASTS,
    UNSMOOTHED,
    boosted_forecast,
    foretelling,
    simple_forecast,
)
from spt_core.families.series.policies import fitted_policy
from spt_core.heads import HEADS
from spt_core.signature import Field, SequenceShape, Signature
from tests.tiny_models import series_rows, series_task

SHAPE = SequenceShape(length=8, channels=("demand",), horizon=2)
FIELD = Field(name="readings", kind="sequence", shape=SHAPE)
CAME = 6.0  # of which a window's steps had half: demand has doubled since


def demand_rows(num_rows, seed):
    draw = np.random.default_rng(seed)
    windows = draw.poisson(CAME / 2, (num_rows, SHAPE.length, 1)).astype(np.float32)
    came = draw.poisson(CAME, (num_rows, SHAPE.horizon)).astype(float)
    labels = [json.dumps(row) for row in came.tolist()]
    return pa.table({"readings": as_column(windows), "demand": labels})


def work_of(folder, task, field, rows, label):
    """What a benchmark asks baselines with, of splits that are four files."""
    parts = {part: rows(300, seed) for seed, part in enumerate(("train", "validation"))}
    parts["calibration"] = rows(400, 3)
    for part, table in parts.items():
        pq.write_table(table, folder / f"{part}.parquet")
    splits = SimpleNamespace(
        files=lambda part: [as_uri(folder / f"{part}.parquet")],
        table=lambda part, limit=None: parts[part].slice(0, limit),
        label=label,
        corpus=SimpleNamespace(group=None),
        classes=(),
    )
    return BaselineWork(
        task=task,
        signature=Signature(fields=(field,)),
        classes=(),
        splits=splits,  # type: ignore[arg-type]
        policy=HEADS[task.head].default_policy(task, ()),
        num_trials=2,
        max_rows=1000,
        seed=0,
    )


@pytest.fixture
def work(tmp_path):
    task = dataclasses.replace(series_task("forecasts"), fields=(FIELD,), label="demand")
    return work_of(tmp_path, task, FIELD, demand_rows, "demand")


@pytest.mark.parametrize("name", [*FORECASTS, BOOSTED])
def test_a_forecast_s_levels_are_moved_until_they_hold_as_the_model_s_are(work, name):
    baseline = simple_forecast(work, name)
    of = baseline.outcomes(demand_rows(1000, 9), "demand", None)
    assert HEADS["forecasts"].metrics["service_shortfall"](of) < 0.02
    assert ("alpha" in baseline.parameters) == (name not in (*UNSMOOTHED, BOOSTED))


def test_unmoved_levels_would_have_fallen_short(work):
    windows = np.random.default_rng(9).poisson(CAME / 2, (1000, 8, 1)).astype(np.float32)
    told = foretelling("SES", 0.1, 0, SHAPE)(windows)
    assert told.shape == (1000, 2, 9)
    policy = fitted_policy(work, foretelling("SES", 0.1, 0, SHAPE))
    assert policy.shifts[-2] > 0.0
    assert (policy.moved(told)[..., -2] > told[..., -2]).all()


def test_a_booster_foretells_what_came_of_its_windows():
    table = demand_rows(600, 1)
    came = np.array([json.loads(label) for label in table["demand"].to_pylist()])
    windows = np.random.default_rng(1).poisson(CAME / 2, (600, 8, 1)).astype(np.float32)
    told = boosted_forecast(windows, came, 0, SHAPE, seed=0)(windows)
    assert told[:, :, 3].mean() == pytest.approx(CAME, rel=0.15)  # the median


def test_an_interval_of_a_baseline_comes_of_the_calibration_rows(tmp_path):
    task = series_task("regression")
    (field,) = task.fields

    def rows(num_rows, seed):
        table = series_rows("regression", num_rows, seed)
        wide = 3.0 if seed == 3 else 0.1  # the calibration rows are far noisier
        noise = wide * np.random.default_rng(seed).normal(size=num_rows)
        return table.set_column(1, "label", pa.array(np.asarray(table["label"]) + noise))

    work = work_of(tmp_path, task, field, rows, "label")
    for baseline in tune_series_baselines(work).fitted:
        of = baseline.outcomes(rows(500, 3), "label", None)
        assert HEADS["regression"].metrics["interval_coverage"](of) == pytest.approx(0.9, abs=0.04)


def test_a_detector_s_threshold_comes_of_the_calibration_rows(tmp_path):
    task = series_task("anomalies")
    (field,) = task.fields
    work = work_of(
        tmp_path, task, field, lambda num, seed: series_rows("anomalies", num, seed), "label"
    )
    detector = simple_detector(work, "isolation forest")
    of = detector.outcomes(series_rows("anomalies", 300, 9), "label", None)
    asked = fitted_policy(work, lambda windows: detector.call(windows)[:, None]).threshold
    calm = series_rows("anomalies", 400, 3)
    own = detector.outcomes(calm, "label", None)
    assert np.array_equal(of.given, of.probabilities >= asked)
    assert own.probabilities[own.labels < 0.5].max() < asked  # less than a day: no false alarm
