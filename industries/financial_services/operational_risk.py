"""Which of Basel's seven types of loss event does a description tell of?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from spt_core.answers import (
    class_probabilities,
    class_probabilities_schema,
    phrases_schema,
    probability_schema,
)
from spt_core.judgement import Labels
from spt_core.protected import ATTRIBUTES
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

COVERAGE = 0.9
ACCEPT_FROM = 0.8  # below it, a risk officer looks at the type before it enters the loss data
# Basel Committee on Banking Supervision, Basel Framework, OPE25.17 (detailed loss event types).
EVENT_TYPES: Mapping[str, str] = {
    "internal_fraud": "Internal fraud",
    "external_fraud": "External fraud",
    "employment_practices": "Employment practices and workplace safety",
    "clients_products_practices": "Clients, products and business practices",
    "damage_to_assets": "Damage to physical assets",
    "business_disruption": "Business disruption and system failures",
    "execution_delivery": "Execution, delivery and process management",
}
# Who is told first, by type.
OWNERS: Mapping[str, str] = {
    "internal_fraud": "internal audit and human resources, before anybody in the unit",
    "external_fraud": "the fraud desk",
    "employment_practices": "human resources and legal",
    "clients_products_practices": "compliance and legal",
    "damage_to_assets": "facilities and insurance",
    "business_disruption": "the incident manager of IT",
    "execution_delivery": "operations control",
}


def respond(judgement: Labels) -> dict[str, Any]:
    """The task's answer: the type, the others that it may be, and by which words."""
    best = judgement.best
    others = [score for score in judgement.likely if score.label != best.label]
    is_sure = best.probability >= ACCEPT_FROM and not others
    return {
        "event_type": best.label,
        "event_type_name": EVENT_TYPES[best.label],
        "alternatives": class_probabilities("event_type", others),
        "evidence": best.phrases(),
        "notify": OWNERS[best.label],
        "recommendation": "record" if is_sure else "review",
        "confidence": round(best.probability, 6),
    }


# Of each type: phrases that decide it.
DECIDING: Mapping[str, tuple[str, ...]] = {
    "internal_fraud": (
        "a clerk moved {amount} from dormant accounts to one of his own",
        "a trader hid positions beyond his limit and mismarked the book",
        "an employee of ours approved loans to a company that she owns",
    ),
    "external_fraud": (
        "an outsider cashed forged checks worth {amount}",
        "stolen card numbers were used by strangers at {number} terminals",
        "hackers entered the payment portal and redirected {amount}",
    ),
    "employment_practices": (
        "a former cashier was awarded {amount} for wrongful dismissal",
        "a worker fell from a ladder in the vault and claims compensation",
        "a court found that women were paid less for the same work",
    ),
    "clients_products_practices": (
        "retired customers were sold notes that did not suit them",
        "we were fined {amount} because money laundering checks were left out",
        "a client sues over confidential data that was given to a third party",
    ),
    "damage_to_assets": (
        "a flood destroyed the archive in the basement",
        "a fire burnt down the branch and {number} desks",
        "the storm tore off the roof of the data center",
    ),
    "business_disruption": (
        "the payment switch was down for {number} minutes after a failed update",
        "a power cut stopped trading and no backup started",
        "the mobile app could not be reached as the network failed",
    ),
    "execution_delivery": (
        "a settlement instruction was keyed with the wrong account, at a cost of {amount}",
        "a report to the supervisor was filed {number} days late",
        "collateral was not called in time as a field was left empty",
    ),
}
OPENINGS = (
    "In {month}, ",
    "At the {city} branch, ",
    "As was noticed on day {number}, ",
    "Incident {number}: ",
    "According to the unit's report, ",
)
# They name what other types are made of, and happen whatever the type.
ENDINGS = (
    ".",
    "; the system itself worked as usual.",
    "; no customer has complained so far.",
    ", and an employee told the manager the same day.",
    "; the insurer was told of {amount}.",
    "; recovery of {amount} is likely.",
    "; the supervisor asks for details.",
)
CITIES = ("Dublin", "Zurich", "Leeds", "Lyon", "Porto", "Vienna", "Utrecht", "Bergen")
MONTHS = ("January", "March", "May", "July", "September", "November")


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of loss events, whose types are known.

    Each text has one phrase of DECIDING, and its type is the label. Execution is four times, the
    two frauds and clients' matters are twice as frequent as the others, about as in banks' loss
    data. Openings, endings, places, amounts and dates are drawn apart from the label and say
    nothing. There is no public corpus of such texts: none was read for this one.
    """
    draw = np.random.default_rng(seed)
    names = list(DECIDING)
    weights = np.array([2.0, 2.0, 1.0, 2.0, 1.0, 1.0, 4.0])
    labels = [str(name) for name in draw.choice(names, num_rows, p=weights / weights.sum())]
    texts: list[str] = []
    for label in labels:
        template = _pick(OPENINGS, draw) + _pick(DECIDING[label], draw) + _pick(ENDINGS, draw)
        text = template.format(
            amount=f"{draw.integers(10, 9000)},{draw.integers(100, 1000)} euro",
            number=int(draw.integers(2, 900)),
            city=_pick(CITIES, draw),
            month=_pick(MONTHS, draw),
        )
        texts.append(text)
    return pa.table({"text": texts, "event_type": labels})


def _pick(choices: tuple[str, ...], draw: np.random.Generator) -> str:
    return choices[int(draw.integers(len(choices)))]


OPERATIONAL_RISK = Task(
    industry=IndustryType.FINANCIAL_SERVICES,
    name="operational_risk",
    title="Operational risk: types of loss events",
    description=(
        "Basel's type of the loss event that a description tells of, by which words, and which "
        "other types it may be. Its sample is synthetic: there is no public corpus of such texts."
    ),
    verb="classify_loss_event",
    family="text",
    head="single_label",
    label="event_type",
    classes=tuple(EVENT_TYPES),
    fields=(Field(name="text", kind="text", description="what happened, in a few sentences"),),
    answer={
        "event_type": {"type": "string", "enum": list(EVENT_TYPES)},
        "event_type_name": {"type": "string", "description": "as Basel writes it"},
        "alternatives": class_probabilities_schema(
            "event_type",
            "other types; with event_type they hold the true one in the share of cases that the "
            "policy covers (90 % unless it is edited), while cases are as they were",
        ),
        "evidence": phrases_schema("phrases that speak for the type, strongest first"),
        "notify": {"type": "string", "description": "who is told first, by a stated table"},
        "recommendation": {"type": "string", "enum": ["record", "review"]},
        "confidence": probability_schema("calibrated probability of the type"),
    },
    respond=respond,
    example={"text": "At the Leeds branch, an outsider cashed forged checks worth 12,400 euro."},
    sample=sample,
    metric="macro_f1",
    protected=ATTRIBUTES,
    compliance_checks=("data_licence_known", "set_coverage_stated"),
    latency_target_ms=20.0,
    size_target_mb=25.0,
    coverage=COVERAGE,
)
