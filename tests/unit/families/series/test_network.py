"""The networks of series: maps that add up, quantiles that rise, and reasons that matter."""

import numpy as np
import pytest
import torch

from spt_core.families.series.config import SeriesConfig
from spt_core.families.series.network import (
    ForecastNetwork,
    ResidualNetwork,
    StudentNetwork,
    UsualWindows,
    series_network,
)
from spt_core.families.series.serving import stretches
from spt_core.heads.forecasts import LEVELS
from tests.tiny_models import SERIES_CONFIG, SERIES_SHAPE, series_windows, tiny_series_facts

WINDOWS = torch.from_numpy(series_windows(40, 3))


def network(head, role="student", config=SERIES_CONFIG):
    torch.manual_seed(0)
    return series_network(config, role, tiny_series_facts(head)).eval()


@pytest.mark.parametrize("head", ["regression", "single_label"])
@torch.no_grad()
def test_scores_differ_from_a_typical_window_s_by_the_sum_of_the_map(head):
    student = network(head)
    assert isinstance(student, StudentNetwork)
    student.set_typical(WINDOWS)
    size = len(student.scale)
    student.calibrate([2.0] * size, [5.0] * size)
    scores, parts = student.explain(WINDOWS)
    rest = scores[:, : parts.shape[1]] - parts.sum((2, 3))
    assert torch.allclose(rest, rest[:1].expand_as(rest), atol=1e-4)


@torch.no_grad()
def test_an_interval_holds_its_value():
    value, low, high = network("regression")(WINDOWS).T
    assert (low <= value).all()
    assert (value <= high).all()


@torch.no_grad()
def test_an_anomaly_s_score_is_the_sum_of_its_map_and_none_of_it_is_negative():
    student = network("anomalies")
    assert isinstance(student, ResidualNetwork)
    cells = SERIES_SHAPE.length * 2
    student.set_usual(
        UsualWindows(np.eye(2, cells), np.ones(2), np.zeros(cells), np.ones(2), np.ones(3))
    )
    scores, parts = student.explain(WINDOWS)
    assert torch.allclose(scores[:, 0], parts.sum((1, 2, 3)), atol=1e-4)
    assert (parts >= 0).all()


@torch.no_grad()
def test_what_is_expected_next_does_not_know_the_last_reading():
    student, changed = network("anomalies"), WINDOWS.clone()
    changed[:, -1] += 100.0
    assert torch.equal(student(WINDOWS), student(changed))


@pytest.mark.parametrize("role", ["teacher", "student"])
@torch.no_grad()
def test_quantiles_of_demand_rise_with_their_level_and_are_never_negative(role):
    forecasts = network("forecasts", role)
    quantiles = forecasts(WINDOWS).unflatten(1, (-1, SERIES_SHAPE.horizon, len(LEVELS)))
    assert (quantiles >= 0).all()
    assert (quantiles.diff(dim=3) >= 0).all()


@torch.no_grad()
def test_a_window_of_zeros_has_a_forecast():
    student = network("forecasts")
    assert isinstance(student, ForecastNetwork)
    assert torch.isfinite(student(torch.zeros(2, SERIES_SHAPE.length, 2))).all()


@torch.no_grad()
def test_an_unknown_channel_counts_as_usual():
    student, unknown = network("regression"), WINDOWS.clone()
    unknown[:, :, 1] = torch.nan
    usual = WINDOWS.clone()
    usual[:, :, 1] = student.usual.center[1]
    assert torch.equal(student(unknown), student(usual))


def test_the_stretch_of_a_channel_is_where_most_of_its_effect_lies():
    effects = np.zeros((8, 2), np.float32)
    effects[2:5, 0], effects[6, 0], effects[7, 1] = -1.0, 0.25, 0.5
    first, second = stretches(effects, np.ones((8, 2), np.float32), ("speed", "heat"))
    assert (first.channel, first.start, first.end, first.effect) == ("speed", 2, 5, -2.75)
    assert (second.channel, second.start, second.end, second.effect) == ("heat", 7, 8, 0.5)


def test_the_stretch_of_an_error_is_where_it_is_above_its_mean():
    errors = np.full((8, 1), 0.1, np.float32)
    errors[5:7] = 2.0
    (stretch,) = stretches(errors, np.ones((8, 1), np.float32), ("cpu",))
    assert (stretch.start, stretch.end) == (5, 7)


def test_what_the_map_names_moves_the_answer_more_than_other_channels():
    draw = np.random.default_rng(0)
    windows = draw.normal(size=(200, 12, 5)).astype(np.float32)
    target = 2.0 * windows[:, -4:, 3].mean(1) + 0.7 * windows[:, :, 1].mean(1)
    facts = tiny_series_facts("regression") | {
        "length": 12,
        "center": [0.0] * 5,
        "spread": [1.0] * 5,
        "channels": list("abcde"),
    }
    torch.manual_seed(0)
    config = SeriesConfig(student_kernels=(3,), student_filters=2, student_width=8, dropout=0.0)
    student = series_network(config, "student", facts)
    assert isinstance(student, StudentNetwork)
    inputs, wanted = torch.from_numpy(windows), torch.from_numpy(target.astype(np.float32))
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        ((student(inputs)[:, 0] - wanted) ** 2).mean().backward()
        optimizer.step()
    student.eval().set_typical(inputs)
    with torch.no_grad():
        scores, parts = student.explain(inputs)
        strongest = parts[:, 0].sum(1).abs().argmax(1)
        moved = []
        for channels in (strongest, torch.from_numpy(draw.integers(0, 5, 200))):
            without = inputs.clone()
            without[torch.arange(200), :, channels] = 0.0
            moved.append((student(without)[:, 0] - scores[:, 0]).abs().mean())
    assert moved[0] > 1.5 * moved[1]
