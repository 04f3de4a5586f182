"""Clinical decision support: the clinicians' table, the urgency, and what the answer says."""

from __future__ import annotations

import copy
import dataclasses
import json
import random

import pyarrow as pa
import pytest

from industries.healthcare.clinical_decision_support import HISTORY, NOTICE, PROFILES, SYMPTOMS
from industries.healthcare.clinical_knowledge import KNOWLEDGE, TABLE, read_knowledge
from industries.healthcare.early_warning import Parameter
from industries.healthcare.urgency import URGENCIES
from spt_core.artifacts import as_uri
from spt_core.errors import InputError
from spt_core.judgement import FieldEffect, Labels, LabelScore, UnseenTerm
from spt_core.model import SpecializedModel
from spt_core.policy import LabelPolicy
from spt_core.records import flatten
from spt_core.task import find
from spt_core.terms import term_of
from tests.tiny_models import NUM_ROWS, tiny_table_artifact

TASK = find("healthcare/clinical_decision_support")
POLICY = LabelPolicy(thresholds={}, most_probable=True, coverage=0.95, set_threshold=0.1)
REFLUX = "gastroesophageal_reflux_disease"
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
        (
            {"patient.vitals.bp": "85/50"},
            "urgent",
            "patient.vitals.bp is 85/50, 3 points of NEWS2",
        ),
        ({"patient.vitals.hr": "140"}, "urgent", "patient.vitals.hr is 140, 3 points of NEWS2"),
        ({"patient.vitals.spo2": 90}, "urgent", "patient.vitals.spo2 is 90, 3 points of NEWS2"),
        (
            {"patient.vitals.respiratory_rate": 26},
            "urgent",
            "patient.vitals.respiratory_rate is 26, 3 points of NEWS2",
        ),
        (
            {"patient.vitals.consciousness": "drowsy"},
            "urgent",
            "patient.vitals.consciousness is drowsy, 3 points of NEWS2",
        ),
        (
            {"patient.vitals.temperature": "40,2"},
            "urgent",
            "patient.vitals.temperature is 40.2, at least 40",
        ),
        (
            {"patient.vitals.bp": [150, 125]},
            "urgent",
            "the second of patient.vitals.bp is 125, at least 120",
        ),
        (
            {"patient.vitals.bp": "185/90"},
            "urgent",
            "the first of patient.vitals.bp is 185, at least 180",
        ),
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
    record = CALM | {"patient.gender": "M"}
    odd = {"outside": ("patient.age",), "novel": ("patient.gender",)}
    told = answer({"migraine": 1.0}, record, unseen=unseen, **odd)
    assert told["unknown_terms"] == [
        {"field": SYMPTOMS, "term": "chest_pian", "nearest_known": "chest_pain"}
    ]
    assert "patient.age" in told["notice"]
    assert "patient.gender is 'M', which no training row had" in told["notice"]


def test_symptoms_that_the_model_does_not_know_are_at_least_urgent_and_said():
    unseen = (UnseenTerm(SYMPTOMS, "odd_taste", None), UnseenTerm(HISTORY, "hernia", None))
    told = answer({REFLUX: 1.0}, CALM | {SYMPTOMS: ["odd taste"]}, unseen=unseen)
    assert told["urgency_level"] == KNOWLEDGE.urgency_of_others == "urgent"
    assert told["alarms"] == [f"{SYMPTOMS} holds what the model does not know: odd_taste"]
    of_before = answer({REFLUX: 1.0}, unseen=unseen[1:])
    assert (of_before["urgency_level"], of_before["alarms"]) == ("routine", [])


@pytest.mark.parametrize(
    "term",
    [
        *("stroke", "facial_droop", "Slurred speech", "left arm weakness", "one-sided weakness"),
        *("unresponsive", "patient is unresponsive", "no pulse", "seizures", "confused"),
        *("passed out at work", "collapsed", "can't speak", "weakness on one side", "weak arm"),
        "wants to kill himself",
    ],
)
def test_signs_of_a_stroke_and_of_lost_consciousness_are_emergencies_known_or_not(term):
    name = term_of(term, SYMPTOMS)
    for unseen in ((), (UnseenTerm(SYMPTOMS, name, None),)):
        told = answer({REFLUX: 1.0}, CALM | {SYMPTOMS: [term]}, unseen=unseen)
        assert told["urgency_level"] == "emergency"
        assert f"{SYMPTOMS} holds {name}" in told["alarms"]


