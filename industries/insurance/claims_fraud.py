"""Does a motor claim look fraudulent? Answered so that a person looks, never to refuse it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answers import (
    CONFIDENCE,
    PROBABILITY,
    checks,
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

NUM_INDICATORS = 5
# A refusal is a person's: NAIC Model Act 900, section 4; Article 22 of Regulation (EU) 2016/679.
RECOMMENDATIONS = {"approve": "settle", "review": "examine", "decline": "investigate"}
# What a field can point to -> what a handler asks or looks at first.
CHECKS: Mapping[str, str] = {
    "AMOUNT": "hold the amount against an estimate of a workshop of your own",
    "POLICY": "see when cover began and what was changed before the accident",
    "REPORTING": "ask why the claim was reported when it was",
    "HISTORY": "read the earlier claims of the policy and of the vehicle",
    "VEHICLE": "have the vehicle inspected, and its value before the accident estimated",
    "ACCIDENT": "ask for the accident report, photographs and the other party's account",
    "EVIDENCE": "name witnesses, and ask the police for the record",
    "CHANNEL": "ask the agent what was known when the claim came in",
}
SAMPLE_START_S = 1_704_067_200  # 2024-01-01T00:00:00
SAMPLE_DAYS = 730
DAY_S = 86_400
AREAS = ("urban", "rural")
FAULTS = ("policy_holder", "third_party")
COVERS = ("liability", "collision", "all_perils")
CHANNELS = ("agent", "broker", "direct")
COVER_EFFECTS = np.array([-1.2, 0.4, 0.8])


def respond(judgement: Decision) -> dict[str, Any]:
    """The task's answer: the indicators are the strongest signed effects."""
    return {
        "fraud_probability": round(judgement.probability, 6),
        "recommendation": RECOMMENDATIONS[judgement.action],
        "indicators": field_effects(judgement.fields[:NUM_INDICATORS]),
        "checks": checks(judgement),
        "warnings": warnings(judgement),
        "confidence": round(judgement.confidence, 6),
    }


