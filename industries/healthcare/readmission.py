"""Will this patient be back within 30 days, and whom should the ward's nurses call?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from industries.healthcare.attributes import CLINICAL, PROTECTED
from spt_core.answers import (
    CONFIDENCE,
    field_effects,
    field_effects_schema,
    probability_schema,
    warnings,
    warnings_schema,
)
from spt_core.judgement import Decision
from spt_core.policy import Costs
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

NUM_FACTORS = 5
RECOMMENDATIONS = {
    "approve": "usual_discharge",
    "review": "call_after_discharge",
    "decline": "transition_programme",
}
AGE_BANDS = tuple(f"[{low}-{low + 10})" for low in range(0, 100, 10))
ADMISSIONS = ("emergency", "urgent", "elective")
DISCHARGES = ("home", "home_health_care", "nursing_facility")
# What a factor can be acted on by -> what to do at discharge.
ACTIONS: Mapping[str, str] = {
    "HISTORY": "agree with the family doctor who looks after the patient, and by when",
    "DRUGS": "reconcile drugs; explain what is new and what is stopped",
    "DIABETES": "check blood sugar and insulin doses; arrange a diabetes nurse",
    "PLACE": "hand over to the facility or home care by telephone",
    "STAY": "see the patient within seven days",
}


def respond(judgement: Decision) -> dict[str, Any]:
    """The task's answer: how probable a return is, by which factors, and what to arrange."""
    return {
        "readmission_probability": round(judgement.probability, 6),
        "recommendation": RECOMMENDATIONS[judgement.action],
        "risk_factors": field_effects(judgement.fields[:NUM_FACTORS]),
        "actions": _actions(judgement),
        "warnings": warnings(judgement),
        "confidence": round(judgement.confidence, 6),
    }


def _actions(judgement: Decision) -> list[str]:
    """What to arrange, by the factors that raise the risk; nothing at a usual discharge."""
    if judgement.action == "approve":
        return []
    codes, texts = judgement.policy.reason_codes, judgement.policy.conditions
    actions = [texts.get(codes.get(r.field, ""), "") for r in judgement.fields if r.effect > 0]
    return [action for action in dict.fromkeys(actions) if action][:3]


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of stays in hospital of patients with diabetes, whose causes are known.

    The log-odds of a return within 30 days are -2.9, plus 0.35 per stay and 0.15 per visit to the
    emergency room in the year before (up to 6 of each), plus 0.05 per day of the stay, plus 0.02
    per drug above 16, plus 0.5 where the patient goes to a nursing facility and 0.2 with care at
    home, plus 0.2 per decade of age above the seventh, plus 0.15 where insulin was changed, minus
    0.2 where the stay was planned. Sex and procedures have no effect. A third of the patients have
    two stays. 80 % of HbA1c results are missing, more often where the stay was short.
    """
    draw = np.random.default_rng(seed)
    band = draw.choice(
        10, num_rows, p=[0.002, 0.008, 0.02, 0.04, 0.1, 0.17, 0.22, 0.26, 0.15, 0.03]
    )
    stays = np.minimum(draw.negative_binomial(0.6, 0.5, num_rows), 15)
    emergencies = np.minimum(draw.negative_binomial(0.3, 0.5, num_rows), 20)
    days = np.minimum(1 + draw.negative_binomial(2, 0.38, num_rows), 14)
    drugs = np.clip(draw.normal(13 + 0.7 * days, 6.5), 1, 80).round()
    admission = draw.choice(3, num_rows, p=[0.55, 0.25, 0.2])
    place = draw.choice(3, num_rows, p=[0.66, 0.16, 0.18])
    is_changed = draw.random(num_rows) < 0.25
    log_odds = (
        -2.9
        + 0.35 * np.minimum(stays, 6)
        + 0.15 * np.minimum(emergencies, 6)
        + 0.05 * days
        + 0.02 * np.maximum(drugs - 16, 0)
        + np.array([0.0, 0.2, 0.5])[place]
        + 0.2 * np.maximum(band - 6, 0)
        + 0.15 * is_changed
        - 0.2 * (admission == 2)
    )
    is_back = draw.random(num_rows) < 1 / (1 + np.exp(-log_odds))
    result = np.array(["normal", ">7", ">8"])[draw.choice(3, num_rows, p=[0.3, 0.25, 0.45])]
    is_missing = draw.random(num_rows) < np.where(days < 3, 0.9, 0.75)
    patient = np.where(np.arange(num_rows) % 4 == 1, np.arange(num_rows) - 1, np.arange(num_rows))
    return pa.table(
        {
            "patient": np.char.add("p", patient.astype("U7")),
            "age_band": np.array(AGE_BANDS)[band],
            "sex": draw.choice(np.array(["female", "male"]), num_rows),
            "admission_type": np.array(ADMISSIONS)[admission],
            "discharge_to": np.array(DISCHARGES)[place],
            "days_in_hospital": days,
            "lab_procedures": np.clip(draw.normal(43.0, 19.0, num_rows), 1, 130).round(),
            "procedures": np.minimum(draw.poisson(1.3, num_rows), 6),
            "medications": drugs,
            "emergency_visits_1y": emergencies,
            "inpatient_stays_1y": stays,
            "diagnoses": np.clip(draw.normal(7.4, 1.9, num_rows), 1, 16).round(),
            "hba1c": pa.array(result, mask=is_missing),
            "insulin": np.where(is_changed, "changed", "steady_or_none"),
            "is_readmitted_30d": is_back.astype(np.int8),
        }
    )


def causes(table: pa.Table) -> dict[str, NDArray[np.float64]]:
    """What single fields [N] of a sample's rows add to the log-odds: all of it but the constant."""

    def numbers(name: str) -> NDArray[np.float64]:
        return np.array(table[name].to_pylist(), np.float64)

    def words(name: str) -> NDArray[np.str_]:
        return np.array(table[name].to_pylist())

    bands = [AGE_BANDS.index(name) for name in table["age_band"].to_pylist()]
    place = words("discharge_to")
    return {
        "inpatient_stays_1y": 0.35 * np.minimum(numbers("inpatient_stays_1y"), 6),
        "emergency_visits_1y": 0.15 * np.minimum(numbers("emergency_visits_1y"), 6),
        "days_in_hospital": 0.05 * numbers("days_in_hospital"),
        "medications": 0.02 * np.maximum(numbers("medications") - 16, 0),
        "discharge_to": np.select(
            [place == "home_health_care", place == "nursing_facility"], [0.2, 0.5]
        ),
        "age_band": 0.2 * np.maximum(np.array(bands) - 6, 0),
        "insulin": 0.15 * (words("insulin") == "changed"),
        "admission_type": -0.2 * (words("admission_type") == "elective"),
        "lab_procedures": np.zeros(table.num_rows),
        "procedures": np.zeros(table.num_rows),
        "diagnoses": np.zeros(table.num_rows),
    }