@pytest.mark.parametrize(
    "term",
    [
        *("not vomiting, slurred speech", "did not wake up after seizure", "no fever; stiff neck"),
        *("no fever but stiff neck", "could not get up, one sided weakness", "no fever, confused"),
        *("not able to lift arm, facial droop", "no history of seizures, now having a seizure"),
        *("no fever and stiff neck", "no fever now slurred speech", "no fever/stiff neck"),
        *("not waking or unresponsive", "does not deny suicidal thoughts", "not breathing"),
        *("no seizure medication", "no seizures until today", "no relief of confusion"),
        *("no vomiting, slurred speech and facial droop", "no fever or chills, slurred speech"),
        *("denies fever and has stiff neck", "denies chest pain, and slurred speech since noon"),
        *("isn't breathing", "slurred speech.", "no chest pain no pulse", "no fever - stiff neck"),
    ],
)
def test_a_negation_of_something_else_leaves_an_emergency_one(term):
    told = answer({REFLUX: 1.0}, CALM | {SYMPTOMS: [term]})
    assert told["urgency_level"] == "emergency"
    assert told["alarms"] == [f"{SYMPTOMS} holds {term_of(term, SYMPTOMS)}"]


@pytest.mark.parametrize("text", ["no fever, stiff neck", "no fever, stiff neck; headache"])
def test_a_comma_parts_what_a_text_denies_from_what_it_complains_of(text):
    assert answer({REFLUX: 1.0}, CALM | {SYMPTOMS: text})["urgency_level"] == "emergency"


@pytest.mark.parametrize(
    "term",
    [
        *("no slurred speech", "denies chest pain", "without stiff neck", "no fever or stiff neck"),
        *("denies fever, chest pain and stiff neck", "denies fever, chest pain, and stiff neck"),
        *("no fever, chest pain or stiff neck", "no seizure, no chest pain", "not confused"),
        *("neither confused nor unconscious", "doesn't have a stiff neck", "no history of stroke"),
        *("no suicidal thoughts", "denies suicidal ideation", "no stiff neck but headache"),
        *("headache without stiff neck or confusion", "no chest pain at all", "No stiff neck."),
        *("denies having any chest pain", "does not have fever or stiff neck", "no chest pain"),
        *("denies_slurred_speech", "chest", "pain", "has not passed out", "no arm weakness"),
    ],
)
def test_a_sign_that_a_term_denies_or_does_not_name_is_no_red_flag(term):
    told = answer({REFLUX: 1.0}, CALM | {SYMPTOMS: [term]})
    assert (told["urgency_level"], told["alarms"]) == ("routine", [])


@pytest.mark.parametrize(
    ("term", "urgency"),
    [
        *((t, "urgent") for t in ("chest_tightness", "chest_pressure", "chest discomfort")),
        *((t, "urgent") for t in ("pressure in my chest", "trouble breathing", "black stools")),
        *((t, "emergency") for t in ("cannot breathe", "can't breathe", "stopped breathing")),
        *((t, "emergency") for t in ("choking", "blue lips", "lips turning blue", "heart attack")),
        *((t, "emergency") for t in ("throat closing", "swollen lips", "fits", "having a fit")),
        *((t, "emergency") for t in ("severe bleeding", "bleeding won't stop", "vomiting blood")),
        *((t, "emergency") for t in ("overdose", "took too many pills", "self-harm", "overdosed")),
        *((t, "emergency") for t in ("worst_headache_of_my_life", "wants to die")),
        *((t, "emergency") for t in ("coughing fits, then two fits", "blue face, coughing fits")),
        *((t, "routine") for t in ("coughing fits", "cannot breathe through my nose")),
        *((t, "routine") for t in ("no trouble breathing", "denies overdose or self-harm")),
        *((t, "routine") for t in ("food poisoning", "blue mood", "bleeding gums", "headache")),
    ],
)
def test_what_a_triage_nurse_sends_for_is_a_red_flag(term, urgency):
    assert answer({REFLUX: 1.0}, CALM | {SYMPTOMS: [term]})["urgency_level"] == urgency


