"""The specific reasons that an applicant for credit is told: 12 CFR 1002.9(b)(2), Regulation B."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spt_core.answers import Schema
from spt_core.judgement import Decision

# The official interpretation of 1002.9(b)(2) finds more than four reasons unhelpful.
NUM_REASONS = 4
OTHER = "OTHER"
# C1 are statements of the sample form C-1 of appendix C. To check the closest of them where another
# factor was used does not satisfy the rule (appendix C): for such factors there are OWN ones.
REASON_TEXTS: Mapping[str, str] = {
    "C1-INCOME": "Income insufficient for amount of credit requested",
    "C1-OBLIGATIONS": "Excessive obligations in relation to income",
    "C1-EMPLOYMENT": "Length of employment",
    "C1-RESIDENCE": "Length of residence",
    "C1-CREDIT-HISTORY": "Delinquent past or present credit obligations with others",
    "C1-CREDIT-FILE": "Limited credit experience",
    "OWN-CREDIT-HISTORY": "Credit history",
    "OWN-EMPLOYMENT": "Length and steadiness of employment",
    "OWN-SCORE": "Credit score of a credit bureau",
    "OWN-AMOUNT": "Amount of credit requested",
    "OWN-TERM": "Length of the term requested",
    "OWN-PURPOSE": "Purpose of the credit requested",
    "OWN-CHECKING": "Balance of the checking account",
    "OWN-SAVINGS": "Amount of savings",
    "OWN-HOUSING": "Whether the home is owned or rented",
    "OWN-CREDITS": "Number of existing credits",
    OTHER: "Other, specify",
}
REASONING_SCHEMA: Schema = {
    "type": "array",
    "description": f"up to {NUM_REASONS} different reasons with their codes, strongest first; a "
    "positive effect raises the log-odds of default; without an approval, none but such where "
    "there are any, else what spoke least for the applicant",
    "items": {
        "type": "object",
        "properties": {
            "code": {"type": "string"},
            "reason": {"type": "string"},
            "field": {"type": "string"},
            "value": {"description": "the value seen, null if it was missing"},
            "effect": {"type": "number"},
        },
    },
}


def reasoning(judgement: Decision) -> list[dict[str, Any]]:
    """The strongest effects with their codes: unless it is approved, of those that raise the risk.

    A code is of a field, or of one of its values (`credit_history=late_before`); of several fields
    with one code the strongest is stated, as an applicant is told each reason once. One that is not
    in REASON_TEXTS, of a policy's own, is its own text.
    """
    fields = list(judgement.fields)
    if judgement.action != "approve":
        raising = [reason for reason in fields if reason.effect > 0]
        fields = raising or sorted(fields, key=lambda reason: -reason.effect)
    reasons: dict[str, dict[str, Any]] = {}
    for reason in fields:
        code = judgement.policy.reason_code(reason.field, reason.value) or OTHER
        stated = {
            "code": code,
            "reason": REASON_TEXTS.get(code, code),
            "field": reason.field,
            "value": reason.value,
            "effect": round(reason.effect, 4),
        }
        reasons.setdefault(reason.field if code == OTHER else code, stated)
    return list(reasons.values())[:NUM_REASONS]
