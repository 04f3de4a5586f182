"""Telemedicine triage: which level is given, and what the sample's levels come from."""

from __future__ import annotations

import numpy as np
import pytest

from industries.healthcare.clinical_decision_support import SYMPTOMS
from industries.healthcare.telemedicine_triage import (
    DISPOSITIONS,
    MAX_UNDERTRIAGE,
    RISING,
    least_level,
    sample,
)
from spt_core.judgement import FieldEffect, Labels, LabelScore, UnseenTerm
from spt_core.policy import LabelPolicy
from spt_core.task import find

TASK = find("healthcare/telemedicine_triage")
POLICY = LabelPolicy(thresholds={}, most_probable=True)
CALM = {SYMPTOMS: ["headache"], "patient.vitals.hr": 70}


def answer(probabilities, record=CALM, **more):
    names = sorted(probabilities, key=lambda name: -probabilities[name])
    scores = tuple(
        LabelScore(name, probabilities[name], i == 0, (FieldEffect(SYMPTOMS, name, 1.0),))
        for i, name in enumerate(names)
    )
    return TASK.respond(Labels(record, scores, POLICY, **more))


@pytest.mark.parametrize(
    ("probabilities", "level"),
    [
        ({"routine": 0.97, "soon": 0.02, "urgent": 0.01}, "routine"),
        ({"routine": 0.9, "soon": 0.06, "urgent": 0.03, "emergency": 0.01}, "soon"),
        ({"routine": 0.9, "soon": 0.04, "emergency": 0.06}, "emergency"),
        ({"urgent": 1.0}, "urgent"),
        ({"routine": 1.0}, "routine"),
    ],
)
def test_the_level_is_the_lowest_that_is_hardly_too_low(probabilities, level):
    assert least_level(probabilities) == level
    response = answer(probabilities)
    assert response["urgency_level"] == level
    assert response["disposition"] == DISPOSITIONS[level]
    assert response["undertriage_probability"] <= MAX_UNDERTRIAGE


def test_an_alarm_raises_the_level_and_never_lowers_it():
    response = answer({"routine": 1.0}, CALM | {SYMPTOMS: ["Chest pain"]})
    assert response["urgency_level"] == "urgent"
    assert response["alarms"] == ["patient.symptoms holds chest_pain"]
    response = answer({"emergency": 1.0}, CALM | {SYMPTOMS: ["Chest pain"]})
    assert response["urgency_level"] == "emergency"


def test_symptoms_that_the_model_does_not_know_and_vital_signs_at_home_raise_the_level():
    unseen = (UnseenTerm(SYMPTOMS, "odd_taste", None),)
    assert answer({"routine": 1.0}, unseen=unseen)["urgency_level"] == "urgent"
    response = answer({"routine": 1.0}, CALM | {"patient.vitals.spo2": 92})
    assert response["early_warning"]["score"] == 2
    assert "patient.vitals.bp" in response["early_warning"]["missing"]
    response = answer({"routine": 1.0}, CALM | {SYMPTOMS: ["facial droop"]})
    assert response["urgency_level"] == "emergency"
    response = answer({"routine": 1.0}, CALM | {"patient.vitals.consciousness": "unresponsive"})
    assert response["disposition"] == "send an ambulance"


def test_reasons_are_those_of_the_level_that_the_model_gives():
    response = answer({"routine": 0.9, "emergency": 0.1})
    assert response["reasoning"][0]["value"] == "emergency"


def test_what_limits_the_answer_is_in_its_notice():
    unseen = (UnseenTerm(SYMPTOMS, "hedache", "headache"),)
    odd = {"outside": ("patient.age",), "novel": ("patient.gender",)}
    response = answer({"routine": 1.0}, unseen=unseen, **odd)
    assert "patient.age" in response["notice"]
    assert "patient.gender is " in response["notice"]
    assert "had no part" in response["notice"]
    assert response["unknown_terms"][0]["nearest_known"] == "headache"


def test_the_sample_has_every_level_and_pain_that_rises_with_it():
    rows = sample(4000, 0)
    levels, pain = np.array(rows["urgency"].to_pylist()), rows["pain"].to_numpy()
    means = [pain[levels == level].mean() for level in RISING]
    assert set(levels) == set(RISING)
    assert means == sorted(means)


def test_less_is_measured_at_home():
    rows = sample(1000, 0)
    assert 0.25 < rows["patient.vitals.hr"].null_count / 1000 < 0.42
    assert 0.45 < rows["patient.vitals.temperature"].null_count / 1000 < 0.7
    assert "patient.vitals.bp" not in rows.column_names