@pytest.mark.parametrize(
    ("symptoms", "urgency"),
    [
        (["chest", "pain"], "urgent"),
        ("pain; fever; Chest", "urgent"),
        (["breath", "shortness"], "urgent"),
        (["stiff", "neck", "fever"], "emergency"),
        (["no fever", "slurred", "speech"], "emergency"),
        (["chest", "cough"], "routine"),
        (["no chest pain", "pain in knee", "cold chest"], "routine"),
        (["chest_rash", "pain"], "routine"),
    ],
)
def test_words_of_a_sign_that_are_terms_each_are_the_sign(symptoms, urgency):
    assert answer({REFLUX: 1.0}, CALM | {SYMPTOMS: symptoms})["urgency_level"] == urgency


@pytest.mark.parametrize(
    ("vocabulary", "is_said"),
    [
        ({}, False),
        ({HISTORY: ("asthma",)}, False),
        ({SYMPTOMS: ("chest", "fever", "pain")}, False),
        ({SYMPTOMS: ("chest_pain", "fever")}, False),
        ({SYMPTOMS: ("brustschmerz", "fieber")}, True),
        ({SYMPTOMS: ()}, True),
    ],
)
def test_a_vocabulary_that_can_hold_no_red_flag_is_said(vocabulary, is_said):
    told = answer({REFLUX: 1.0}, vocabulary=vocabulary)
    assert ("No red flag is among the patient.symptoms" in told["notice"]) is is_said


@pytest.mark.parametrize(
    ("vitals", "score", "urgency"),
    [
        # The bands of chart 1 of NEWS2 (Royal College of Physicians, 2017).
        ({"bp": "120/80", "hr": 70}, 0, "routine"),
        ({"bp": "105/60", "hr": 95, "spo2": 95, "temperature": 38.5}, 4, "routine"),
        ({"bp": "105/60", "hr": 95, "spo2": 93, "temperature": 38.5}, 5, "urgent"),
        ({"bp": "100/60", "hr": 115, "spo2": 93, "temperature": 38.5}, 7, "emergency"),
        ({"bp": "70/40", "hr": 140, "spo2": 80, "temperature": 34.0}, 12, "emergency"),
        ({"bp": "120/80", "hr": 70, "respiratory_rate": 21, "on_oxygen": True}, 4, "routine"),
        ({"bp": "120/80", "hr": 91, "respiratory_rate": 21, "on_oxygen": "yes"}, 5, "urgent"),
        ({"bp": "120/80", "hr": 70, "on_oxygen": "no", "consciousness": "Alert"}, 0, "routine"),
        ({"bp": "219/80", "hr": 50, "respiratory_rate": 11, "temperature": 36.0}, 3, "urgent"),
    ],
)
def test_vital_signs_are_scored_together(vitals, score, urgency):
    record = {SYMPTOMS: ["fatigue"], **{f"patient.vitals.{k}": v for k, v in vitals.items()}}
    told = answer({REFLUX: 1.0}, record)
    assert told["early_warning"]["score"] == score
    assert told["urgency_level"] == urgency


def test_vital_signs_that_a_record_does_not_tell_are_named():
    told = answer({REFLUX: 1.0})
    missing = ["respiratory_rate", "spo2", "on_oxygen", "consciousness", "temperature"]
    assert told["early_warning"] == {
        "name": "NEWS2",
        "score": 0,
        "missing": [f"patient.vitals.{name}" for name in missing],
    }
    assert "NEWS2 may be too low, since the record does not tell" in told["notice"]
    nothing = answer({REFLUX: 1.0}, {"age": 71})
    assert nothing["early_warning"]["score"] is None
    assert f"No red flags were looked for: the record has no {SYMPTOMS}." in nothing["notice"]


