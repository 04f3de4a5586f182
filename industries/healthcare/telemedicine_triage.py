"""How soon must somebody see a patient who calls or writes, and where?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from industries.healthcare.attributes import CLINICAL, PROTECTED
from industries.healthcare.clinical_decision_support import (
    EARLY_WARNING,
    HISTORY,
    PROFILES,
    SYMPTOMS,
    UNKNOWN_TERMS,
    VITAL_SIGNS,
    early_warning,
    limits_of_urgency,
    unknown_terms,
)
from industries.healthcare.clinical_decision_support import sample as sampled_cases
from industries.healthcare.clinical_knowledge import KNOWLEDGE, Alarms
from industries.healthcare.urgency import URGENCIES, most_urgent
from spt_core.answers import (
    PROBABILITY,
    field_effects,
    field_effects_schema,
    novelties,
    probability_schema,
)
from spt_core.judgement import Labels
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

RISING = tuple(reversed(URGENCIES))  # routine, soon, urgent, emergency
# The share of patients who may be told too low a level: trauma systems hold theirs below 5 %
# (American College of Surgeons, "Resources for Optimal Care of the Injured Patient", 2022).
MAX_UNDERTRIAGE = 0.05
NUM_REASONS = 5
DISPOSITIONS: Mapping[str, str] = {
    "emergency": "send an ambulance",
    "urgent": "to an emergency department today",
    "soon": "to a physician within three days",
    "routine": "an appointment, or advice at home",
}
NOTICE = "This supports a nurse or physician, who decides; nobody is sent home by it."
PAIN = {"emergency": 6.5, "urgent": 5.0, "soon": 4.0, "routine": 2.5}  # means in the sample
RAISED_FROM = 8  # of the pain, in the sample, from which a case is one level more urgent


def respond(judgement: Labels) -> dict[str, Any]:
    """The task's answer: the least level that is hardly too low, raised by what alarms."""
    probabilities = {score.label: score.probability for score in judgement.scores}
    by_model = least_level(probabilities)
    alarms = KNOWLEDGE.alarms(judgement.record, judgement.unseen)
    level = most_urgent([by_model, *alarms.urgencies])
    too_low = sum(
        p for name, p in probabilities.items() if RISING.index(name) > RISING.index(level)
    )
    reasons = next(score.fields for score in judgement.scores if score.label == by_model)
    return {
        "urgency_level": level,
        "disposition": DISPOSITIONS[level],
        "probabilities": {name: round(probabilities.get(name, 0.0), 6) for name in URGENCIES},
        "undertriage_probability": round(min(max(float(too_low), 0.0), 1.0), 6),
        "reasoning": field_effects(reasons[:NUM_REASONS]),
        "alarms": list(alarms.facts),
        "early_warning": early_warning(alarms),
        "unknown_terms": unknown_terms(judgement),
        "notice": _notice(judgement, alarms),
    }


def least_level(probabilities: Mapping[str, float]) -> Any:
    """The lowest level that more urgent ones exceed with at most MAX_UNDERTRIAGE."""
    above = 0.0
    for level in URGENCIES:  # the most urgent first
        above += probabilities.get(level, 0.0)
        if above > MAX_UNDERTRIAGE:
            return level
    return URGENCIES[-1]


