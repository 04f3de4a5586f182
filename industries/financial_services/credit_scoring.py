"""How creditworthy is this applicant? A score on a scale, with the reasons that lower it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from industries.financial_services.adverse_action import REASONING_SCHEMA, reasoning
from spt_core.answers import PROBABILITY, warnings, warnings_schema
from spt_core.judgement import Decision
from spt_core.policy import Costs
from spt_core.protected import ATTRIBUTES
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

# A scorecard's scale: 600 points at odds of 30 good to 1 bad, 20 points double them (Siddiqi,
# "Credit Risk Scorecards", 2006), held within the range that lenders print.
ANCHOR_POINTS, ANCHOR_ODDS, POINTS_TO_DOUBLE = 600, 30.0, 20
LOWEST, HIGHEST = 300, 850
BANDS = ((640, "excellent"), (600, "good"), (560, "fair"), (LOWEST, "poor"))
CHECKING = ("none", "negative", "low", "high")
CHECKING_EFFECTS = np.array([0.4, 0.9, 0.3, -0.8])
SAVINGS = ("none", "low", "medium", "high")
SAVINGS_EFFECTS = np.array([0.4, 0.1, -0.3, -0.8])
HISTORY = ("late_before", "other_credits", "all_paid", "paid_till_now")
HISTORY_EFFECTS = np.array([1.0, 0.4, -0.4, 0.0])
PURPOSES = ("car", "furniture", "business", "education", "repairs")
PURPOSE_EFFECTS = np.array([0.0, -0.1, 0.4, 0.3, 0.1])
HOUSING = ("rent", "own", "free")


def respond(judgement: Decision) -> dict[str, Any]:
    """The task's answer: the points of the probability, and the reasons."""
    points = points_of(judgement.probability)
    return {
        "credit_score": points,
        "band": next(band for floor, band in BANDS if points >= floor),
        "default_probability": round(judgement.probability, 6),
        "recommendation": judgement.action,
        "reasoning": reasoning(judgement),
        "warnings": warnings(judgement),
    }