@pytest.mark.parametrize(
    ("age", "record", "score", "urgency"),
    [
        (15, {"patient.vitals.hr": 70}, None, "urgent"),
        ("4", {"patient.vitals.hr": 70}, None, "urgent"),
        (16, {"patient.vitals.hr": 70}, 0, "routine"),
        (None, {"patient.vitals.hr": 70}, 0, "routine"),
        (4, {}, None, "routine"),
    ],
)
def test_vital_signs_of_a_child_are_not_scored_and_somebody_must_look(age, record, score, urgency):
    response = answer({REFLUX: 1.0}, {SYMPTOMS: ["heartburn"], "patient.age": age, **record})
    assert response["early_warning"]["score"] == score
    assert response["urgency_level"] == urgency
    fact = f"patient.age is {age}, and NEWS2 is for 16 and more: the vital signs are not scored"
    assert (fact in response["alarms"]) == (urgency == "urgent")


@pytest.mark.parametrize(
    ("temperature", "urgency"),
    [(42, "emergency"), (41.4, "urgent"), (39.9, "routine"), (33, "urgent"), (31.9, "emergency")],
)
def test_a_temperature_far_from_usual_is_urgent_either_way(temperature, urgency):
    told = answer({REFLUX: 1.0}, CALM | {"patient.vitals.temperature": temperature})
    assert told["urgency_level"] == urgency


@pytest.mark.parametrize(
    ("age", "sign", "value", "urgency"),
    [
        *((None, "hr", beats, "emergency") for beats in (0, 25, 30, 180, 220)),
        *((None, "hr", beats, "urgent") for beats in (31, 179)),
        *((50, "respiratory_rate", breaths, "emergency") for breaths in (0, 3, 5, 40)),
        *((50, "respiratory_rate", breaths, "urgent") for breaths in (6, 39)),
        *((50, "spo2", percent, level) for percent, level in ((85, "emergency"), (86, "urgent"))),
        *((50, "bp", pair, level) for pair, level in (("70/20", "emergency"), ("71/40", "urgent"))),
        *((50, "consciousness", how, "emergency") for how in ("unresponsive", "U", "P", "Pain")),
        *((50, "consciousness", how, "emergency") for how in ("voice", "C", "new confusion")),
        *((50, "consciousness", how, "emergency") for how in ("responds to pain", "comatose")),
        *((50, "consciousness", how, "urgent") for how in ("sleepy", "alert, no confusion", 15)),
        *((8, sign, value, "emergency") for sign, value in (("spo2", 60), ("hr", 30))),
        *(
            (8, sign, value, "emergency")
            for sign, value in (("bp", "70/40"), ("consciousness", "P"))
        ),
        *((0, sign, value, "urgent") for sign, value in (("hr", 190), ("bp", "65/40"))),
        *((0, sign, value, "emergency") for sign, value in (("hr", 30), ("bp", "59/30"))),
        (0, "respiratory_rate", 45, "urgent"),
    ],
)
def test_a_vital_sign_of_somebody_who_dies_is_an_emergency(age, sign, value, urgency):
    record = {SYMPTOMS: ["heartburn"], "patient.age": age, f"patient.vitals.{sign}": value}
    told = answer({REFLUX: 1.0}, record)
    assert told["urgency_level"] == urgency


def test_hyperpyrexia_with_a_severe_blood_pressure_is_an_emergency():
    record = {"patient.vitals.bp": "210/150", "patient.vitals.hr": 90}
    told = answer({REFLUX: 1.0}, CALM | record | {"patient.vitals.temperature": 42.0})
    assert told["urgency_level"] == "emergency"
    assert "the second of patient.vitals.bp is 150, at least 120" in told["alarms"]


def test_an_alarming_sign_more_never_makes_a_case_less_urgent():
    """Whatever else a record holds, while the model says the same of it."""
    draw = random.Random(0)
    flags = [name for flag in KNOWLEDGE.red_flags for name in (flag.term, *flag.also)]
    worse = {  # from what is usual to what is worst, either way
        "bp": [["120/80", "109/70", "95/60", "80/50"], ["120/80", "170/110", "190/125", "230/140"]],
        "hr": [[70, 100, 120, 150], [70, 48, 35]],
        "temperature": [[37.0, 38.5, 39.5, 40.5, 42.0], [37.0, 35.5, 34.0, 31.0]],
        "spo2": [[98, 95, 92, 85]],
        "respiratory_rate": [[16, 22, 30], [16, 10, 6]],
        "consciousness": [[None, "voice"], ["alert", "pain"]],
        "on_oxygen": [[False, True], [None, True]],
    }
    for _ in range(300):
        ways = {name: draw.choice(each) for name, each in worse.items()}
        places = {name: draw.randrange(len(way)) for name, way in ways.items()}
        symptoms = draw.sample(flags, draw.randrange(3))
        levels = []
        for changed in (None, SYMPTOMS, draw.choice(list(ways))):
            at = {n: min(p + (n == changed), len(ways[n]) - 1) for n, p in places.items()}
            record = {f"patient.vitals.{name}": ways[name][place] for name, place in at.items()}
            more = [draw.choice([*flags, "unheard_of"])] if changed == SYMPTOMS else []
            unseen = [UnseenTerm(SYMPTOMS, t, None) for t in more if t == "unheard_of"]
            record[SYMPTOMS] = [*symptoms, *more]
            told = answer({REFLUX: 1.0}, record, unseen=tuple(unseen))
            levels.append(URGENCIES.index(told["urgency_level"]))
        assert max(levels[1:]) <= levels[0]