def _count(name: str, description: str, unit: str = "") -> Field:
    return Field(name=name, kind="number", minimum=0, unit=unit, description=description)


READMISSION = Task(
    industry=IndustryType.HEALTHCARE,
    name="readmission",
    title="Readmission within 30 days",
    description=(
        "The probability that a patient with diabetes is back in hospital within 30 days of "
        "discharge, why, and whom to call with the nurses that there are."
    ),
    verb="assess_readmission",
    label="is_readmitted_30d",
    group="patient",
    fields=(
        Field(name="age_band", kind="category", description="of ten years, such as [70-80)"),
        Field(name="sex", kind="category"),
        Field(name="admission_type", kind="category", description=", ".join(ADMISSIONS)),
        Field(name="discharge_to", kind="category", description=", ".join(DISCHARGES)),
        _count("days_in_hospital", "of this stay", "days"),
        _count("lab_procedures", "laboratory tests of this stay"),
        _count("procedures", "other procedures of this stay"),
        _count("medications", "different drugs given"),
        _count("emergency_visits_1y", "to the emergency room in the year before"),
        _count("inpatient_stays_1y", "in the year before"),
        _count("diagnoses", "on the record"),
        Field(name="hba1c", kind="category", required=False, description="normal, >7, >8 (%)"),
        Field(name="insulin", kind="category", description="what became of its dose"),
    ),
    answer={
        "readmission_probability": probability_schema(
            "calibrated probability of an unplanned or planned stay in 30 days"
        ),
        "recommendation": {
            "type": "string",
            "enum": list(RECOMMENDATIONS.values()),
            "description": "the cheapest by the policy's costs, within the calls of a day",
        },
        "risk_factors": field_effects_schema(
            "strongest effects on the log-odds, signed: positive raises the risk; "
            "associations of past stays, not causes"
        ),
        "actions": {
            "type": "array",
            "description": "what to arrange, by the factors that raise the risk",
            "items": {"type": "string"},
        },
        "warnings": warnings_schema(),
        "confidence": CONFIDENCE,
    },
    respond=respond,
    example={
        "age_band": "[70-80)",
        "sex": "female",
        "admission_type": "emergency",
        "discharge_to": "nursing_facility",
        "days_in_hospital": 7,
        "lab_procedures": 52,
        "procedures": 1,
        "medications": 21,
        "emergency_visits_1y": 1,
        "inpatient_stays_1y": 3,
        "diagnoses": 9,
        "hba1c": ">8",
        "insulin": "changed",
    },
    sample=sample,
    causes=causes,
    # Assumed, to be set by the hospital: the part of a return that a programme would have spared, a
    # needless programme, a call.
    costs=Costs(missed_positive=2_000.0, false_alarm=450.0, review=60.0),
    daily_review_capacity=30,
    daily_volume=200,
    protected=PROTECTED,
    monitored=CLINICAL,
    reason_codes={
        "inpatient_stays_1y": "HISTORY",
        "emergency_visits_1y": "HISTORY",
        "diagnoses": "HISTORY",
        "medications": "DRUGS",
        "hba1c": "DIABETES",
        "insulin": "DIABETES",
        "discharge_to": "PLACE",
        "admission_type": "STAY",
        "days_in_hospital": "STAY",
        "procedures": "STAY",
        "lab_procedures": "STAY",
    },
    conditions=ACTIONS,
    compliance_checks=("data_licence_known", "protected_attributes_excluded"),
    high_risk=True,
)
