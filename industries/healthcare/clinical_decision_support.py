"""Which diagnoses may a case have, which tests tell them apart, and how urgent is it?"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from industries.healthcare.attributes import CLINICAL, PROTECTED
from industries.healthcare.clinical_knowledge import KNOWLEDGE, Alarms
from industries.healthcare.urgency import URGENCIES, most_urgent
from spt_core.answers import PROBABILITY, novelties, probability_schema
from spt_core.judgement import Labels, LabelScore
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

COVERAGE = 0.95
NUM_REASONS = 5
SYMPTOMS, HISTORY = "patient.symptoms", "patient.history"
NOTICE = "This supports a clinician, who decides; it is no diagnosis."


def respond(judgement: Labels) -> dict[str, Any]:
    """The task's answer: the set of diagnoses, and what the clinicians' table says of them all."""
    likely = judgement.likely
    alarms = KNOWLEDGE.alarms(judgement.record, judgement.unseen)
    return {
        "differential_diagnoses": [_diagnosis(score) for score in likely],
        "recommended_tests": _tests(likely),
        "urgency_level": most_urgent(
            [*(KNOWLEDGE.urgency(score.label) for score in likely), *alarms.urgencies]
        ),
        "reasoning": [
            {
                "diagnosis": likely[0].label,
                "field": reason.field,
                "value": reason.value,
                "effect": round(reason.effect, 4),
            }
            for reason in likely[0].fields[:NUM_REASONS]
        ],
        "alarms": list(alarms.facts),
        "early_warning": early_warning(alarms),
        "unknown_terms": unknown_terms(judgement),
        "coverage": judgement.policy.coverage or 0.0,
        "notice": _notice(judgement, likely, alarms),
    }


def unknown_terms(judgement: Labels) -> list[dict[str, Any]]:
    """Terms that had no part in the answer, and which is written most alike."""
    return [
        {"field": unseen.field, "term": unseen.term, "nearest_known": unseen.nearest}
        for unseen in judgement.unseen
    ]


def early_warning(alarms: Alarms) -> dict[str, Any]:
    """The score of the vital signs that are told, and those that are not."""
    return {
        "name": KNOWLEDGE.early_warning.name,
        "score": alarms.score,
        "missing": list(alarms.missing),
    }


def limits_of_urgency(judgement: Labels, alarms: Alarms) -> list[str]:
    """A sentence for each reason why the urgency may be too low."""
    score, sentences = KNOWLEDGE.early_warning, list[str]()
    if alarms.missing:
        names = ", ".join(alarms.missing)
        sentences.append(f"{score.name} may be too low, since the record does not tell {names}.")
    if alarms.score is not None:
        sentences.append(score.limits)
    if SYMPTOMS not in judgement.record:
        sentences.append(f"No red flags were looked for: the record has no {SYMPTOMS}.")
    if SYMPTOMS in judgement.vocabulary and not _has_flag(judgement.vocabulary[SYMPTOMS]):
        sentences.append(
            f"No red flag is among the {SYMPTOMS} that the model knows: the table that is looked "
            "through has other words for them."
        )
    if judgement.unseen:
        sentences.append("Terms that the model does not know had no part in what it says.")
    return sentences


@functools.lru_cache(maxsize=64)  # of a model it is the same in each answer, and takes a while
def _has_flag(symptoms: tuple[str, ...]) -> bool:
    return KNOWLEDGE.has_flag(SYMPTOMS, symptoms)


def _diagnosis(score: LabelScore) -> dict[str, Any]:
    advice = KNOWLEDGE.advice(score.label)
    return {
        "diagnosis": score.label,
        "probability": round(score.probability, 6),
        "urgency": KNOWLEDGE.urgency(score.label),
        "treatments": [] if advice is None else list(advice.treatments),
        "sources": [] if advice is None else list(advice.sources),
    }


def _tests(likely: tuple[LabelScore, ...]) -> list[dict[str, Any]]:
    """The tests for any of the diagnoses, those of the most urgent first."""
    order = sorted(likely, key=lambda score: URGENCIES.index(KNOWLEDGE.urgency(score.label)))
    reasons: dict[str, list[str]] = {}
    for score in order:
        advice = KNOWLEDGE.advice(score.label)
        for test in () if advice is None else advice.tests:
            reasons.setdefault(test, []).append(score.label)
    return [{"test": test, "for": names} for test, names in reasons.items()]


def _notice(judgement: Labels, likely: tuple[LabelScore, ...], alarms: Alarms) -> str:
    sentences = [NOTICE, f"Advice: {KNOWLEDGE.standing}."]
    without = [score.label for score in likely if KNOWLEDGE.advice(score.label) is None]
    if without:
        sentences.append(f"The table says nothing of {', '.join(without)}.")
    if judgement.outside:
        sentences.append(
            f"Beyond all cases of training, so that the answer is a guess: "
            f"{', '.join(judgement.outside)}."
        )
    sentences += novelties(judgement)
    return " ".join([*sentences, *limits_of_urgency(judgement, alarms)])


class _Profile(NamedTuple):
    """How a diagnosis shows itself in the sample: chances of terms, means of numbers."""

    weight: float
    age: float
    female: float
    symptoms: Mapping[str, float]
    history: Mapping[str, float]
    systolic: float = 130.0
    pulse: float = 80.0
    temperature: float = 36.8
    spo2: float = 97.0


PROFILES: Mapping[str, _Profile] = {
    "acute_coronary_syndrome": _Profile(
        *(1.2, 66.0, 0.35),
        {"chest_pain": 0.85, "shortness_of_breath": 0.5, "sweating": 0.5, "arm_pain": 0.4},
        {"hypertension": 0.6, "diabetes": 0.35, "smoking": 0.4, "coronary_disease": 0.35},
        *(146.0, 92.0),
    ),
    "pulmonary_embolism": _Profile(
        *(0.6, 58.0, 0.52),
        {"shortness_of_breath": 0.85, "chest_pain": 0.5, "leg_swelling": 0.4, "cough": 0.25},
        {"recent_surgery": 0.4, "cancer": 0.2, "thrombosis": 0.25},
        *(122.0, 108.0, 37.1, 91.0),
    ),
    "heart_failure": _Profile(
        *(1.0, 75.0, 0.48),
        {"shortness_of_breath": 0.85, "leg_swelling": 0.7, "fatigue": 0.6, "night_cough": 0.35},
        {"hypertension": 0.7, "coronary_disease": 0.5, "diabetes": 0.35},
        *(142.0, 90.0, 36.7, 93.0),
    ),
    "pneumonia": _Profile(
        *(1.1, 62.0, 0.48),
        {"cough": 0.9, "fever": 0.75, "shortness_of_breath": 0.55, "chest_pain": 0.25},
        {"smoking": 0.35, "copd": 0.2},
        *(124.0, 100.0, 38.4, 92.5),
    ),
    "bronchial_asthma": _Profile(
        *(1.0, 36.0, 0.56),
        {"wheezing": 0.85, "shortness_of_breath": 0.75, "night_cough": 0.5, "chest_tightness": 0.5},
        {"allergy": 0.5, "asthma": 0.6},
        *(126.0, 98.0, 36.8, 94.5),
    ),
    "copd_exacerbation": _Profile(
        *(0.9, 69.0, 0.46),
        {"shortness_of_breath": 0.9, "cough": 0.75, "sputum": 0.65, "wheezing": 0.55},
        {"smoking": 0.85, "copd": 0.75, "hypertension": 0.35},
        *(134.0, 96.0, 37.2, 89.5),
    ),
    "gastroesophageal_reflux_disease": _Profile(
        *(1.1, 50.0, 0.5),
        {"heartburn": 0.85, "chest_pain": 0.35, "regurgitation": 0.6, "night_cough": 0.2},
        {"obesity": 0.4},
    ),
    "panic_attack": _Profile(
        *(0.9, 33.0, 0.66),
        {
            "palpitations": 0.75,
            "chest_tightness": 0.5,
            "shortness_of_breath": 0.5,
            "dizziness": 0.5,
        },
        {"anxiety": 0.6},
        *(134.0, 104.0, 36.7, 98.0),
    ),
    "influenza": _Profile(
        *(1.2, 42.0, 0.52),
        {"fever": 0.9, "cough": 0.75, "muscle_pain": 0.75, "headache": 0.6, "fatigue": 0.6},
        {},
        *(122.0, 94.0, 38.7),
    ),
    "urinary_tract_infection": _Profile(
        *(1.0, 48.0, 0.84),
        {"painful_urination": 0.85, "frequent_urination": 0.75, "fever": 0.25, "flank_pain": 0.2},
        {"diabetes": 0.2},
        *(126.0, 84.0, 37.3),
    ),
    "gastroenteritis": _Profile(
        *(1.0, 38.0, 0.52),
        {"diarrhea": 0.9, "vomiting": 0.7, "abdominal_pain": 0.6, "fever": 0.35},
        {},
        *(118.0, 92.0, 37.5),
    ),
    "migraine": _Profile(
        *(1.0, 36.0, 0.76),
        {"headache": 0.97, "nausea": 0.6, "light_sensitivity": 0.7, "visual_disturbance": 0.35},
        {"migraine": 0.6},
    ),
}
NOISE = 0.03  # the chance of any other term
TERMS: Mapping[str, tuple[str, ...]] = {
    "symptoms": tuple(sorted({name for p in PROFILES.values() for name in p.symptoms})),
    "history": tuple(sorted({name for p in PROFILES.values() for name in p.history})),
}


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of cases whose diagnoses are drawn first, and show as in PROFILES.

    Given its diagnosis, a case has each symptom and each part of a history with the chance that the
    profile names, apart from each other, and any other term with a chance of 3 %; age (spread 13
    years), systolic pressure (16 mmHg), pulse (12 per minute), temperature (0.5 degrees) and oxygen
    saturation (1.8 %) are normal around the profile's means; the diastolic pressure is 0.6 of the
    systolic one (spread 7). Sex is drawn by the profile's share of women. 25 % of saturations and
    15 % of temperatures and histories are missing at random. The numbers are of no study: the
    corpus is there so that the machinery can be tried, and teaches no medicine.
    """
    draw = np.random.default_rng(seed)
    names, profiles = list(PROFILES), list(PROFILES.values())
    weights = np.array([profile.weight for profile in profiles])
    which = draw.choice(len(profiles), num_rows, p=weights / weights.sum())

    def mean(field: str) -> np.ndarray:
        return np.array([getattr(profile, field) for profile in profiles])[which]

    def terms(field: str) -> list[list[str]]:
        vocabulary = TERMS[field]
        chances = np.array(
            [[getattr(p, field).get(name, NOISE) for name in vocabulary] for p in profiles]
        )
        has = draw.random((num_rows, len(vocabulary))) < chances[which]
        return [[vocabulary[i] for i in np.flatnonzero(row)] for row in has]

    def with_gaps(values: Any, share: float, kind: pa.DataType | None = None) -> pa.Array:
        return pa.array(values, kind, mask=draw.random(num_rows) < share)

    systolic = np.clip(draw.normal(mean("systolic"), 16.0), 70, 240).round()
    diastolic = np.clip(draw.normal(0.6 * systolic, 7.0), 40, 130).round()
    age = np.clip(draw.normal(mean("age"), 13.0), 18, 99).round().astype(np.int64)
    is_female = draw.random(num_rows) < mean("female")
    return pa.table(
        {
            "patient.age": age,
            "patient.gender": np.where(is_female, "female", "male"),
            SYMPTOMS: pa.array(terms("symptoms"), pa.list_(pa.string())),
            "patient.vitals.bp": [
                f"{s:.0f}/{d:.0f}" for s, d in zip(systolic, diastolic, strict=True)
            ],
            "patient.vitals.hr": np.clip(draw.normal(mean("pulse"), 12.0), 35, 190).round(),
            "patient.vitals.temperature": with_gaps(
                np.clip(draw.normal(mean("temperature"), 0.5), 34, 42).round(1), 0.15
            ),
            "patient.vitals.spo2": with_gaps(
                np.clip(draw.normal(mean("spo2"), 1.8), 70, 100).round(), 0.25
            ),
            HISTORY: _lists_with_gaps(terms("history"), draw.random(num_rows) < 0.15),
            "diagnosis": [names[i] for i in which],
        }
    )


