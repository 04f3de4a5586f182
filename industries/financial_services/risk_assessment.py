"""Will this loan default? Answered with the reasons that a lender must be able to state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from industries.financial_services.adverse_action import REASONING_SCHEMA, reasoning
from spt_core.answers import warnings, warnings_schema
from spt_core.judgement import Decision
from spt_core.policy import Costs
from spt_core.protected import ATTRIBUTES
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

RISK_LEVELS = {"approve": "low", "review": "medium", "decline": "high"}
CONDITIONS = {
    "C1-INCOME": "verify income with two recent statements",
    "C1-OBLIGATIONS": "obtain a list of open obligations",
    "C1-EMPLOYMENT": "verify employment with the employer",
    "OWN-EMPLOYMENT": "verify employment with the employer",
    "C1-CREDIT-HISTORY": "obtain a full credit report",
    "OWN-SCORE": "obtain a full credit report",
    "C1-CREDIT-FILE": "obtain a second credit reference",
    "OWN-AMOUNT": "offer a lower amount",
    "OWN-TERM": "offer a lower amount or another term",
}
PURPOSES = ("home_purchase", "car", "education", "business", "debt_consolidation")
PURPOSE_EFFECTS = np.array([-0.3, 0.0, 0.1, 0.5, 0.4])
TERMS_YEARS = {"home_purchase": (15, 20, 30), "other": (2, 3, 5, 7)}


def respond(judgement: Decision) -> dict[str, Any]:
    """The task's answer; of a loan under review it says what to ask for."""
    reasons = reasoning(judgement)
    conditions: list[str] = []
    if judgement.action == "review":
        texts = [judgement.policy.conditions.get(reason["code"]) for reason in reasons]
        conditions = list(dict.fromkeys(text for text in texts if text))
    return {
        "risk_level": RISK_LEVELS[judgement.action],
        "recommendation": judgement.action,
        "conditions": conditions,
        "reasoning": reasons,
        "warnings": warnings(judgement),
    }


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of loan applications whose causes are known.

    The log-odds of default are -2.0, minus 1.1 per 100 points of credit score above 680, plus 3.0
    per unit of debt-to-income above 0.3, plus 0.5 per unit of log(loan / income) above 1 (only
    upwards), minus 0.08 per year of employment up to 10, plus 0.6 if the employment is unstable,
    plus the purpose's effect (home -0.3, education 0.1, consolidation 0.4, business 0.5). Sex and
    age have no effect of their own, but income rises with age until 50, so that they correlate with
    the outcome. 4 % of incomes and 8 % of credit scores are missing at random.
    """
    draw = np.random.default_rng(seed)
    age = draw.integers(20, 75, num_rows)
    sex = draw.choice(np.array(["female", "male"]), num_rows)
    income = draw.lognormal(10.6 + 0.012 * np.minimum(age - 20, 30), 0.45)
    score = np.clip(draw.normal(690, 75, num_rows), 300, 850).round()
    debt_to_income = np.clip(draw.beta(2.2, 4.5, num_rows), 0, 1)
    years = np.minimum(draw.geometric(0.16, num_rows) - 1, age - 18)
    unstable = draw.random(num_rows) < 0.25
    purpose = draw.choice(5, num_rows, p=[0.3, 0.3, 0.12, 0.1, 0.18])
    home = purpose == 0
    loan = income * draw.lognormal(np.where(home, 1.1, -0.9), 0.4)
    term = np.where(
        home,
        draw.choice(TERMS_YEARS["home_purchase"], num_rows),
        draw.choice(TERMS_YEARS["other"], num_rows),
    )
    log_odds = (
        -2.0
        - 1.1 * (score - 680) / 100
        + 3.0 * np.maximum(debt_to_income - 0.3, 0)
        + 0.5 * np.maximum(np.log(loan / income) - 1, 0)
        - 0.08 * np.minimum(years, 10)
        + 0.6 * unstable
        + PURPOSE_EFFECTS[purpose]
    )
    default = draw.random(num_rows) < 1.0 / (1.0 + np.exp(-log_odds))
    stability = np.where(unstable, " years unstable", " years stable")
    return pa.table(
        {
            "applicant": pa.array(np.char.add("p", np.arange(num_rows).astype("U8"))),
            "customer_profile.credit_score": pa.array(score, mask=draw.random(num_rows) < 0.08),
            "customer_profile.annual_income": pa.array(
                income.round(-2), mask=draw.random(num_rows) < 0.04
            ),
            "customer_profile.debt_to_income": debt_to_income.round(3),
            "customer_profile.employment_history": pa.array(
                np.char.add(years.astype("U2"), stability)
            ),
            "loan_details.amount": loan.round(-2),
            "loan_details.purpose": pa.DictionaryArray.from_arrays(purpose, PURPOSES).cast(
                pa.string()
            ),
            "loan_details.term": term,
            "sex": pa.array(sex),
            "age": age,
            "default": default.astype(np.int8),
        }
    )


def causes(table: pa.Table) -> dict[str, NDArray[np.float64]]:
    """What single fields [N] of a sample's rows add to the log-odds; income and loan act together.

    NaN where a credit score is missing.
    """
    history = [text.split() for text in table["customer_profile.employment_history"].to_pylist()]
    years = np.array([float(words[0]) for words in history])
    unstable = np.array([words[-1] == "unstable" for words in history])
    purposes = table["loan_details.purpose"].to_pylist()
    score = np.array(table["customer_profile.credit_score"].to_pylist(), np.float64)
    debt = np.asarray(table["customer_profile.debt_to_income"], np.float64)
    return {
        "customer_profile.credit_score": -1.1 * (score - 680) / 100,
        "customer_profile.debt_to_income": 3.0 * np.maximum(debt - 0.3, 0),
        "customer_profile.employment_history": 0.6 * unstable - 0.08 * np.minimum(years, 10),
        "loan_details.purpose": PURPOSE_EFFECTS[[PURPOSES.index(name) for name in purposes]],
        "loan_details.term": np.zeros(table.num_rows),
    }


RISK_ASSESSMENT = Task(
    industry=IndustryType.FINANCIAL_SERVICES,
    name="risk_assessment",
    title="Credit risk assessment",
    description="The risk that a loan defaults, what to do with the application, and why.",
    verb="assess_risk",
    label="default",
    time=None,
    fields=(
        Field(
            name="customer_profile.credit_score",
            kind="number",
            minimum=300,
            maximum=900,
            required=False,
            description="credit bureau score",
        ),
        Field(
            name="customer_profile.annual_income",
            kind="number",
            unit="USD",
            minimum=0,
            required=False,
            description="gross income a year",
        ),
        Field(
            name="customer_profile.debt_to_income",
            kind="number",
            minimum=0,
            description="monthly debt payments over monthly income",
        ),
        Field(
            name="customer_profile.employment_history",
            kind="category",
            description="years and stability, such as '5 years stable'",
        ),
        Field(name="loan_details.amount", kind="number", unit="USD", minimum=0),
        Field(name="loan_details.purpose", kind="category", description="what the loan is for"),
        Field(name="loan_details.term", kind="number", unit="years", minimum=0),
    ),
    windows=(),
    answer={
        "risk_level": {"type": "string", "enum": ["low", "medium", "high"]},
        "recommendation": {"type": "string", "enum": ["approve", "review", "decline"]},
        "conditions": {"type": "array", "items": {"type": "string"}},
        "reasoning": REASONING_SCHEMA,
        "warnings": warnings_schema(),
    },
    respond=respond,
    example={
        "customer_profile": {
            "credit_score": 720,
            "annual_income": 75000,
            "debt_to_income": 0.35,
            "employment_history": "5 years stable",
        },
        "loan_details": {"amount": 250000, "purpose": "home_purchase", "term": 30},
    },
    sample=sample,
    causes=causes,
    costs=Costs(missed_positive=12_000.0, false_alarm=2_500.0, review=400.0),
    approval_benefits=True,
    daily_review_capacity=120,
    daily_volume=400,
    protected=ATTRIBUTES,
    reason_codes={
        "customer_profile.credit_score": "OWN-SCORE",
        "customer_profile.annual_income": "C1-INCOME",
        "customer_profile.debt_to_income": "C1-OBLIGATIONS",
        "customer_profile.employment_history": "OWN-EMPLOYMENT",
        "loan_details.amount": "OWN-AMOUNT",
        "loan_details.purpose": "OWN-PURPOSE",
        "loan_details.term": "OWN-TERM",
    },
    conditions=CONDITIONS,
    compliance_checks=(
        "protected_attributes_excluded",
        "adverse_action_reasons",
        "data_licence_known",
    ),
    high_risk=True,
    concepts={
        "customer_profile.credit_score": "score",
        "customer_profile.annual_income": "income",
        "customer_profile.debt_to_income": "debt",
        "customer_profile.employment_history": "tenure",
        "loan_details.amount": "amount",
        "loan_details.purpose": "purpose",
        "loan_details.term": "term",
        # credit-taiwan
        "LIMIT_BAL": "limit",
        **dict.fromkeys((f"PAY_{month}" for month in (0, 2, 3, 4, 5, 6)), "arrears"),
        **dict.fromkeys((f"PAY_AMT{month}" for month in range(1, 7)), "payment"),
    },
)
