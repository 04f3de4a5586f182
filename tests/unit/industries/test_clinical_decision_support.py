"""Clinical decision support: the clinicians' table, the urgency, and what the answer says."""

from __future__ import annotations

import json

import pytest

from industries.healthcare.clinical_decision_support import NOTICE, PROFILES, SYMPTOMS
from industries.healthcare.clinical_knowledge import KNOWLEDGE, TABLE, read_knowledge
from spt_core.errors import InputError
from spt_core.judgement import FieldEffect, Labels, LabelScore, UnseenTerm
from spt_core.policy import LabelPolicy
from spt_core.records import flatten
from spt_core.task import find

TASK = find("healthcare/clinical_decision_support")
POLICY = LabelPolicy(thresholds={}, most_probable=True, coverage=0.95, set_threshold=0.1)
CALM = {SYMPTOMS: ["headache"], "patient.vitals.bp": "120/80", "patient.vitals.hr": 70}


def answer(probabilities, record=CALM, **more):
    reasons = (FieldEffect(SYMPTOMS, "headache", 1.5),)
    scores = tuple(
        LabelScore(name, p, i == 0, reasons) for i, (name, p) in enumerate(probabilities.items())
    )
    return TASK.respond(Labels(record, scores, POLICY, **more))


def test_the_diagnoses_are_the_set_with_what_the_table_says_of_each():
    told = answer({"migraine": 0.8, "influenza": 0.15, "malaria": 0.05})
    assert [d["diagnosis"] for d in told["differential_diagnoses"]] == ["migraine", "influenza"]
    assert told["differential_diagnoses"][0]["sources"] == ["NICE-CG150"]
    assert told["coverage"] == 0.95
    assert told["reasoning"][0]["value"] == "headache"
    assert told["notice"].startswith(NOTICE)
    assert KNOWLEDGE.version in told["notice"]


def test_the_urgency_is_that_of_the_most_urgent_diagnosis_of_the_set():
    assert answer({"migraine": 0.95, "malaria": 0.05})["urgency_level"] == "routine"
    assert answer({"migraine": 0.85, "malaria": 0.15})["urgency_level"] == "emergency"


def test_the_tests_of_the_most_urgent_diagnosis_come_first():
    told = answer({"migraine": 0.8, "acute_coronary_syndrome": 0.2})
    assert told["recommended_tests"][0] == {
        "test": "12-lead ECG",
        "for": ["acute_coronary_syndrome"],
    }


@pytest.mark.parametrize(
    ("change", "urgency", "fact"),
    [
        ({SYMPTOMS: ["Chest pain"]}, "urgent", "patient.symptoms holds chest_pain"),
        ({SYMPTOMS: '["confusion"]'}, "emergency", "patient.symptoms holds confusion"),
        ({"patient.vitals.bp": "85/50"}, "urgent", "patient.vitals.bp is 85, at most 90"),
        ({"patient.vitals.hr": "140"}, "urgent", "patient.vitals.hr is 140, at least 131"),
        ({"patient.vitals.spo2": 90}, "urgent", "patient.vitals.spo2 is 90, at most 91"),
    ],
)
def test_alarms_are_urgent_whatever_the_diagnosis(change, urgency, fact):
    told = answer({"migraine": 1.0}, CALM | change)
    assert told["urgency_level"] == urgency
    assert told["alarms"] == [fact]


def test_a_diagnosis_that_the_table_lacks_is_urgent_and_said():
    told = answer({"a new disease": 1.0})
    assert told["urgency_level"] == "urgent"
    assert told["recommended_tests"] == []
    assert "The table says nothing of a new disease." in told["notice"]


def test_unknown_terms_are_told_with_the_nearest_one():
    unseen = (UnseenTerm(SYMPTOMS, "chest_pian", "chest_pain"),)
    told = answer({"migraine": 1.0}, unseen=unseen, outside=("patient.age",))
    assert told["unknown_terms"] == [
        {"field": SYMPTOMS, "term": "chest_pian", "nearest_known": "chest_pain"}
    ]
    assert "patient.age" in told["notice"]


def test_the_table_knows_every_diagnosis_of_the_sample_and_no_clinician_has_read_it():
    assert set(PROFILES) <= set(KNOWLEDGE.diagnoses)
    assert KNOWLEDGE.reviewed_by is None
    assert "reviewed by NO clinician" in answer({"migraine": 1.0})["notice"]


def test_the_specification_s_case_is_the_example():
    flat = flatten(TASK.example)
    assert flat["patient.vitals.bp"] == "150/95"
    assert flat[SYMPTOMS] == ["chest_pain", "shortness_of_breath"]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"urgency_of_others": "later"}, "an urgency of others"),
        ({"diagnoses": {"Gout": {}}}, "must have its keys"),
        ({"sources": {}}, "must name sources of the table"),
        (
            {"red_flags": [{"field": "x", "term": "y", "urgency": "now", "sources": []}]},
            "must be one of emergency, urgent",
        ),
        ({"extra": 1}, "must have its keys"),
    ],
)
def test_a_table_that_is_none_is_refused_in_a_sentence(change, rule):
    content = json.loads(TABLE.read_text()) | change
    with pytest.raises(InputError, match=rule):
        read_knowledge(json.dumps(content))


def test_a_table_that_is_no_json_is_refused():
    with pytest.raises(InputError, match="the table of clinical knowledge"):
        read_knowledge("[1, 2")