def _lists_with_gaps(lists: list[list[str]], missing: np.ndarray) -> pa.Array:
    cells = [None if gap else terms for terms, gap in zip(lists, missing.tolist(), strict=True)]
    return pa.array(cells, pa.list_(pa.string()))


# What the rules of urgency look at, whether a model has learned from it or not.
VITAL_SIGNS: tuple[Field, ...] = (
    Field(
        name="patient.vitals.bp",
        kind="number_pair",
        unit="mmHg",
        minimum=10,
        maximum=350,
        required=False,
        description="systolic/diastolic blood pressure",
    ),
    Field(
        name="patient.vitals.hr",
        kind="number",
        unit="1/min",
        minimum=0,
        maximum=350,
        required=False,
        description="heart rate",
    ),
    Field(
        name="patient.vitals.temperature",
        kind="number",
        unit="degrees Celsius",
        minimum=20,
        maximum=46,
        required=False,
    ),
    Field(
        name="patient.vitals.spo2",
        kind="number",
        unit="%",
        minimum=0,
        maximum=100,
        required=False,
        description="oxygen saturation",
    ),
    Field(
        name="patient.vitals.respiratory_rate",
        kind="number",
        unit="1/min",
        minimum=0,
        maximum=120,
        required=False,
    ),
    Field(
        name="patient.vitals.on_oxygen",
        kind="boolean",
        required=False,
        description="whether the patient is given oxygen",
    ),
    Field(
        name="patient.vitals.consciousness",
        kind="category",
        required=False,
        description="alert, confusion, voice, pain or unresponsive (ACVPU)",
    ),
)
_BP, _HR, _TEMPERATURE, _SPO2, *_ = VITAL_SIGNS
_STRINGS: Mapping[str, Any] = {"type": "array", "items": {"type": "string"}}