def _notice(judgement: Labels, alarms: Alarms) -> str:
    sentences = [NOTICE, f"Alarms: {KNOWLEDGE.standing}."]
    if judgement.outside:
        sentences.append(f"Beyond all cases of training: {', '.join(judgement.outside)}.")
    sentences += novelties(judgement)
    return " ".join([*sentences, *limits_of_urgency(judgement, alarms)])


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of callers, drawn like clinical decision support's cases, with a level.

    Each caller has a case of that task's sample with less of it measured: blood pressure and
    saturation are never there, half of the temperatures and a third of the pulses are missing.
    The level is the one that the clinicians' table gives the case's diagnosis; pain is normal
    around 2.5, 4, 5 and 6.5 by level (spread 2, from 0 to 10), and pain of 8 and more raises the
    level by one. Days since it began are exponential, of mean 4, and 1.5 where it is an emergency.
    One level in twenty is that of another nurse, one lower or higher. It is of no study.
    """
    cases = sampled_cases(num_rows, seed)
    draw = np.random.default_rng([seed, 1])
    by_name = {name: RISING.index(KNOWLEDGE.urgency(name)) for name in PROFILES}
    of_table = np.array([by_name[name] for name in cases["diagnosis"].to_pylist()])
    pain = np.clip(draw.normal(np.array([PAIN[name] for name in RISING])[of_table], 2.0), 0, 10)
    days = draw.exponential(np.where(of_table == RISING.index("emergency"), 1.5, 4.0))
    other = np.where(draw.random(num_rows) < 0.05, draw.choice([-1, 1], num_rows), 0)
    level = np.clip(of_table + (pain.round() >= RAISED_FROM) + other, 0, len(RISING) - 1)
    return pa.table(
        {
            "patient.age": cases["patient.age"],
            "patient.gender": cases["patient.gender"],
            SYMPTOMS: cases[SYMPTOMS],
            HISTORY: cases[HISTORY],
            "patient.vitals.hr": _fewer(cases["patient.vitals.hr"], draw.random(num_rows) < 0.33),
            "patient.vitals.temperature": _fewer(
                cases["patient.vitals.temperature"], draw.random(num_rows) < 0.5
            ),
            "pain": pain.round(),
            "days_of_symptoms": days.round(1),
            "urgency": np.array(RISING)[level],
        }
    )


def _fewer(column: pa.ChunkedArray, missing: np.ndarray) -> pa.Array:
    return pa.array(column.to_pylist(), pa.float64(), mask=missing | np.array(column.is_null()))


TELEMEDICINE_TRIAGE = Task(
    industry=IndustryType.HEALTHCARE,
    name="telemedicine_triage",
    title="Telemedicine triage",
    description=(
        "How urgent the case of a patient is who is not there: by what the patient says, and what "
        "was measured at home. It errs on the safe side, and supports a nurse or physician."
    ),
    verb="triage_case",
    head="ordinal",
    label="urgency",
    classes=RISING,
    fields=(
        Field(name="patient.age", kind="number", unit="years", minimum=0, maximum=125),
        Field(name="patient.gender", kind="category", description="as the patient says it"),
        Field(
            name=SYMPTOMS,
            kind="terms",
            description="what the patient complains of; those that are not listed count as absent",
        ),
        Field(name=HISTORY, kind="terms", required=False, description="diseases of before"),
        Field(
            name="patient.vitals.hr",
            kind="number",
            unit="1/min",
            minimum=0,
            maximum=350,
            required=False,
            description="heart rate, by a watch",
        ),
        Field(
            name="patient.vitals.temperature",
            kind="number",
            unit="degrees Celsius",
            minimum=20,
            maximum=46,
            required=False,
            description="measured at home",
        ),
        Field(
            name="pain",
            kind="number",
            minimum=0,
            maximum=10,
            required=False,
            description="as the patient says it, from 0 to 10",
        ),
        Field(name="days_of_symptoms", kind="number", unit="days", minimum=0, required=False),
    ),
    asides=VITAL_SIGNS,
    answer={
        "urgency_level": {
            "type": "string",
            "enum": list(URGENCIES),
            "description": "the lowest level that the patient's exceeds with a probability of at "
            f"most {MAX_UNDERTRIAGE:.0%}, or a higher one of an alarm",
        },
        "disposition": {"type": "string", "enum": list(DISPOSITIONS.values())},
        "probabilities": {
            "type": "object",
            "description": "of each level, calibrated",
            "properties": dict.fromkeys(URGENCIES, PROBABILITY),
        },
        "undertriage_probability": probability_schema(
            "that the patient's level is higher than the one that is given"
        ),
        "reasoning": field_effects_schema(
            "strongest effects on the log-odds of the model's level, signed, "
            "symptoms and history term by term"
        ),
        "alarms": {
            "type": "array",
            "items": {"type": "string"},
            "description": "symptoms and vital signs that are urgent whatever the model says, and "
            "symptoms that it does not know",
        },
        "early_warning": EARLY_WARNING,
        "unknown_terms": UNKNOWN_TERMS,
        "notice": {"type": "string", "description": "what the answer is, and what limits it"},
    },
    respond=respond,
    example={
        "patient": {
            "age": 58,
            "gender": "female",
            "symptoms": ["shortness_of_breath", "leg_swelling"],
            "history": ["recent_surgery"],
            "vitals": {"hr": 104},
        },
        "pain": 4,
        "days_of_symptoms": 1,
    },
    sample=sample,
    metric="mean_rank_error",
    protected=PROTECTED,
    monitored=CLINICAL,
    compliance_checks=("data_licence_known", "protected_attributes_excluded", "tables_reviewed"),
    tables=(KNOWLEDGE.table,),
    high_risk=True,
    transfer_from="healthcare/clinical_decision_support",
)
