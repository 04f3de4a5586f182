"""What a teacher of series is made of: blends of networks and boosters, copies for its student."""

import numpy as np
import pytest
import torch

from spt_core.families.series.boosters import WindowBooster, fit_booster
from spt_core.families.series.ensemble import best_share, blended
from spt_core.families.series.facts import half_life, scale_weights, series_facts, with_seen
from spt_core.families.series.learner import pinball
from spt_core.families.series.network import Rises
from spt_core.families.series.rows import shard_of
from spt_core.families.series.softening import copied_windows
from spt_core.families.series.statistics import FIGURES, window_statistics
from spt_core.signature import Field, SequenceShape, Signature
from tests.tiny_models import SERIES_SHAPE, series_windows, tiny_series_facts

WINDOWS = series_windows(200, 0)


def test_statistics_are_those_of_each_channel():
    figures = window_statistics(WINDOWS).reshape(200, len(FIGURES), 2)
    assert figures[:, 0] == pytest.approx(WINDOWS.mean(1), rel=1e-5)
    assert np.array_equal(figures[:, 4], WINDOWS[:, -1])
    rising = np.arange(8, dtype=np.float32)[None, :, None]
    slope = window_statistics(rising)[0, FIGURES.index("slope")]
    assert slope == pytest.approx(1.0)


def test_a_booster_survives_as_text_and_has_as_many_trees_as_asked():
    targets = WINDOWS[:, -1, :1] - 10.0
    booster = fit_booster("regression", (WINDOWS, targets), None, num_trees=7, seed=0)
    again = WindowBooster(booster.to_text(), "regression")
    assert again.num_trees == 7
    assert again.outputs(WINDOWS) == pytest.approx(booster.outputs(WINDOWS))


def test_the_booster_s_share_is_that_of_least_error():
    facts, draw = tiny_series_facts("regression"), np.random.default_rng(0)
    true = draw.normal(size=(300, 1))
    noise = draw.normal(size=(300, 4))
    said = np.column_stack([true + noise[:, :1], true - 1, true + 1])
    assert best_share(said, true, true, facts) == 1.0
    assert best_share(said, true + noise[:, 1:2], true, facts) == pytest.approx(0.5, abs=0.11)
    moved = blended(said, true, 0.5, facts)
    assert moved[:, 1] - moved[:, 0] == pytest.approx(said[:, 1] - said[:, 0])


def test_copies_stay_within_what_their_windows_span_and_have_no_gaps():
    copies = copied_windows(WINDOWS, np.random.default_rng(0), 1.0, 0.5)
    assert copies.shape == WINDOWS.shape
    assert np.isfinite(copies).all()
    assert copies.min() >= WINDOWS.min()
    assert copies.max() <= WINDOWS.max()
    assert not np.array_equal(copies, WINDOWS)


def test_facts_say_what_is_usual_and_which_channels_never_stand_still():
    still = WINDOWS.copy()
    still[:, :, 1] = 5.0
    facts = series_facts(SERIES_SHAPE, still, head="regression")
    assert facts["moves"] == [True, False]
    assert facts["center"][0] == pytest.approx(10.0, abs=0.3)
    assert facts["spread"][1] == 1.0


def test_facts_know_the_greatest_label_where_there_are_labels():
    values = np.minimum(np.arange(len(WINDOWS), dtype=np.float64), 125.0)
    facts = series_facts(SERIES_SHAPE, WINDOWS, head="regression", values=values)
    assert facts["value_greatest"] == values.max()
    assert series_facts(SERIES_SHAPE, WINDOWS, head="anomalies")["value_greatest"] is None


def test_counts_are_seen_to_be_whole():
    counted = np.round(WINDOWS)
    counted[0, 0, 1] = np.nan
    of = dict(head="forecasts", target="heat")
    assert series_facts(SERIES_SHAPE, counted, **of)["is_whole"] is True
    assert series_facts(SERIES_SHAPE, WINDOWS, **of)["is_whole"] is False


