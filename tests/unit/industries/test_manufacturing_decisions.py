"""Failures of machines and late deliveries: answers by hand, and the known causes of samples."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from industries.manufacturing import failure_detection, late_delivery
from spt_core.answers import NUM_CHECKS
from spt_core.heads import HEADS
from spt_core.heads.binary import fit_policy
from spt_core.judgement import Decision, FieldEffect
from spt_core.task import Task, find

FAILURE = find("manufacturing/failure_detection")
DELIVERY = find("manufacturing/late_delivery")
each_task = pytest.mark.parametrize(
    ("task", "module"),
    [(FAILURE, failure_detection), (DELIVERY, late_delivery)],
    ids=["failure_detection", "late_delivery"],
)


def judged(task: Task, probability: float, effects: Mapping[str, float]) -> Decision:
    policy = HEADS["binary"].default_policy(task, ())
    reasons = tuple(FieldEffect(name, 7.0, effect) for name, effect in effects.items())
    return Decision(
        dict.fromkeys(effects, 7.0),
        probability,
        policy.recommend(probability),
        max(probability, 1 - probability),
        reasons,
        policy,
    )


def answered(task: Task, probability: float, **effects: float) -> dict[str, Any]:
    return task.respond(judged(task, probability, effects))


@pytest.mark.parametrize(
    ("task", "probability", "expected"),
    [
        (FAILURE, 0.0239, "keep_running"),
        (FAILURE, 0.0241, "inspect"),
        (FAILURE, 0.8499, "inspect"),
        (FAILURE, 0.8501, "stop"),
        (DELIVERY, 0.0333, "keep_plan"),
        (DELIVERY, 0.0334, "confirm_date"),
        (DELIVERY, 0.8749, "confirm_date"),
        (DELIVERY, 0.8751, "expedite"),
    ],
)
def test_what_is_cheapest_by_the_costs_is_recommended(
    task: Task, probability: float, expected: str
) -> None:
    assert answered(task, probability)["recommendation"] == expected


@each_task
def test_more_inspections_and_calls_than_there_are_hands_for_are_not_recommended(
    task: Task, module: ModuleType
) -> None:
    assert task.costs is not None
    assert task.daily_review_capacity is not None
    assert task.daily_volume is not None
    probabilities = np.linspace(0.0, 1.0, 10_001)
    policy = fit_policy(
        task.costs,
        probabilities,
        daily_review_capacity=task.daily_review_capacity,
        daily_volume=task.daily_volume,
    )
    reviewed = [policy.recommend(probability) == "review" for probability in probabilities]
    assert np.mean(reviewed) * task.daily_volume <= task.daily_review_capacity + 1


def test_a_failure_comes_with_its_readings_and_what_to_look_at() -> None:
    answer = answered(FAILURE, 0.9, tool_wear=2.123456, torque=1.5, coolant_flow=-0.5)
    assert answer["contributing_readings"] == [
        {"field": "tool_wear", "value": 7.0, "effect": 2.1235},
        {"field": "torque", "value": 7.0, "effect": 1.5},
        {"field": "coolant_flow", "value": 7.0, "effect": -0.5},
    ]
    assert answer["checks"] == [failure_detection.CHECKS["TOOL"], failure_detection.CHECKS["LOAD"]]
    assert (answer["failure_probability"], answer["confidence"]) == (0.9, 0.9)


def test_a_delay_comes_with_its_factors_and_what_to_ask() -> None:
    answer = answered(DELIVERY, 0.2, supplier=1.0, destination=-2.0, lead_time_days=0.5)
    assert [factor["field"] for factor in answer["contributing_factors"]] == [
        "supplier",
        "destination",
        "lead_time_days",
    ]
    assert answer["checks"] == [
        late_delivery.CHECKS["SUPPLIER"],
        late_delivery.CHECKS["LEAD-TIME"],
    ]
    assert (answer["delay_probability"], answer["confidence"]) == (0.2, 0.8)


@each_task
def test_where_nothing_is_to_be_done_nothing_is_to_be_checked(
    task: Task, module: ModuleType
) -> None:
    assert answered(task, 0.001, **{task.fields[0].name: 2.0})["checks"] == []


@each_task
def test_a_check_is_named_once_and_the_strongest_come_first(task: Task, module: ModuleType) -> None:
    effects = {field.name: 1.0 for field in task.fields}
    checks = answered(task, 0.5, **effects)["checks"]
    texts = [module.CHECKS[task.reason_codes[field.name]] for field in task.fields]
    assert checks == list(dict.fromkeys(texts))[:NUM_CHECKS]


@each_task
def test_a_column_of_one_s_own_is_to_be_looked_at_by_its_name(
    task: Task, module: ModuleType
) -> None:
    (check,) = answered(task, 0.5, hall_pressure=1.0)["checks"]
    assert "hall_pressure" in check
    assert "7.0" in check


@each_task
def test_every_field_has_a_check(task: Task, module: ModuleType) -> None:
    assert set(task.reason_codes) == {field.name for field in task.fields}
    assert set(task.reason_codes.values()) == set(module.CHECKS)


def test_figures_by_destination_are_asked_for() -> None:
    assert DELIVERY.monitors("destination")
    assert DELIVERY.monitors("Country")
    assert not FAILURE.monitored


def test_an_answer_says_what_it_does_not_tell() -> None:
    assert "nothing of when" in FAILURE.answer["failure_probability"]["description"]
    assert "nothing of by how much" in DELIVERY.answer["delay_probability"]["description"]


@each_task
def test_a_sample_s_own_log_odds_are_as_good_as_the_docstring_says(
    task: Task, module: ModuleType
) -> None:
    stated = re.search(
        r"About (\S+) % .* average precision of (\d\.\d+)", " ".join(module.sample.__doc__.split())
    )
    assert stated is not None
    labels = task.sample(20_000, 0)[task.label].to_numpy()
    log_odds = module.drawn(20_000, np.random.default_rng(0)).log_odds
    assert labels.mean() * 100 == pytest.approx(float(stated[1]), abs=0.5)
    assert average_precision_score(labels, log_odds) == pytest.approx(float(stated[2]), abs=0.006)


def effects_on(labels: pd.Series, causes: Mapping[str, Any]) -> dict[str, float]:
    terms = np.column_stack([np.asarray(term, float) for term in causes.values()])
    scale = terms.std(0)
    model = LogisticRegression(C=1e6, max_iter=1000).fit(terms / scale, labels)
    return dict(zip(causes, model.coef_[0] / scale, strict=True))


def test_the_causes_of_failures_are_those_that_the_docstring_names() -> None:
    rows = FAILURE.sample(60_000, 0).to_pandas().dropna()
    power = rows["torque"] * rows["rotational_speed"] * 2 * np.pi / 60_000
    above = rows["process_temperature"] - rows["air_temperature"]
    effects = effects_on(
        rows["is_failure"],
        {
            "wear": np.maximum(rows["tool_wear"] - 190, 0),
            "power": np.maximum(power - 7.5, 0),
            "heat": np.maximum(9 - above, 0),
            "vibration": np.maximum(rows["vibration"] - 4, 0),
            "coolant": np.maximum(9 - rows["coolant_flow"], 0),
            "service": rows["service_hours"] / 1000,
            "heavy": rows["variant"] == "heavy",
            "low_wear": np.minimum(rows["tool_wear"], 190) / 100,
        },
    )
    documented = {"wear": 0.07, "power": 2.5, "heat": 2.0, "vibration": 1.5, "coolant": 1.2}
    for name, effect in (documented | {"service": 0.7}).items():
        assert effects[name] == pytest.approx(effect, rel=0.15), name
    assert abs(effects["heavy"]) < 0.2
    assert abs(effects["low_wear"]) < 0.2


def test_readings_of_a_machine_follow_each_other() -> None:
    rows = FAILURE.sample(5000, 0).to_pandas()
    machines = rows.groupby("machine")
    assert (machines.size() == failure_detection.READINGS_PER_MACHINE).all()
    assert (machines["service_hours"].diff().dropna() >= 0).all()
    worn = machines["tool_wear"].diff().dropna()
    step, life = failure_detection.READING_STEP_MIN, failure_detection.TOOL_LIFE_MIN
    assert set(worn) == {step, step - life}


def test_the_causes_of_delays_are_those_that_the_docstring_names() -> None:
    rows = DELIVERY.sample(60_000, 0).to_pandas().dropna().drop_duplicates("shipment")
    needed = rows["shipment_mode"].map({"air": 20, "truck": 30, "ocean": 70})
    suppliers = rows["supplier"].str[1:].astype(int)
    effects = effects_on(
        rows["is_late"],
        {
            "supplier": (suppliers - 5.5) * (3 / 11),
            **{name: rows["destination"] == name for name in ("inland", "island", "landlocked")},
            **{name: rows["shipment_mode"] == name for name in ("truck", "ocean")},
            "short": np.maximum(needed - rows["lead_time_days"], 0),
            "cold": rows["product_group"] == "cold_chain",
            "stocked": rows["fulfilled_from"] == "warehouse",
            "weekend": rows["scheduled_delivery"].dt.day_of_week >= 5,
            "value": np.log(rows["order_value"]),
            "incoterm": rows["incoterm"] == "DDP",
        },
    )
    documented = {"supplier": 1.0, "inland": 0.4, "island": 0.8, "landlocked": 1.2, "truck": 0.4}
    documented |= {"ocean": 0.8, "cold": 0.6, "stocked": -0.7, "weekend": 0.8, "incoterm": 0.0}
    for name, effect in documented.items():
        assert effects[name] == pytest.approx(effect, abs=0.2), name
    assert effects["short"] == pytest.approx(0.08, abs=0.01)
    assert effects["value"] == pytest.approx(0.0, abs=0.05)


def test_lines_of_a_shipment_are_late_together() -> None:
    rows = DELIVERY.sample(5000, 0).to_pandas()
    assert rows["scheduled_delivery"].is_monotonic_increasing
    shared = ["supplier", "destination", "shipment_mode", "scheduled_delivery", "is_late"]
    shipments = rows.groupby("shipment")
    assert (shipments[shared].nunique() == 1).all().all()
    assert 1 < len(rows) / len(shipments) < late_delivery.MAX_LINES


@pytest.mark.parametrize("task", [FAILURE, DELIVERY])
def test_a_field_beyond_all_training_rows_is_named_whatever_is_decided(task: Task) -> None:
    for probability in (0.001, 0.99):
        beyond = judged(task, probability, {})._replace(outside=("pressure",))
        (check,) = [text for text in task.respond(beyond)["checks"] if "pressure" in text]
        assert check.startswith("pressure lies beyond all training rows")
        assert not any("beyond" in text for text in answered(task, probability)["checks"])