def test_a_stored_model_answers_by_vital_signs_that_it_never_learned_of(tmp_path):
    classes = tuple(sorted(set(TASK.sample(NUM_ROWS, 0)[TASK.label].to_pylist())))
    task = dataclasses.replace(TASK, classes=classes)
    artifact = tiny_table_artifact(task, as_uri(tmp_path))
    assert "patient.vitals.respiratory_rate" not in {f.name for f in artifact.signature.fields}
    model = SpecializedModel(artifact)
    case = copy.deepcopy(TASK.example)
    before = model.analyze_case(case)
    case["patient"]["vitals"]["respiratory_rate"] = 35
    after = model.analyze_case(case)
    assert after["differential_diagnoses"] == before["differential_diagnoses"]
    assert "patient.vitals.respiratory_rate is 35, 3 points of NEWS2" in after["alarms"]
    case["patient"]["vitals"]["respiratory_rate"] = 350
    with pytest.raises(InputError, match="'patient.vitals.respiratory_rate' must be at most 120"):
        model.analyze_case(case)
    case["patient"]["vitals"] = {**TASK.example["patient"]["vitals"], "breaths": 12}
    with pytest.raises(InputError, match="'patient.vitals.breaths' is none of them"):
        model.analyze_case(case)


def test_rows_of_a_file_tell_their_vital_signs_too(tmp_path):
    classes = tuple(sorted(set(TASK.sample(NUM_ROWS, 0)[TASK.label].to_pylist())))
    artifact = tiny_table_artifact(dataclasses.replace(TASK, classes=classes), as_uri(tmp_path))
    row = {
        "patient.age": [50.0],
        SYMPTOMS: ['["headache"]'],
        "patient.vitals.respiratory_rate": [35.0],
    }
    ((_, answers),) = [SpecializedModel(artifact).open().table(pa.table(row))]
    assert "patient.vitals.respiratory_rate is 35.0, 3 points of NEWS2" in answers[0]["alarms"]


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
        ({"early_warning": {}}, "must have its keys"),
    ],
)
def test_a_table_that_is_none_is_refused_in_a_sentence(change, rule):
    content = json.loads(TABLE.read_text()) | change
    with pytest.raises(InputError, match=rule):
        read_knowledge(json.dumps(content))


@pytest.mark.parametrize(
    "parameter",
    [
        {"bands": [{"points": 1, "at_most": 9}]},
        {"bands": [{"points": 1, "at_most": 9}, {"points": 0, "at_most": 8}, {"points": 3}]},
        {},
    ],
)
def test_points_that_a_number_would_not_find_are_refused(parameter):
    content = json.loads(TABLE.read_text())
    content["early_warning"]["parameters"] = [{"field": "x", **parameter}]
    with pytest.raises(InputError, match="bands that rise, the last without an end"):
        read_knowledge(json.dumps(content))


def test_a_vital_sign_without_a_number_has_no_points():
    pulse = next(p for p in KNOWLEDGE.early_warning.parameters if p.field.endswith("hr"))
    assert isinstance(pulse, Parameter)
    assert [pulse.points(v) for v in (None, float("nan"), "n/a", 131)] == [None, None, None, 3]


def test_a_table_that_is_no_json_is_refused():
    with pytest.raises(InputError, match="the table of clinical knowledge"):
        read_knowledge("[1, 2")
