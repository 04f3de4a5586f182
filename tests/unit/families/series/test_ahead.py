"""Forecasts that look at what is known in advance, and what they say drove them."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from spt_core.answering import Answerer
from spt_core.data.series import as_column
from spt_core.errors import InputError
from spt_core.families.series.checkpoint import StudentRuntime
from spt_core.families.series.exporting import trial_windows
from spt_core.families.series.facts import series_facts, with_seen
from spt_core.families.series.forecasters import step_figures
from spt_core.families.series.network import as_student, series_network
from spt_core.families.series.reading import WindowReader, filled, record_of
from spt_core.families.series.rows import shard_of
from spt_core.families.series.serving import SeriesPredictor, SeriesServing, occlusions
from spt_core.heads import HEADS
from spt_core.heads.forecasts import LEVELS, MEAN_WEIGHTS
from spt_core.signature import Field, SequenceShape, Signature
from tests.tiny_models import SERIES_CONFIG, series_task

SHAPE = SequenceShape(
    length=6,
    channels=("promo", "heat", "demand"),
    step=1.0,
    time="time",
    unit="unit",
    horizon=2,
    in_months=True,
    in_advance=("promo",),
    calendar=("time_of_year",),
)
FIELD = Field(name="readings", kind="sequence", shape=SHAPE)
HEAD = HEADS["forecasts"]


def drawn(num, seed):
    """Windows [N, T + H, C] whose demand to come is its level, twice that in promotions."""
    draw = np.random.default_rng(seed)
    windows = draw.normal(size=(num, SHAPE.num_rows, SHAPE.num_columns)).astype(np.float32)
    windows[:, :, 0] = draw.random((num, SHAPE.num_rows)) < 0.3
    level = draw.uniform(2.0, 8.0, (num, 1))
    windows[:, :, 2] = level
    windows[:, SHAPE.length :, 1:3] = np.nan
    came = level * (1.0 + windows[:, SHAPE.length :, 0])
    return filled(windows), came.astype(np.float32)


WINDOWS, CAME = drawn(400, 0)
FACTS = series_facts(SHAPE, WINDOWS, head="forecasts", target="demand")


def fitted(role, num_steps):
    torch.manual_seed(0)
    config = dataclasses.replace(SERIES_CONFIG, student_width=16, teacher_kernels=(3,))
    network = series_network(config, role, FACTS)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.02)
    levels = torch.tensor(LEVELS)
    inputs, came = torch.from_numpy(WINDOWS), torch.from_numpy(CAME)[:, :, None]
    for _ in range(num_steps):
        optimizer.zero_grad()
        miss = came - network(inputs).unflatten(1, (SHAPE.horizon, -1))
        torch.maximum(levels * miss, (levels - 1.0) * miss).mean().backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def student():
    return fitted("student", 150)


@pytest.fixture(scope="module")
def predictor(student):
    signature = with_seen(Signature(fields=(FIELD,)), "readings", WINDOWS)
    return SeriesPredictor(signature, StudentRuntime(as_student(student)), FACTS)


def totals(network, windows):
    with torch.no_grad():
        levels = network(torch.from_numpy(windows)).unflatten(1, (SHAPE.horizon, -1))
    return levels[:, :, LEVELS.index(0.5)].numpy()


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_demand_in_a_promotion_that_is_known_is_foretold(role, request):
    network = request.getfixturevalue("student") if role == "student" else fitted(role, 80)
    windows, came = drawn(200, 1)
    said = totals(network, windows)
    assert np.abs(said - came).mean() < 0.35 * np.abs(came - came.mean()).mean()
    blind = windows.copy()
    blind[:, SHAPE.length :, 0] = 0.0
    in_promotion = windows[:, SHAPE.length :, 0] > 0
    assert (totals(network, blind)[in_promotion] < 0.8 * said[in_promotion]).mean() > 0.9


def test_what_a_network_knows_does_not_hang_on_readings_that_have_not_been_taken(student):
    changed = WINDOWS.copy()
    changed[:, SHAPE.length :, 1:3] = 99.0
    assert np.array_equal(totals(student, changed), totals(student, WINDOWS))


def test_a_promotion_to_come_is_named_as_what_drives_a_forecast(predictor):
    window = WINDOWS[0].copy()
    window[:, 0] = 0.0
    window[SHAPE.length :, 0] = 1.0
    row = predictor.read(record_of("readings", window, SHAPE))
    (prediction,) = predictor.explain([row])
    first = prediction.reasons(0, MEAN_WEIGHTS)[0]
    assert (first.channel, first.is_ahead) == ("promo", True)
    total = prediction.scores.values @ MEAN_WEIGHTS
    assert first.effect == pytest.approx(0.4 * total.sum(), rel=0.5)


def test_deleting_the_first_driver_moves_a_forecast_more_than_deleting_the_last(predictor):
    parts = occlusions(SHAPE, SHAPE.channels.index("demand"))
    rows = predictor.encode(pa.table({"readings": as_column(drawn(20, 3)[0])}))
    for prediction in predictor.explain(rows):
        effects = [abs(reason.effect) for reason in prediction.reasons(0, MEAN_WEIGHTS)]
        assert len(effects) == len(parts)
        assert effects == sorted(effects, reverse=True)


def test_probes_of_before_may_lack_what_is_foretold_and_requests_may_not(predictor):
    window = WINDOWS[0].copy()
    window[: SHAPE.length, 2] = np.nan
    record = record_of("readings", window, SHAPE)
    with pytest.raises(InputError, match="a reading of 'demand' in its window, however: all 6"):
        predictor.read(record)
    (scores,) = predictor.predict([predictor.window(record)])
    probes = {"records": [record], "scores": [scores.values.ravel().tolist()], "unit": 1.0}
    assert SeriesServing().probe_gap(predictor, probes) == 0.0
    assert all(np.isfinite(w[: SHAPE.length, 2]).all() for w in trial_windows(FACTS, 8, seed=1))


def test_parts_of_a_window_are_thirds_of_the_target_each_channel_and_what_is_known():
    parts = [(p.name, p.rows.start, p.rows.stop) for p in occlusions(SHAPE, 2)]
    assert parts == [
        ("promo", 0, 6),
        ("promo", 6, 8),
        ("heat", 0, 6),
        ("demand", 0, 2),
        ("demand", 2, 4),
        ("demand", 4, 6),
        ("time of year", 0, 8),
    ]


def test_a_request_is_answered_as_its_window_of_the_corpus_but_for_the_season(predictor):
    (row,) = predictor.encode(pa.table({"readings": as_column(WINDOWS[:1])}))
    asked = predictor.read(json.loads(json.dumps(row.record)))
    assert np.array_equal(asked.values[:, :3], row.values[:, :3])


def test_trial_windows_know_the_horizon_and_are_read_back_as_they_are(predictor):
    windows = trial_windows(FACTS, 4, seed=2)
    assert windows.shape == (4, SHAPE.num_rows, SHAPE.num_columns)
    assert np.isfinite(windows[:, SHAPE.length :, 0]).all()
    assert predictor.read(record_of("readings", windows[0], SHAPE)).values.shape == windows[0].shape


def test_answers_and_cautions_are_those_of_the_channels_alone(predictor):
    task = dataclasses.replace(series_task("forecasts"), fields=(FIELD,))
    answerer = Answerer(task, predictor, HEAD.default_policy(task, ()))
    record = record_of("readings", WINDOWS[0], SHAPE)
    record["known_in_advance"]["promo"][1] = 40.0
    answer, cautions = answerer.answer_with_cautions(record)
    assert len(answer["judgement"].steps) == SHAPE.horizon
    assert cautions.outside == ("promo",)


def test_windows_of_a_shard_and_of_copies_keep_their_horizon():
    batch = {"features": WINDOWS[:8].reshape(8, -1), "target": CAME[:8], "weight": np.ones(8)}
    shard = shard_of(lambda: [batch], facts=FACTS, num_rows=None, seed=0)
    (first,) = shard.batches(size=8, epoch=0, shuffle=False)
    assert first.inputs[0].shape[1:] == (SHAPE.num_rows, SHAPE.num_columns)


def test_a_booster_is_told_of_each_step_what_is_known_of_it():
    figures = step_figures(WINDOWS[:3], SHAPE.channels.index("demand"), SHAPE)
    assert len(figures) == 3 * SHAPE.horizon
    assert figures[:, -1].tolist() == [0.0, 1.0] * 3
    assert figures[:, -4].tolist() == WINDOWS[:3, SHAPE.length :, 0].ravel().tolist()
    blind = dataclasses.replace(SHAPE, in_advance=(), calendar=())
    assert len(step_figures(WINDOWS[:3, : SHAPE.length, :3], 2, blind)) == 3


def test_trial_windows_of_one_channel_are_windows_that_a_request_may_hold():
    shape = SequenceShape(length=6, channels=("demand",), horizon=2)
    facts = series_facts(shape, WINDOWS[:, :6, 2:3], head="forecasts", target="demand")
    reader = WindowReader(Signature(fields=(dataclasses.replace(FIELD, shape=shape),)))
    for window in trial_windows(facts, 8, seed=1):
        assert np.isfinite(reader.record(record_of("readings", window, shape)).values).all()
