"""Does this patient have coronary heart disease, and which test is worth its risk?"""

from __future__ import annotations

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

NUM_FINDINGS = 5
RECOMMENDATIONS = {
    "approve": "no_further_test",
    "review": "non_invasive_imaging",
    "decline": "refer_for_angiography",
}
CHEST_PAINS = ("typical_angina", "atypical_angina", "non_anginal", "asymptomatic")
NOTICE = "This supports a clinician, who decides; it is no diagnosis."


def respond(judgement: Decision) -> dict[str, Any]:
    """The task's answer: how probable the disease is, by which findings, and what to do."""
    return {
        "disease_probability": round(judgement.probability, 6),
        "recommendation": RECOMMENDATIONS[judgement.action],
        "findings": field_effects(judgement.fields[:NUM_FINDINGS]),
        "warnings": warnings(judgement),
        "confidence": round(judgement.confidence, 6),
        "notice": NOTICE,
    }


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of patients before an angiography, whose causes are known.

    The log-odds of the disease are -1.6, plus 0.05 per year of age above 54, plus 1.3 for men, plus
    1.5 for typical angina (0.5 for the atypical), plus 1.8 for pain on exertion, plus 0.9 per mm of
    ST depression above 0.9, minus 0.025 per beat of the highest heart rate above 150, plus 0.7 per
    narrowed vessel in fluoroscopy, plus 0.004 per mg/dl of cholesterol above 245; what is below
    takes as much away.
    The resting pressure and the blood sugar have no effect of their own, and rise with age. 15 % of
    fluoroscopies and 3 % of cholesterols are missing at random. The numbers are of no study.
    """
    draw = np.random.default_rng(seed)
    age = np.clip(draw.normal(54.0, 9.0, num_rows), 25, 90).round().astype(np.int64)
    is_male = draw.random(num_rows) < 0.65
    pain = draw.choice(4, num_rows, p=[0.15, 0.2, 0.3, 0.35])
    pressure = np.clip(draw.normal(118 + 0.25 * age, 16.0), 85, 220).round()
    cholesterol = np.clip(draw.normal(245.0, 50.0, num_rows), 110, 600).round()
    sugar_high = draw.random(num_rows) < 0.05 + 0.002 * age
    fastest = np.clip(draw.normal(195 - 0.85 * age, 20.0), 70, 220).round()
    is_painful = draw.random(num_rows) < 0.32
    depression = np.clip(draw.exponential(0.9, num_rows), 0, 7).round(1)
    vessels = np.clip(draw.poisson(0.6, num_rows), 0, 3)
    log_odds = (
        -1.6
        + 0.05 * (age - 54)
        + 1.3 * is_male
        + np.array([1.5, 0.5, 0.0, 0.0])[pain]
        + 1.8 * is_painful
        + 0.9 * (depression - 0.9)
        - 0.025 * (fastest - 150)
        + 0.7 * vessels
        + 0.004 * (cholesterol - 245)
    )
    is_ill = draw.random(num_rows) < 1 / (1 + np.exp(-log_odds))
    return pa.table(
        {
            "age": age,
            "sex": np.where(is_male, "male", "female"),
            "chest_pain": np.array(CHEST_PAINS)[pain],
            "resting_pressure": pressure,
            "cholesterol": pa.array(cholesterol, mask=draw.random(num_rows) < 0.03),
            "fasting_sugar_high": sugar_high,
            "max_heart_rate": fastest,
            "exercise_angina": is_painful,
            "st_depression": depression,
            "narrowed_vessels": pa.array(vessels, mask=draw.random(num_rows) < 0.15),
            "has_disease": is_ill.astype(np.int8),
        }
    )


def causes(table: pa.Table) -> dict[str, NDArray[np.float64]]:
    """What single fields [N] of a sample's rows add to the log-odds: all of it but the constant.

    NaN where a fluoroscopy or a cholesterol is missing.
    """

    def numbers(name: str) -> NDArray[np.float64]:
        return np.array(table[name].to_pylist(), np.float64)

    pain = np.array(table["chest_pain"].to_pylist())
    return {
        "age": 0.05 * (numbers("age") - 54),
        "sex": 1.3 * (np.array(table["sex"].to_pylist()) == "male"),
        "chest_pain": np.select([pain == "typical_angina", pain == "atypical_angina"], [1.5, 0.5]),
        "exercise_angina": 1.8 * numbers("exercise_angina"),
        "st_depression": 0.9 * (numbers("st_depression") - 0.9),
        "max_heart_rate": -0.025 * (numbers("max_heart_rate") - 150),
        "narrowed_vessels": 0.7 * numbers("narrowed_vessels"),
        "cholesterol": 0.004 * (numbers("cholesterol") - 245),
        "resting_pressure": np.zeros(table.num_rows),
        "fasting_sugar_high": np.zeros(table.num_rows),
    }


HEART_DISEASE = Task(
    industry=IndustryType.HEALTHCARE,
    name="heart_disease",
    title="Coronary heart disease",
    description=(
        "The probability of coronary heart disease by what is known before an angiography, why, "
        "and which test is worth its cost and risk. It supports a clinician, who decides."
    ),
    verb="assess_heart_disease",
    label="has_disease",
    fields=(
        Field(name="age", kind="number", unit="years", minimum=0, maximum=125),
        Field(name="sex", kind="category"),
        Field(name="chest_pain", kind="category", description=", ".join(CHEST_PAINS)),
        Field(
            name="resting_pressure",
            kind="number",
            unit="mmHg",
            minimum=0,
            maximum=350,
            description="systolic, on admission",
        ),
        Field(
            name="cholesterol",
            kind="number",
            unit="mg/dl",
            minimum=1,
            maximum=2000,
            required=False,
            description="in serum; 0 stands for no measurement in some hospitals: leave it out",
        ),
        Field(
            name="fasting_sugar_high",
            kind="boolean",
            required=False,
            description="whether fasting blood sugar is above 120 mg/dl",
        ),
        Field(
            name="max_heart_rate",
            kind="number",
            unit="1/min",
            minimum=0,
            maximum=350,
            description="highest on exertion",
        ),
        Field(name="exercise_angina", kind="boolean", description="pain on exertion"),
        Field(
            name="st_depression",
            kind="number",
            unit="mm",
            minimum=-10,
            maximum=20,
            description="on exertion against rest",
        ),
        Field(
            name="narrowed_vessels",
            kind="number",
            minimum=0,
            maximum=4,
            required=False,
            description="major vessels coloured in fluoroscopy",
        ),
    ),
    answer={
        "disease_probability": probability_schema(
            "calibrated probability of a vessel narrowed by more than half"
        ),
        "recommendation": {
            "type": "string",
            "enum": list(RECOMMENDATIONS.values()),
            "description": "the cheapest by the policy's costs of a missed disease, a needless "
            "angiography and an imaging test",
        },
        "findings": field_effects_schema(
            "strongest effects on the log-odds, signed: positive speaks for it"
        ),
        "warnings": warnings_schema(),
        "confidence": CONFIDENCE,
        "notice": {"type": "string", "description": "what the answer is, and what it is not"},
    },
    respond=respond,
    example={
        "age": 63,
        "sex": "male",
        "chest_pain": "typical_angina",
        "resting_pressure": 145,
        "cholesterol": 233,
        "fasting_sugar_high": True,
        "max_heart_rate": 150,
        "exercise_angina": False,
        "st_depression": 2.3,
        "narrowed_vessels": 0,
    },
    sample=sample,
    causes=causes,
    # Assumed, to be set by the hospital: a disease that is missed, an angiography of a healthy
    # person with its risks, an imaging test.
    costs=Costs(missed_positive=20_000.0, false_alarm=4_000.0, review=700.0),
    metric="roc_auc",
    protected=PROTECTED,
    monitored=CLINICAL,
    compliance_checks=("data_licence_known", "protected_attributes_excluded"),
    high_risk=True,
)