class Drawn(NamedTuple):
    """A sample of N rows, and the log-odds [N] that its labels were drawn from."""

    table: pa.Table
    log_odds: NDArray[np.float64]


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of motor claims over two years, by day of the accident; causes are known.

    The log-odds of fraud are -4.6, plus 1.4 per unit of log(claim / a quarter of the vehicle's
    value) above 0 (only upwards), plus 1.6 where the policy is younger than 30 days and 0.8 from
    there to 90, plus 0.03 per day of reporting beyond 14 (at most 60 days count), plus 0.5 per past
    claim up to 4, plus the cover's effect (liability -1.2, collision 0.4, all perils 0.8), plus 0.9
    where the policy holder is at fault, minus 0.8 with a police report, minus 0.6 with a witness,
    plus 0.7 through an agent, plus 1.2 where the address was changed within a year. Vehicle age,
    area and deductible do not matter of their own; sex and age of the holder have no effect at all.
    5 % of vehicle values and 3 % of reporting days are missing at random.

    About 8 % are fraud. On 20,000 rows (seed 0) those log-odds themselves have an average
    precision of 0.34.
    """
    return drawn(num_rows, seed).table


def drawn(num_rows: int, seed: int) -> Drawn:
    """The sample, and the truth that it does not tell."""
    draw = np.random.default_rng(seed)
    day = np.sort(draw.integers(0, SAMPLE_DAYS, num_rows))
    vehicle_age = draw.integers(0, 18, num_rows)
    value = (draw.lognormal(10.2, 0.45, num_rows) * 0.88**vehicle_age).round(-2) + 500
    amount = (value * draw.lognormal(-1.7, 0.8, num_rows)).round(2) + 50
    tenure = np.floor(draw.exponential(900.0, num_rows))
    reporting = np.floor(draw.exponential(8.0, num_rows))
    past = draw.poisson(0.8, num_rows)
    cover = draw.choice(3, num_rows, p=[0.3, 0.4, 0.3])
    own_fault = draw.random(num_rows) < 0.65
    police, witness = draw.random(num_rows) < 0.25, draw.random(num_rows) < 0.15
    channel = draw.choice(3, num_rows, p=[0.35, 0.25, 0.4])
    moved = draw.random(num_rows) < 0.08
    log_odds = (
        -4.6
        + 1.4 * np.maximum(np.log(amount / (0.25 * value)), 0.0)
        + np.where(tenure < 30, 1.6, np.where(tenure < 90, 0.8, 0.0))
        + 0.03 * np.clip(reporting - 14, 0, 60)
        + 0.5 * np.minimum(past, 4)
        + COVER_EFFECTS[cover]
        + 0.9 * own_fault
        - 0.8 * police
        - 0.6 * witness
        + 0.7 * (channel == 0)
        + 1.2 * moved
    )
    fraud = draw.random(num_rows) < 1.0 / (1.0 + np.exp(-log_odds))
    table = pa.table(
        {
            "claim": pa.array(np.char.add("c", np.arange(num_rows).astype("U7"))),
            "accident_date": pa.array(
                (SAMPLE_START_S + day * DAY_S) * 1_000_000, pa.timestamp("us")
            ),
            "claim_amount": amount,
            "policy_tenure_days": tenure,
            "days_to_report": pa.array(reporting, mask=draw.random(num_rows) < 0.03),
            "past_claims": past,
            "cover": np.array(COVERS)[cover],
            "fault": np.array(FAULTS)[(~own_fault).astype(int)],
            "police_report": police,
            "witness": witness,
            "sales_channel": np.array(CHANNELS)[channel],
            "address_changed": moved,
            "vehicle_value": pa.array(value, mask=draw.random(num_rows) < 0.05),
            "vehicle_age_years": vehicle_age,
            "area": np.array(AREAS)[draw.choice(2, num_rows, p=[0.85, 0.15])],
            "deductible": draw.choice(np.array([300.0, 500.0, 1000.0]), num_rows),
            "holder_sex": draw.choice(np.array(["female", "male"]), num_rows),
            "holder_age": draw.integers(18, 85, num_rows),
            "is_fraud": fraud.astype(np.int8),
        }
    )
    return Drawn(table, log_odds)


def causes(table: pa.Table) -> dict[str, NDArray[np.float64]]:
    """What single fields [N] of a sample's rows add to the log-odds; claim and value act together.

    NaN where the days to report are missing. The vehicle's age is left out: its value tells it.
    """

    def numbers(name: str) -> NDArray[np.float64]:
        return np.array(table[name].to_pylist(), np.float64)

    def words(name: str) -> NDArray[np.str_]:
        return np.array(table[name].to_pylist())

    tenure, cover = numbers("policy_tenure_days"), words("cover")
    return {
        "policy_tenure_days": np.where(tenure < 30, 1.6, np.where(tenure < 90, 0.8, 0.0)),
        "days_to_report": 0.03 * np.clip(numbers("days_to_report") - 14, 0, 60),
        "past_claims": 0.5 * np.minimum(numbers("past_claims"), 4),
        "cover": np.select([cover == name for name in COVERS], COVER_EFFECTS.tolist()),
        "fault": 0.9 * (words("fault") == FAULTS[0]),
        "police_report": -0.8 * numbers("police_report"),
        "witness": -0.6 * numbers("witness"),
        "sales_channel": 0.7 * (words("sales_channel") == CHANNELS[0]),
        "address_changed": 1.2 * numbers("address_changed"),
        "area": np.zeros(table.num_rows),
        "deductible": np.zeros(table.num_rows),
    }


CLAIMS_FRAUD = Task(
    industry=IndustryType.INSURANCE,
    name="claims_fraud",
    title="Claims fraud",
    description=(
        "The probability that a motor claim is fraudulent, by what is known when it is reported, "
        "why, and what a handler should look at; a person decides, and none is refused by it."
    ),
    verb="assess_claim",
    label="is_fraud",
    time="accident_date",
    fields=(
        Field(name="accident_date", kind="time", description="day of the accident, ISO 8601"),
        Field(
            name="claim_amount", kind="number", unit="USD", minimum=0, description="what is claimed"
        ),
        Field(
            name="policy_tenure_days",
            kind="number",
            unit="days",
            minimum=0,
            description="from the beginning of cover to the accident",
        ),
        Field(
            name="days_to_report",
            kind="number",
            unit="days",
            minimum=0,
            required=False,
            description="from the accident to the claim",
        ),
        Field(name="past_claims", kind="number", minimum=0, description="earlier claims"),
        Field(name="cover", kind="category", description="what the policy covers"),
        Field(name="fault", kind="category", description="who is said to be at fault"),
        Field(name="police_report", kind="boolean", description="whether the police made a record"),
        Field(name="witness", kind="boolean", description="whether anybody saw it"),
        Field(name="sales_channel", kind="category", description="who sold the policy"),
        Field(
            name="address_changed",
            kind="boolean",
            description="whether the holder's address changed within a year",
        ),
        Field(
            name="vehicle_value",
            kind="number",
            unit="USD",
            minimum=0,
            required=False,
            description="before the accident",
        ),
        Field(name="vehicle_age_years", kind="number", unit="years", minimum=0),
        Field(name="area", kind="category", description="urban or rural"),
        Field(name="deductible", kind="number", unit="USD", minimum=0),
    ),
    answer={
        "fraud_probability": PROBABILITY,
        "recommendation": {
            "type": "string",
            "enum": list(RECOMMENDATIONS.values()),
            "description": "settle, have a handler examine it, or hand it to investigators: the "
            "cheapest by the policy's costs; a claim is never refused by it",
        },
        "indicators": field_effects_schema(
            "strongest effects on the log-odds, signed: positive raises the suspicion"
        ),
        "checks": {
            "type": "array",
            "description": "what to look at first, by the fields that raise the suspicion (none "
            "where the claim is settled), after what no training row had",
            "items": {"type": "string"},
        },
        "warnings": warnings_schema(),
        "confidence": CONFIDENCE,
    },
    respond=respond,
    example={
        "accident_date": "2025-11-08T00:00:00",
        "claim_amount": 14200.0,
        "policy_tenure_days": 21,
        "days_to_report": 19,
        "past_claims": 3,
        "cover": "all_perils",
        "fault": "policy_holder",
        "police_report": False,
        "witness": False,
        "sales_channel": "agent",
        "address_changed": True,
        "vehicle_value": 16500.0,
        "vehicle_age_years": 4,
        "area": "urban",
        "deductible": 500.0,
    },
    sample=sample,
    causes=causes,
    costs=Costs(missed_positive=4_000.0, false_alarm=450.0, review=60.0),
    approval_benefits=True,
    daily_review_capacity=30,
    daily_volume=250,
    protected=ATTRIBUTES,
    reason_codes={
        "accident_date": "ACCIDENT",
        "claim_amount": "AMOUNT",
        "policy_tenure_days": "POLICY",
        "days_to_report": "REPORTING",
        "past_claims": "HISTORY",
        "cover": "POLICY",
        "fault": "ACCIDENT",
        "police_report": "EVIDENCE",
        "witness": "EVIDENCE",
        "sales_channel": "CHANNEL",
        "address_changed": "POLICY",
        "vehicle_value": "VEHICLE",
        "vehicle_age_years": "VEHICLE",
        "area": "ACCIDENT",
        "deductible": "POLICY",
    },
    conditions=CHECKS,
    compliance_checks=(
        "protected_attributes_excluded",
        "sex_excluded",
        "age_excluded",
        "adverse_action_reasons",
        "data_licence_known",
    ),
    high_risk=True,
    concepts={
        "accident_date": "time_of_event",
        "claim_amount": "amount",
        "policy_tenure_days": "tenure",
        "days_to_report": "recency",
        "past_claims": "frequency",
        "sales_channel": "counterparty",
        "area": "place",
        "deductible": "limit",
        "vehicle_value": "usual_amount",
        # auto-claims-carclaims and auto-claims-small
        "PastNumberOfClaims": "frequency",
        "AgentType": "counterparty",
        "AccidentArea": "place",
        "VehiclePrice": "usual_amount",
        "total_claim_amount": "amount",
        "months_as_customer": "tenure",
        "incident_hour_of_the_day": "time_of_event",
        "number_of_vehicles_involved": "frequency",
    },
    transfer_from="financial_services/fraud_detection",
)
