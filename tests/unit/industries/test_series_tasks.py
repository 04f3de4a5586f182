"""The wording of tasks on series: risks that follow an interval, stocks that follow quantiles."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.compute as pc
import pytest

from industries.manufacturing import supply_chain
from industries.manufacturing.predictive_maintenance import (
    CAP_CYCLES,
    HORIZON_CYCLES,
    failure_probability,
    sample,
)
from industries.technology import performance_monitoring
from spt_core.errors import InputError
from spt_core.heads.forecasts import LEVELS
from spt_core.judgement import Anomaly, Forecast, Silence, Stretch, Value
from spt_core.policy import AlarmPolicy, IntervalPolicy, QuantilePolicy
from spt_core.task import find

INTERVAL = IntervalPolicy(coverage=0.9, margin=0.0)
ALARMS = AlarmPolicy(threshold=2.0, alarms_per_day=1.0)
LEAK = (Stretch("memory", 22, 32, 81.0, 5.0), Stretch("cpu", 0, 3, 40.0, 0.1))


def life(value: float, low: float, high: float, outside: tuple[str, ...] = ()) -> Value:
    return Value({}, value, low, high, LEAK, INTERVAL, outside)


def demand(mean: float, **record: object) -> Forecast:
    quantiles = np.quantile(np.random.default_rng(0).poisson(mean, 50_000), LEVELS).tolist()
    steps = (dict(zip(LEVELS, quantiles, strict=True)),) * 6
    policy = QuantilePolicy(levels=LEVELS, shifts=(0.0,) * len(LEVELS))
    return Forecast(record, steps, (), policy)


def test_a_failure_is_as_likely_as_the_interval_says() -> None:
    assert failure_probability(life(30.0, 10.0, 50.0), 30.0) == pytest.approx(0.5)
    assert failure_probability(life(30.0, 10.0, 50.0), 50.0) == pytest.approx(0.95, abs=1e-3)
    assert failure_probability(life(30.0, 10.0, 50.0), 10.0) == pytest.approx(0.05, abs=1e-3)
    assert failure_probability(life(120.0, 100.0, 125.0), HORIZON_CYCLES) < 0.001


def test_a_machine_near_its_end_is_to_be_stopped_and_one_far_from_it_runs_on() -> None:
    respond = find("manufacturing/predictive_maintenance").respond
    near, far = respond(life(8.0, 2.0, 15.0)), respond(life(110.0, 90.0, 125.0))
    assert near["recommendation"].startswith("Plan a stop now")
    assert far["recommendation"].startswith("Run on")
    assert near["failure_probability"] > 0.99 > 0.01 > far["failure_probability"]
    assert near["contributing_sensors"][0]["sensor"] == "memory"


def test_a_sensor_beyond_all_of_training_is_what_to_look_at_first() -> None:
    answer = find("manufacturing/predictive_maintenance").respond(life(8.0, 2.0, 15.0, ("heat",)))
    assert answer["recommendation"].startswith("Check heat first")


def test_a_request_states_the_horizon_of_its_failure() -> None:
    respond = find("manufacturing/predictive_maintenance").respond
    usual = respond(life(60.0, 40.0, 80.0))
    assert (usual["horizon_cycles"], usual["failure_probability"]) == (
        30,
        pytest.approx(0.0068, abs=1e-4),
    )
    own = respond(life(60.0, 40.0, 80.0)._replace(record={"horizon_cycles": 60}))
    assert (own["horizon_cycles"], own["failure_probability"]) == (60, 0.5)
    assert "within the horizon of 60 is more likely than not" in own["recommendation"]
    with pytest.raises(InputError, match="horizon_cycles must be a whole number, however: 2.5"):
        respond(life(60.0, 40.0, 80.0)._replace(record={"horizon_cycles": 2.5}))


def test_a_horizon_that_no_life_of_training_exceeds_is_refused() -> None:
    respond = find("manufacturing/predictive_maintenance").respond
    whole = life(125.0, 110.0, 126.0)._replace(greatest=125.0)
    for horizon in (125, 150):
        with pytest.raises(
            InputError, match=rf"horizon_cycles must be below 125, .* however: {horizon}$"
        ):
            respond(whole._replace(record={"horizon_cycles": horizon}))
    told = respond(whole._replace(record={"horizon_cycles": 100}))
    assert told["failure_probability"] < 0.01
    assert told["recommendation"] == "Run on: a failure within the horizon of 100 is unlikely."


def test_lives_without_a_cap_are_told_over_longer_horizons() -> None:
    respond = find("manufacturing/predictive_maintenance").respond
    long = life(260.0, 220.0, 300.0)._replace(greatest=400.0)
    told = respond(long._replace(record={"horizon_cycles": 260}))
    assert told["failure_probability"] == 0.5
    assert told["recommendation"].startswith("Plan a stop now")


@pytest.mark.parametrize(
    ("record", "greatest", "reason"),
    [
        ({"horizon_cycles": 150}, None, "it does not know the greatest life of its training"),
        ({}, 24.0, "no life of its training was longer than 24"),
    ],
)
def test_a_horizon_that_may_be_beyond_all_lives_is_said_to_be_unknown(
    record: dict[str, object], greatest: float | None, reason: str
) -> None:
    judgement = life(125.0, 110.0, 126.0)._replace(record=record, greatest=greatest)
    told = find("manufacturing/predictive_maintenance").respond(judgement)
    assert (told["failure_probability"], told["confidence"]) == (None, None)
    assert "this model cannot tell" in told["recommendation"]
    assert reason in told["recommendation"]
    assert "Plan a stop" not in told["recommendation"]


def test_a_lost_sensor_does_not_hide_a_failure_that_the_others_see() -> None:
    respond = find("manufacturing/predictive_maintenance").respond
    near = life(8.0, 2.0, 15.0)._replace(silent=(Silence("load", 30, 30),))
    told = respond(near)["recommendation"]
    assert told.startswith("Check load first")
    assert "Plan a stop now" in told


def test_a_lost_sensor_is_what_to_look_at_and_never_runs_on() -> None:
    respond = find("manufacturing/predictive_maintenance").respond
    far = life(110.0, 90.0, 125.0)
    lost = (Silence("load", 30, 30), Silence("oil_pressure", 30, 30))
    told = respond(far._replace(silent=lost))["recommendation"]
    assert told.startswith("Check load and oil_pressure first: the window has no reading of load ")
    told = respond(far._replace(silent=lost[:1], outside=("heat",)))["recommendation"]
    assert told.startswith("Check load and heat first")
    assert "heat reads beyond" in told
    assert "run on" not in told.lower()


def test_metrics_without_a_reading_are_never_as_usual() -> None:
    respond = find("technology/performance_monitoring").respond
    lost = (Silence("cpu", 32, 32), Silence("errors", 5, 32))
    told = respond(anomaly(1.0)._replace(silent=lost))["recommendation"]
    assert told == (
        "No alarm, but check cpu and errors. The window has no reading of cpu, none of errors in "
        "the last 5 of 32 steps: whether that is as usual is not known."
    )
    alarm = respond(anomaly(9.0)._replace(silent=lost))["recommendation"]
    assert alarm.startswith("Look: memory is not as usual. The window has no reading of cpu")


def test_a_metric_beyond_training_without_an_alarm_is_not_called_usual() -> None:
    respond = find("technology/performance_monitoring").respond
    told = respond(anomaly(1.0)._replace(outside=("cpu",)))["recommendation"]
    assert told.startswith("No alarm, but check cpu. cpu reads beyond all of training")
    assert "Nothing to do" not in told
    assert respond(anomaly(1.0))["recommendation"].startswith("Nothing to do")


@pytest.mark.parametrize("path", ["manufacturing/supply_chain", "financial_services/market_risk"])
def test_a_forecast_of_a_window_that_went_silent_says_so(path: str) -> None:
    task = find(path)
    lost = demand(4.0)._replace(silent=(Silence("demand", 6, 12),))
    told = task.respond(lost)["recommendation"]
    assert "no reading of demand in the last 6 of 12 steps" in told


@pytest.mark.parametrize("path", ["manufacturing/supply_chain", "financial_services/market_risk"])
def test_a_forecast_names_the_channel_that_is_like_none_of_training(path: str) -> None:
    odd = demand(4.0)._replace(outside=("demand",))
    advice = find(path).respond(odd)["recommendation"]
    assert "In the request demand reads beyond all of training, or stands still: " in advice


def test_a_large_stock_is_told_to_the_piece() -> None:
    answer = find("manufacturing/supply_chain").respond(demand(1_234_567.0))
    assert f"falls to {answer['reorder_point']:,.0f}: " in answer["recommendation"]
    assert "e+" not in answer["recommendation"]


def test_no_life_is_below_nothing() -> None:
    answer = find("manufacturing/predictive_maintenance").respond(life(-3.0, -9.0, 4.0))
    assert answer["remaining_useful_life"] == 0.0
    assert answer["interval"]["low"] == 0.0


def test_the_sample_s_machines_end_with_no_cycle_left_and_wear_before() -> None:
    table = sample(6000, 0)
    first = table.filter(pc.equal(table["machine"], "M001"))
    left = first["remaining_useful_life"].to_pylist()
    assert left[-1] == 0
    assert max(left) <= CAP_CYCLES
    pressure = first["oil_pressure"].to_numpy()
    assert pressure[-10:].mean() < pressure[:40].mean() - 0.5


def anomaly(score: float, **record: object) -> Anomaly:
    return Anomaly(record, score, score >= ALARMS.threshold, LEAK, ALARMS)


def test_severity_follows_how_often_the_threshold_is_reached() -> None:
    respond = find("technology/performance_monitoring").respond
    severities = [respond(anomaly(score))["severity"] for score in (1.0, 3.0, 8.0, 50.0)]
    assert severities == ["none", "moderate", "high", "severe"]


def test_an_alarm_says_when_it_began_by_the_reading_s_own_time() -> None:
    moments = tuple(f"10:{minute:02d}" for minute in range(32))
    respond = find("technology/performance_monitoring").respond
    answer = respond(anomaly(6.0)._replace(moments=moments))
    assert answer["started_at"] == "10:22"
    assert [m["metric"] for m in answer["contributing_metrics"]] == ["memory"]
    without = find("technology/performance_monitoring").respond(anomaly(6.0))
    assert without["started_at"] == "step 22 of the window"


def test_the_monitoring_sample_s_first_third_is_usual() -> None:
    table = performance_monitoring.sample(6000, 0)
    flags = np.asarray(table["is_anomaly"])
    assert flags[: int(0.29 * 6000)].sum() == 0
    assert 0.02 < flags.mean() < 0.4


def test_a_reorder_point_rises_with_the_service_level_and_the_lead_time() -> None:
    points = [
        supply_chain.reorder_point(demand(4.0), service, lead_time)
        for service, lead_time in ((0.8, 1), (0.95, 1), (0.95, 3), (0.99, 3))
    ]
    assert points == sorted(points)
    assert len(set(points)) == 4


def test_a_reorder_point_covers_a_lead_time_of_independent_demand() -> None:
    point = supply_chain.reorder_point(demand(4.0), 0.95, 3)
    totals = np.random.default_rng(1).poisson(4.0, (20_000, 3)).sum(1)
    assert np.mean(totals <= point) >= 0.95
    assert point <= np.quantile(totals, 0.95) + 2  # counts are whole, and the sum is rounded up


def test_a_reorder_point_of_a_slow_mover_covers_what_is_asked() -> None:
    draw = np.random.default_rng(0)
    came = np.where(draw.random((200_000, 6)) < 0.04, 1 + draw.poisson(2.0, (200_000, 6)), 0)
    step = dict(zip(LEVELS, np.quantile(came, LEVELS, method="inverted_cdf").tolist(), strict=True))
    slow = demand(1.0)._replace(steps=(step,) * 6)
    for service in (0.8, 0.9, 0.95, 0.99):
        point = supply_chain.reorder_point(slow, service, 6)
        assert np.mean(came.sum(1) <= point) >= service - 0.002


def test_a_reorder_point_is_worded_as_an_estimate_with_its_assumption() -> None:
    respond = find("manufacturing/supply_chain").respond
    told = respond(demand(4.0, lead_time_steps=1))["recommendation"]
    assert "by this forecast the next step asks for no more in 95 % of cases" in told
    assert "demand that comes in clusters needs more" in told
    assert "covers" not in told


def test_a_request_states_its_own_service_level_and_lead_time() -> None:
    respond = find("manufacturing/supply_chain").respond
    usual = respond(demand(4.0))
    assert (usual["service_level"], usual["lead_time_steps"]) == (0.95, 3)
    own = respond(demand(4.0, service_level=0.99, lead_time_steps=1))
    assert (own["service_level"], own["lead_time_steps"]) == (0.99, 1)
    assert json.loads(json.dumps(own)) == own


def test_without_a_lead_time_a_short_horizon_is_taken_whole() -> None:
    respond = find("manufacturing/supply_chain").respond
    short = demand(4.0)._replace(steps=demand(4.0).steps[:2])
    assert respond(short)["lead_time_steps"] == 2


def test_a_service_level_is_told_as_it_was_asked_for() -> None:
    told = find("manufacturing/supply_chain").respond(demand(4.0, service_level=0.975))
    assert "in 97.5 % of cases" in told["recommendation"]


@pytest.mark.parametrize(("steps", "rule"), [(2.5, "a whole number"), (9, "horizon of 6 steps")])
def test_a_lead_time_that_the_horizon_does_not_hold_is_refused(steps: float, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        find("manufacturing/supply_chain").respond(demand(4.0, lead_time_steps=steps))