def swings(num_windows, length, memory):
    """Absolute values whose variance remembers a share of each last one: GARCH(1,1), or none."""
    draw, variance = np.random.default_rng(2), np.ones(num_windows)
    readings = np.empty((num_windows, length), np.float32)
    for step in range(length):
        readings[:, step] = np.sqrt(variance) * np.abs(draw.standard_normal(num_windows))
        variance = 1.0 - memory + memory * (0.88 * variance + 0.12 * readings[:, step] ** 2)
    return readings


def test_late_readings_weigh_more_in_the_scale_where_swings_cluster():
    clustered = half_life(swings(3000, 64, 0.99), horizon=1, least=0.1)
    assert clustered is not None
    assert 2.0 <= clustered <= 16.0
    steady = half_life(swings(3000, 64, 0.0), horizon=1, least=0.1)
    assert steady is None or steady >= 16.0
    assert half_life(np.ones((5, 1), np.float32), horizon=1, least=0.1) is None


@pytest.mark.parametrize("half_life_steps", [None, 4.0])
def test_weights_of_a_scale_sum_to_one_and_never_fall(half_life_steps):
    weights = scale_weights(9, half_life_steps)
    assert weights.sum() == pytest.approx(1.0)
    assert np.all(np.diff(weights) >= 0.0)
    assert weights[-1] / weights[-5] == pytest.approx(1.0 if half_life_steps is None else 2.0)


@torch.no_grad()
def test_a_storm_of_today_widens_a_forecast_and_one_of_long_ago_does_not():
    facts = series_facts(SERIES_SHAPE, WINDOWS, head="forecasts", target="heat")
    rises = Rises(facts | {"half_life_steps": 1.0})
    calm = torch.ones(1, len(WINDOWS[0]), len(facts["center"]))
    late, early = calm.clone(), calm.clone()
    late[:, -1], early[:, 0] = 90.0, 90.0
    usual, storm, memory = (rises.relative(window)[1].item() for window in (calm, late, early))
    assert storm > 2.0 * usual
    assert memory < 1.1 * usual


def test_a_signature_says_what_each_channel_read_in_training():
    signature = Signature(fields=(Field(name="readings", kind="sequence", shape=SERIES_SHAPE),))
    seen = with_seen(signature, "readings", WINDOWS).field("readings").shape.seen
    assert seen[0] == pytest.approx((WINDOWS[..., 0].min(), WINDOWS[..., 0].max()))


def test_the_pinball_loss_is_least_at_the_quantile():
    import torch

    true = torch.from_numpy(np.random.default_rng(0).normal(size=(4000, 1))).float()
    weights, level = torch.ones(4000), torch.tensor([0.95])
    losses = [
        float(pinball(torch.full((4000, 1), at), true, level, weights)) for at in (1.2, 1.645, 2.1)
    ]
    assert losses[1] == min(losses)


@pytest.mark.parametrize("num_rows", [None, 20])
def test_each_epoch_has_every_window_once_in_an_order_of_its_own(num_rows):
    features = WINDOWS[:20].reshape(20, -1)
    batch = {"features": features, "target": np.arange(20)[:, None], "weight": np.ones(20)}
    shard = shard_of(
        lambda: [batch], facts=tiny_series_facts("regression"), num_rows=num_rows, seed=1
    )

    def order(epoch):
        batches = shard.batches(size=6, epoch=epoch, shuffle=True)
        return [int(v) for b in batches for v in b.targets[:, 0]]

    assert sorted(order(0)) == list(range(20))
    assert order(0) == order(0)
    assert order(0) != order(1)
    rest = [
        int(v) for b in shard.batches(size=6, epoch=0, shuffle=True, start=2) for v in b.targets
    ]
    assert rest == order(0)[12:]


def test_another_channel_is_told_to_clients():
    other = SequenceShape(length=9, channels=("speed", "load"), step=30.0)
    new = Signature(fields=(Field(name="readings", kind="sequence", shape=other),))
    old = Signature(fields=(Field(name="readings", kind="sequence", shape=SERIES_SHAPE),))
    problems = " ".join(new.problems_for(old))
    assert "channel 'load' of 'readings' is new" in problems
    assert "channel 'heat' of 'readings' is gone" in problems
    assert "longer: 9 readings" in problems
    assert "30 apart, not 60" in problems
    assert old.problems_for(old) == []