def points_of(probability: float) -> int:
    """The points of a calibrated probability of default, within the scale."""
    certain = min(max(probability, 1e-9), 1 - 1e-9)
    odds = (1 - certain) / certain
    points = ANCHOR_POINTS + POINTS_TO_DOUBLE * math.log2(odds / ANCHOR_ODDS)
    return round(min(max(points, LOWEST), HIGHEST))


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of instalment loans whose causes are known.

    The log-odds of default are -2.6, plus the effects of the checking account (none 0.4, negative
    0.9, low 0.3, high -0.8), of savings (none 0.4, low 0.1, medium -0.3, high -0.8) and of the
    credit history (late before 1.0, other credits 0.4, all paid -0.4), plus 0.03 per month of
    duration beyond 18, plus 0.5 per unit of log(amount / 3,000), plus 0.04 per percent of income
    that instalments take beyond 20, minus 0.09 per year of employment up to 10, plus the purpose's
    effect (furniture -0.1, repairs 0.1, education 0.3, business 0.4), plus 0.3 for who rents.
    Residence and existing credits do not matter; sex and age have no effect of their own. 5 % of
    savings are missing at random.

    About 18 % default.
    """
    draw = np.random.default_rng(seed)
    age = draw.integers(19, 75, num_rows)
    checking = draw.choice(4, num_rows, p=[0.3, 0.2, 0.25, 0.25])
    savings = draw.choice(4, num_rows, p=[0.2, 0.5, 0.2, 0.1])
    history = draw.choice(4, num_rows, p=[0.1, 0.25, 0.25, 0.4])
    purpose = draw.choice(5, num_rows, p=[0.35, 0.3, 0.1, 0.1, 0.15])
    housing = draw.choice(3, num_rows, p=[0.3, 0.6, 0.1])
    duration = 6 * draw.integers(1, 13, num_rows)
    amount = (draw.lognormal(7.3, 0.6, num_rows) * (duration / 24) ** 0.6).round(0)
    share = np.clip(draw.normal(22, 9, num_rows), 2, 60).round(1)
    employed = np.minimum(np.floor(draw.exponential(6.0, num_rows)), age - 18)
    log_odds = (
        -2.6
        + CHECKING_EFFECTS[checking]
        + SAVINGS_EFFECTS[savings]
        + HISTORY_EFFECTS[history]
        + 0.03 * np.maximum(duration - 18, 0)
        + 0.5 * np.log(amount / 3000)
        + 0.04 * np.maximum(share - 20, 0)
        - 0.09 * np.minimum(employed, 10)
        + PURPOSE_EFFECTS[purpose]
        + 0.3 * (housing == 0)
    )
    default = draw.random(num_rows) < 1.0 / (1.0 + np.exp(-log_odds))
    return pa.table(
        {
            "applicant": pa.array(np.char.add("p", np.arange(num_rows).astype("U8"))),
            "checking_account": np.array(CHECKING)[checking],
            "duration_months": duration,
            "credit_history": np.array(HISTORY)[history],
            "purpose": np.array(PURPOSES)[purpose],
            "credit_amount": amount,
            "savings": pa.array(np.array(SAVINGS)[savings], mask=draw.random(num_rows) < 0.05),
            "years_employed": employed,
            "instalment_percent": share,
            "years_of_residence": np.minimum(np.floor(draw.exponential(5.0, num_rows)), age),
            "housing": np.array(HOUSING)[housing],
            "existing_credits": draw.poisson(0.6, num_rows),
            "sex": draw.choice(np.array(["female", "male"]), num_rows),
            "age": age,
            "default": default.astype(np.int8),
        }
    )


def causes(table: pa.Table) -> dict[str, NDArray[np.float64]]:
    """What single fields [N] of a sample's rows add to the log-odds: all of it but the constant.

    NaN where savings are missing.
    """

    def numbers(name: str) -> NDArray[np.float64]:
        return np.array(table[name].to_pylist(), np.float64)

    def effects(name: str, values: Sequence[str], own: Sequence[float]) -> NDArray[np.float64]:
        of_value = dict(zip(values, own, strict=True))
        return np.array([of_value.get(value, np.nan) for value in table[name].to_pylist()])

    return {
        "checking_account": effects("checking_account", CHECKING, CHECKING_EFFECTS.tolist()),
        "savings": effects("savings", SAVINGS, SAVINGS_EFFECTS.tolist()),
        "credit_history": effects("credit_history", HISTORY, HISTORY_EFFECTS.tolist()),
        "duration_months": 0.03 * np.maximum(numbers("duration_months") - 18, 0),
        "credit_amount": 0.5 * np.log(numbers("credit_amount") / 3000),
        "instalment_percent": 0.04 * np.maximum(numbers("instalment_percent") - 20, 0),
        "years_employed": -0.09 * np.minimum(numbers("years_employed"), 10),
        "purpose": effects("purpose", PURPOSES, PURPOSE_EFFECTS.tolist()),
        "housing": effects("housing", HOUSING, (0.3, 0.0, 0.0)),
        "years_of_residence": np.zeros(table.num_rows),
        "existing_credits": np.zeros(table.num_rows),
    }


CREDIT_SCORING = Task(
    industry=IndustryType.FINANCIAL_SERVICES,
    name="credit_scoring",
    title="Credit scoring",
    description=(
        "A score of an applicant for an instalment loan, the probability of default behind it, "
        "what to do, and why."
    ),
    verb="score_applicant",
    label="default",
    fields=(
        Field(name="checking_account", kind="category", description="balance, in classes"),
        Field(name="duration_months", kind="number", unit="months", minimum=0),
        Field(name="credit_history", kind="category", description="how earlier credits went"),
        Field(name="purpose", kind="category", description="what the loan is for"),
        Field(name="credit_amount", kind="number", unit="USD", minimum=0),
        Field(name="savings", kind="category", required=False, description="savings, in classes"),
        Field(name="years_employed", kind="number", unit="years", minimum=0),
        Field(
            name="instalment_percent",
            kind="number",
            unit="%",
            minimum=0,
            description="instalments over disposable income",
        ),
        Field(name="years_of_residence", kind="number", unit="years", minimum=0),
        Field(name="housing", kind="category", description="rent, own or free"),
        Field(name="existing_credits", kind="number", minimum=0, description="at any bank"),
    ),
    answer={
        "credit_score": {
            "type": "integer",
            "minimum": LOWEST,
            "maximum": HIGHEST,
            "description": "600 points at odds of 30 good to 1 bad, 20 points double them",
        },
        "band": {"type": "string", "enum": [band for _, band in BANDS]},
        "default_probability": PROBABILITY,
        "recommendation": {"type": "string", "enum": ["approve", "review", "decline"]},
        "reasoning": REASONING_SCHEMA,
        "warnings": warnings_schema(),
    },
    respond=respond,
    example={
        "checking_account": "low",
        "duration_months": 36,
        "credit_history": "paid_till_now",
        "purpose": "car",
        "credit_amount": 5200,
        "savings": "low",
        "years_employed": 3,
        "instalment_percent": 24.0,
        "years_of_residence": 2,
        "housing": "rent",
        "existing_credits": 1,
    },
    sample=sample,
    causes=causes,
    costs=Costs(missed_positive=2_500.0, false_alarm=500.0, review=60.0),  # 5 : 1, as Statlog's
    approval_benefits=True,
    daily_review_capacity=150,
    daily_volume=500,
    protected=ATTRIBUTES,
    reason_codes={
        "checking_account": "OWN-CHECKING",
        "duration_months": "OWN-TERM",
        "credit_history": "OWN-CREDIT-HISTORY",
        "credit_history=late_before": "C1-CREDIT-HISTORY",
        "purpose": "OWN-PURPOSE",
        "credit_amount": "OWN-AMOUNT",
        "savings": "OWN-SAVINGS",
        "years_employed": "C1-EMPLOYMENT",
        "instalment_percent": "C1-OBLIGATIONS",
        "years_of_residence": "C1-RESIDENCE",
        "housing": "OWN-HOUSING",
        "existing_credits": "OWN-CREDITS",
    },
    compliance_checks=(
        "protected_attributes_excluded",
        "adverse_action_reasons",
        "data_licence_known",
    ),
    high_risk=True,
    concepts={
        "checking_account": "debt",
        "duration_months": "term",
        "credit_history": "arrears",
        "purpose": "purpose",
        "credit_amount": "amount",
        "savings": "wealth",
        "years_employed": "tenure",
        "instalment_percent": "debt",
        "existing_credits": "frequency",
        "housing": "wealth",
        # credit-german-south
        "duration": "term",
        "installment_rate": "payment",
        "employment_duration": "tenure",
        "number_credits": "frequency",
    },
    transfer_from="financial_services/risk_assessment",
)
