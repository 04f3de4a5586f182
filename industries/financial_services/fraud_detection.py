"""Is this card or account transaction fraudulent? Answered before it is authorized."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from spt_core.judgement import Decision
from spt_core.policy import Costs
from spt_core.signature import Field, Window
from spt_core.task import IndustryType, Task

NUM_RISK_FACTORS = 4
SAMPLE_START_S = 1_767_225_600  # 2026-01-01T00:00:00
SAMPLE_DAYS = 60
LOCATIONS = ("home_city", "home_country", "different_country")
MERCHANTS = ("grocery", "fuel", "restaurant", "travel", "electronics", "gambling", "unknown")
PATTERNS = ("usual", "unusual", "dormant")


def respond(judgement: Decision) -> dict[str, Any]:
    """The task's answer: the strongest signed effects are the risk factors."""
    return {
        "fraud_probability": round(judgement.probability, 6),
        "risk_factors": [
            {"field": reason.field, "value": reason.value, "effect": round(reason.effect, 4)}
            for reason in judgement.fields[:NUM_RISK_FACTORS]
        ],
        "recommendation": judgement.action,
        "confidence": round(judgement.confidence, 6),
    }


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of transactions, sorted by time, whose causes are known.

    Each account has a usual amount. The log-odds of fraud are -6.3, plus 0.9 per unit of log amount
    above the account's usual one (only upwards), plus 1.6 abroad, 1.3 from 00:00 to 05:00, 1.2 at
    an unknown merchant, 0.8 for gambling, 1.0 for an unusual and 1.4 for a dormant pattern, 1.5 if
    abroad and at night together, and 3.2 at a terminal in a week in which it is compromised (2 % of
    terminal-weeks, which only past labels reveal). Nothing else matters.
    """
    draw = np.random.default_rng(seed)
    num_accounts, num_terminals = max(num_rows // 60, 20), max(num_rows // 150, 10)
    seconds = np.sort(draw.integers(0, SAMPLE_DAYS * 86_400, num_rows))
    account = draw.integers(0, num_accounts, num_rows)
    terminal = draw.integers(0, num_terminals, num_rows)
    usual = draw.lognormal(3.6, 0.7, num_accounts)[account]
    excess = draw.normal(0.0, 0.8, num_rows)
    location = draw.choice(3, num_rows, p=[0.78, 0.16, 0.06])
    merchant = draw.choice(7, num_rows, p=[0.34, 0.16, 0.2, 0.08, 0.1, 0.03, 0.09])
    pattern = draw.choice(3, num_rows, p=[0.86, 0.11, 0.03])
    night = (seconds // 3600) % 24 < 5
    compromised = draw.random((num_terminals, SAMPLE_DAYS // 7 + 1)) < 0.02
    log_odds = (
        -6.3
        + 0.9 * np.maximum(excess, 0.0)
        + 1.6 * (location == 2)
        + 1.3 * night
        + 1.5 * (night & (location == 2))
        + 1.2 * (merchant == 6)
        + 0.8 * (merchant == 5)
        + np.array([0.0, 1.0, 1.4])[pattern]
        + 3.2 * compromised[terminal, seconds // 604_800]
    )
    fraud = draw.random(num_rows) < 1.0 / (1.0 + np.exp(-log_odds))
    return pa.table(
        {
            "account": pa.array(np.char.add("a", account.astype("U7"))),
            "terminal": pa.array(np.char.add("t", terminal.astype("U7"))),
            "time": pa.array((SAMPLE_START_S + seconds) * 1_000_000, pa.timestamp("us")),
            "amount": np.round(usual * np.exp(excess), 2),
            "location": pa.DictionaryArray.from_arrays(location, LOCATIONS).cast(pa.string()),
            "merchant": pa.DictionaryArray.from_arrays(merchant, MERCHANTS).cast(pa.string()),
            "account_pattern": pa.DictionaryArray.from_arrays(pattern, PATTERNS).cast(pa.string()),
            "is_fraud": fraud.astype(np.int8),
        }
    )


FRAUD_DETECTION = Task(
    industry=IndustryType.FINANCIAL_SERVICES,
    name="fraud_detection",
    title="Fraud detection",
    description="The probability that a transaction is fraudulent, why, and what to do with it.",
    verb="detect_fraud",
    label="is_fraud",
    time="time",
    entities=("account", "terminal"),
    fields=(
        Field(name="amount", kind="number", unit="USD", minimum=0.0, description="amount charged"),
        Field(name="location", kind="category", description="where, relative to the holder's home"),
        Field(name="time", kind="time", description="local time: ISO 8601, or a time of day"),
        Field(name="merchant", kind="category", description="kind of merchant"),
        Field(name="account_pattern", kind="category", description="how usual the use looks"),
    ),
    windows=(
        *(Window(entity="account", function="count", span_days=days) for days in (1, 7, 30)),
        *(
            Window(entity="account", function="mean", value="amount", span_days=days)
            for days in (7, 30)
        ),
        *(
            Window(entity="terminal", function="label_rate", span_days=days, delay_days=1)
            for days in (7, 30)
        ),
    ),
    answer={
        "fraud_probability": {"type": "number", "minimum": 0, "maximum": 1},
        "risk_factors": {
            "type": "array",
            "description": "strongest effects on the log-odds, signed: positive raises the risk",
            "items": {
                "type": "object",
                "properties": {
                    "field": {"type": "string"},
                    "value": {"description": "the value seen, null if it was missing"},
                    "effect": {"type": "number"},
                },
            },
        },
        "recommendation": {"type": "string", "enum": ["approve", "review", "decline"]},
        "confidence": {
            "type": "number",
            "minimum": 0.5,
            "maximum": 1,
            "description": "calibrated probability of the likelier class, max(p, 1 - p)",
        },
    },
    respond=respond,
    example={
        "amount": 9500,
        "location": "different_country",
        "time": "03:00_local",
        "merchant": "unknown",
        "account_pattern": "unusual",
    },
    sample=sample,
    costs=Costs(missed_positive=250.0, false_alarm=15.0, review=5.0),
    daily_review_capacity=200,
    daily_volume=10_000,
    protected=("sex", "gender", "race", "ethnicity", "religion", "age", "nationality"),
    compliance_checks=("protected_attributes_excluded", "data_licence_known"),
)