EARLY_WARNING: Mapping[str, Any] = {
    "type": "object",
    "description": "the score of vital signs; one that is missing adds nothing to it",
    "properties": {
        "name": {"type": "string"},
        "score": {"type": ["integer", "null"], "description": "null where no vital sign is told"},
        "missing": {**_STRINGS, "description": "fields that the record does not tell"},
    },
}

UNKNOWN_TERMS: Mapping[str, Any] = {
    "type": "array",
    "description": "terms that training did not have, or hardly: they had no part in the answer",
    "items": {
        "type": "object",
        "properties": {
            "field": {"type": "string"},
            "term": {"type": "string"},
            "nearest_known": {"type": ["string", "null"]},
        },
    },
}

CLINICAL_DECISION_SUPPORT = Task(
    industry=IndustryType.HEALTHCARE,
    name="clinical_decision_support",
    title="Clinical decision support",
    description=(
        "The diagnoses that a case may have, as a set that holds the true one of a stated share of "
        "cases, with the tests, the urgency and the treatments that a clinicians' table names. It "
        "supports a clinician, who decides."
    ),
    verb="analyze_case",
    head="single_label",
    label="diagnosis",
    fields=(
        Field(name="patient.age", kind="number", unit="years", minimum=0, maximum=125),
        Field(name="patient.gender", kind="category", description="as the record says it"),
        Field(
            name=SYMPTOMS,
            kind="terms",
            description="what the patient complains of; those that are not listed count as absent",
        ),
        dataclasses.replace(_BP, required=True),
        dataclasses.replace(_HR, required=True),
        _TEMPERATURE,
        _SPO2,
        Field(name=HISTORY, kind="terms", description="diseases and habits of before"),
    ),
    asides=VITAL_SIGNS,
    answer={
        "differential_diagnoses": {
            "type": "array",
            "minItems": 1,
            "description": "a set that holds the true diagnosis of the stated share (coverage) of "
            "cases, on average over cases like those that it was measured on; most probable first, "
            "and longer where the case is doubtful",
            "items": {
                "type": "object",
                "properties": {
                    "diagnosis": {"type": "string"},
                    "probability": PROBABILITY,
                    "urgency": {"type": "string", "enum": list(URGENCIES)},
                    "treatments": {
                        **_STRINGS,
                        "description": "what the clinicians' table names, to be considered",
                    },
                    "sources": {**_STRINGS, "description": "names of the table's sources"},
                },
            },
        },
        "recommended_tests": {
            "type": "array",
            "description": "of the clinicians' table, for any diagnosis of the set; those of the "
            "most urgent first",
            "items": {
                "type": "object",
                "properties": {"test": {"type": "string"}, "for": _STRINGS},
            },
        },
        "urgency_level": {
            "type": "string",
            "enum": list(URGENCIES),
            "description": "the most urgent of all diagnoses of the set and of all alarms; "
            "symptoms that the model does not know make it at least "
            f"{KNOWLEDGE.urgency_of_others}",
        },
        "reasoning": {
            "type": "array",
            "description": "strongest effects on the log-odds of the most probable diagnosis, "
            "signed, symptoms and history term by term",
            "items": {
                "type": "object",
                "properties": {
                    "diagnosis": {"type": "string"},
                    "field": {"type": "string"},
                    "value": {"description": "the value or term seen, null if it was missing"},
                    "effect": {"type": "number"},
                },
            },
        },
        "alarms": {
            **_STRINGS,
            "description": "symptoms and vital signs that are urgent whatever the diagnosis, and "
            "symptoms that the model does not know",
        },
        "early_warning": EARLY_WARNING,
        "unknown_terms": UNKNOWN_TERMS,
        "coverage": probability_schema(
            "the share of cases whose set holds the true diagnosis; 0 before it was "
            "measured, when the most probable diagnosis stands alone"
        ),
        "notice": {"type": "string", "description": "what the answer is, and what limits it"},
    },
    respond=respond,
    example={
        "patient": {
            "age": 65,
            "gender": "male",
            "symptoms": ["chest_pain", "shortness_of_breath"],
            "vitals": {"bp": "150/95", "hr": 95},
            "history": ["hypertension", "diabetes"],
        }
    },
    sample=sample,
    metric="macro_f1",
    protected=PROTECTED,
    monitored=CLINICAL,
    compliance_checks=(
        "data_licence_known",
        "protected_attributes_excluded",
        "set_coverage_stated",
        "advice_sourced",
        "tables_reviewed",
    ),
    high_risk=True,
    coverage=COVERAGE,
    tables=(KNOWLEDGE.table,),
    advice={name: ", ".join(a.sources) for name, a in KNOWLEDGE.diagnoses.items()},
)
