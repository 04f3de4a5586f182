"""Is this card or account transaction fraudulent? Answered before it is authorized."""

from __future__ import annotations

from typing import Any, NamedTuple

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
from spt_core.signature import Field, Window
from spt_core.task import IndustryType, Task

NUM_RISK_FACTORS = 4
SAMPLE_START_S = 1_767_225_600  # 2026-01-01T00:00:00
SAMPLE_DAYS = 60
DAY_S = 86_400
COMPROMISED_EFFECT = 7.0  # on the log-odds
LOCATIONS = ("home_city", "home_country", "different_country")
MERCHANTS = ("grocery", "fuel", "restaurant", "travel", "electronics", "gambling", "unknown")
PATTERNS = ("usual", "unusual", "dormant")


def respond(judgement: Decision) -> dict[str, Any]:
    """The task's answer: the strongest signed effects are the risk factors."""
    return {
        "fraud_probability": round(judgement.probability, 6),
        "risk_factors": field_effects(judgement.fields[:NUM_RISK_FACTORS]),
        "recommendation": judgement.action,
        "warnings": warnings(judgement),
        "confidence": round(judgement.confidence, 6),
    }


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of transactions, sorted by time, whose causes are known.

    Each account has a usual amount. The log-odds of fraud are -8.2, plus 3.0 per unit of log amount
    above the account's usual one (only upwards), plus 3.5 abroad, 3.0 from 00:00 to 05:00, 3.0 at
    an unknown merchant, 2.5 for gambling, 3.0 for an unusual and 4.0 for a dormant pattern, 1.5 if
    abroad and at night together, and 7.0 at a terminal in a fortnight in which it is compromised
    (1.5 % of terminal-fortnights, which only past labels reveal). Nothing else matters.

    About 6 % are fraud: tens of times what real cards see, so that a small sample holds enough of
    it to tell models apart. The causes are as strong for the same reason: ranked by those log-odds
    themselves, the last 15 % of 40,000 rows (seed 0, the recipe `sample`'s test rows) have an
    average precision of 0.80, and of 0.66 for who does not know the compromised terminals. A model
    that knows them by past labels alone can come between the two.
    """
    return drawn(num_rows, seed).table


class Drawn(NamedTuple):
    """A sample of N rows, the log-odds [N] that its labels were drawn from."""

    table: pa.Table
    log_odds: NDArray[np.float64]
    compromised: NDArray[np.bool_]  # [N]: whether the row's terminal is, at its time


def drawn(num_rows: int, seed: int) -> Drawn:
    """The sample, and the truth that it does not tell."""
    draw = np.random.default_rng(seed)
    num_accounts, num_terminals = max(num_rows // 60, 20), max(num_rows // 150, 10)
    seconds = np.sort(draw.integers(0, SAMPLE_DAYS * DAY_S, num_rows))
    account = draw.integers(0, num_accounts, num_rows)
    terminal = draw.integers(0, num_terminals, num_rows)
    usual = draw.lognormal(3.6, 0.7, num_accounts)[account]
    excess = draw.normal(0.0, 0.8, num_rows)
    location = draw.choice(3, num_rows, p=[0.78, 0.16, 0.06])
    merchant = draw.choice(7, num_rows, p=[0.34, 0.16, 0.2, 0.08, 0.1, 0.03, 0.09])
    pattern = draw.choice(3, num_rows, p=[0.86, 0.11, 0.03])
    night = (seconds // 3600) % 24 < 5
    fortnights = draw.random((num_terminals, SAMPLE_DAYS // 14 + 1)) < 0.015
    compromised = fortnights[terminal, seconds // (14 * DAY_S)]
    log_odds = (
        -8.2
        + 3.0 * np.maximum(excess, 0.0)
        + 3.5 * (location == 2)
        + 3.0 * night
        + 1.5 * (night & (location == 2))
        + 3.0 * (merchant == 6)
        + 2.5 * (merchant == 5)
        + np.array([0.0, 3.0, 4.0])[pattern]
        + COMPROMISED_EFFECT * compromised
    )
    fraud = draw.random(num_rows) < 1.0 / (1.0 + np.exp(-log_odds))
    table = pa.table(
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
    return Drawn(table, log_odds, compromised)


def causes(table: pa.Table) -> dict[str, NDArray[np.float64]]:
    """What single fields [N] of a sample's rows add to the log-odds, each by itself.

    The amount is not among them: what is usual for an account is in no field.
    """
    hours = np.array([moment.hour for moment in table["time"].to_pylist()])
    merchant = np.array(table["merchant"].to_pylist())
    pattern = np.array(table["account_pattern"].to_pylist())
    location = np.array(table["location"].to_pylist())
    return {
        "location": np.where(location == "different_country", 3.5, 0.0),
        "time": np.where(hours < 5, 3.0, 0.0),
        "merchant": np.select([merchant == "unknown", merchant == "gambling"], [3.0, 2.5]),
        "account_pattern": np.select([pattern == "unusual", pattern == "dormant"], [3.0, 4.0]),
    }


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
        "fraud_probability": PROBABILITY,
        "risk_factors": field_effects_schema(
            "strongest effects on the log-odds, signed: positive raises the risk"
        ),
        "recommendation": {"type": "string", "enum": ["approve", "review", "decline"]},
        "warnings": warnings_schema(),
        "confidence": CONFIDENCE,
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
    causes=causes,
    costs=Costs(missed_positive=250.0, false_alarm=15.0, review=5.0),
    approval_benefits=True,
    daily_review_capacity=200,
    daily_volume=10_000,
    protected=ATTRIBUTES,
    compliance_checks=("protected_attributes_excluded", "data_licence_known"),
    concepts={
        "amount": "amount",
        "location": "place",
        "time": "time_of_event",
        "merchant": "counterparty",
        "account_pattern": "unusualness",
        **dict.fromkeys((f"account.count_{days}d" for days in (1, 7, 30)), "frequency"),
        **dict.fromkeys((f"account.amount_mean_{days}d" for days in (7, 30)), "usual_amount"),
        **dict.fromkeys((f"terminal.label_rate_{days}d_after_1d" for days in (7, 30)), "past_rate"),
    },
)
