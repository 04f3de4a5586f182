"""Will this customer take a further policy? Answered so that offers go where they are welcome."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answers import (
    CONFIDENCE,
    PROBABILITY,
    field_effects,
    field_effects_schema,
    warnings,
    warnings_schema,
)
from spt_core.judgement import Decision
from spt_core.policy import Costs
from spt_core.protected import ATTRIBUTES
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

NUM_FACTORS = 5
RECOMMENDATIONS = {"approve": "leave", "review": "write", "decline": "call"}
REGIONS = ("city", "suburb", "country")
CHANNELS = ("agent", "broker", "direct")


def respond(judgement: Decision) -> dict[str, Any]:
    """The task's answer: whom to write to or call, and why."""
    return {
        "uptake_probability": round(judgement.probability, 6),
        "recommendation": RECOMMENDATIONS[judgement.action],
        "contributing_factors": field_effects(judgement.fields[:NUM_FACTORS]),
        "warnings": warnings(judgement),
        "confidence": round(judgement.confidence, 6),
    }


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of customers who were offered a caravan policy; causes are known.

    The log-odds of taking it are -4.6, plus 0.7 per unit of log(household income / 40,000), plus
    1.5 with a car policy, plus 0.5 with a home policy, plus 0.25 per further policy up to 4, plus
    0.06 per year as a customer up to 15, plus 0.9 in the country and 0.4 in a suburb, minus 0.5 per
    claim of the last three years up to 3, plus 0.5 where an agent sold the first policy. Annual
    premium does not matter of its own. Sex and age have no effect of their own. 6 % of incomes are
    missing at random.

    About 10 % take it.
    """
    draw = np.random.default_rng(seed)
    income = draw.lognormal(10.6, 0.5, num_rows).round(-2)
    car, home = draw.random(num_rows) < 0.6, draw.random(num_rows) < 0.4
    others = draw.poisson(0.8, num_rows)
    years = np.floor(draw.exponential(6.0, num_rows))
    region = draw.choice(3, num_rows, p=[0.45, 0.35, 0.2])
    claims = draw.poisson(0.4, num_rows)
    channel = draw.choice(3, num_rows, p=[0.4, 0.25, 0.35])
    premium = (180 + 420 * car + 260 * home + 110 * others) * draw.lognormal(0.0, 0.25, num_rows)
    log_odds = (
        -4.6
        + 0.7 * np.log(np.maximum(income, 1.0) / 40_000)
        + 1.5 * car
        + 0.5 * home
        + 0.25 * np.minimum(others, 4)
        + 0.06 * np.minimum(years, 15)
        + np.array([0.0, 0.4, 0.9])[region]
        - 0.5 * np.minimum(claims, 3)
        + 0.5 * (channel == 0)
    )
    taken = draw.random(num_rows) < 1.0 / (1.0 + np.exp(-log_odds))
    return pa.table(
        {
            "customer": pa.array(np.char.add("k", np.arange(num_rows).astype("U7"))),
            "household_income": pa.array(income, mask=draw.random(num_rows) < 0.06),
            "car_policy": car,
            "home_policy": home,
            "other_policies": others,
            "years_as_customer": years,
            "annual_premium": premium.round(2),
            "claims_3_years": claims,
            "region": np.array(REGIONS)[region],
            "sales_channel": np.array(CHANNELS)[channel],
            "sex": draw.choice(np.array(["female", "male"]), num_rows),
            "age": draw.integers(18, 85, num_rows),
            "took_policy": taken.astype(np.int8),
        }
    )


def causes(table: pa.Table) -> dict[str, NDArray[np.float64]]:
    """What single fields [N] of a sample's rows add to the log-odds: all of it but the constant.

    NaN where an income is missing. The premium is left out: the policies that are held make it.
    """

    def numbers(name: str) -> NDArray[np.float64]:
        return np.array(table[name].to_pylist(), np.float64)

    region = np.array(table["region"].to_pylist())
    channel = np.array(table["sales_channel"].to_pylist())
    return {
        "household_income": 0.7 * np.log(np.maximum(numbers("household_income"), 1.0) / 40_000),
        "car_policy": 1.5 * numbers("car_policy"),
        "home_policy": 0.5 * numbers("home_policy"),
        "other_policies": 0.25 * np.minimum(numbers("other_policies"), 4),
        "years_as_customer": 0.06 * np.minimum(numbers("years_as_customer"), 15),
        "region": np.select([region == "suburb", region == "country"], [0.4, 0.9]),
        "claims_3_years": -0.5 * np.minimum(numbers("claims_3_years"), 3),
        "sales_channel": 0.5 * (channel == CHANNELS[0]),
    }


POLICY_UPTAKE = Task(
    industry=IndustryType.INSURANCE,
    name="policy_uptake",
    title="Policy uptake",
    description=(
        "The probability that a customer takes a further policy when it is offered, why, and "
        "whether to write, to call or to leave it."
    ),
    verb="predict_uptake",
    label="took_policy",
    fields=(
        Field(
            name="household_income",
            kind="number",
            unit="USD",
            minimum=0,
            required=False,
            description="a year",
        ),
        Field(name="car_policy", kind="boolean", description="whether a car is insured here"),
        Field(name="home_policy", kind="boolean", description="whether a home is insured here"),
        Field(name="other_policies", kind="number", minimum=0, description="further policies"),
        Field(name="years_as_customer", kind="number", unit="years", minimum=0),
        Field(
            name="annual_premium",
            kind="number",
            unit="USD",
            minimum=0,
            description="of all policies together",
        ),
        Field(name="claims_3_years", kind="number", minimum=0, description="of the last 3 years"),
        Field(name="region", kind="category", description="where the household lives"),
        Field(name="sales_channel", kind="category", description="who sold the first policy"),
    ),
    answer={
        "uptake_probability": PROBABILITY,
        "recommendation": {
            "type": "string",
            "enum": list(RECOMMENDATIONS.values()),
            "description": "leave, write or call: the cheapest by the policy's costs of a missed "
            "sale, of a needless call and of a letter, within so many letters a day; a letter is "
            "taken to find whoever would buy, so that a call pays only where one is nearly sure",
        },
        "contributing_factors": field_effects_schema(
            "strongest effects on the log-odds, signed: positive makes it likelier"
        ),
        "warnings": warnings_schema(),
        "confidence": CONFIDENCE,
    },
    respond=respond,
    example={
        "household_income": 62000,
        "car_policy": True,
        "home_policy": True,
        "other_policies": 2,
        "years_as_customer": 11,
        "annual_premium": 1140.0,
        "claims_3_years": 0,
        "region": "country",
        "sales_channel": "agent",
    },
    sample=sample,
    causes=causes,
    costs=Costs(missed_positive=80.0, false_alarm=9.0, review=3.0),
    daily_review_capacity=400,
    daily_volume=2_000,
    protected=ATTRIBUTES,
    compliance_checks=(
        "protected_attributes_excluded",
        "sex_excluded",
        "age_excluded",
        "data_licence_known",
    ),
    concepts={
        "household_income": "income",
        "other_policies": "frequency",
        "years_as_customer": "tenure",
        "annual_premium": "payment",
        "claims_3_years": "arrears",
        "region": "place",
        "sales_channel": "counterparty",
        # caravan-tic
        "average_income": "income",
        "purchasing_power_class": "wealth",
        "home_owners": "wealth",
        "contribution_car_policies": "payment",
        "num_car_policies": "frequency",
    },
    transfer_from="financial_services/risk_assessment",
)
