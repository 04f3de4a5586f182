"""What a table's column stands for, whatever it is called: one of few canonical concepts.

`AMT_INCOME_TOTAL`, `Jahreseinkommen` -> "income"; `VehiclePrice` -> "amount"; `V14` -> none

Tables of two tasks share no column names. A concept is what a network of one may carry over to the
other; tasks map their fields to concepts, and a customer's columns are told by the words of their
names.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Literal, get_args

Concept = Literal[
    "amount",  # the money at stake: of a charge, a loan, a claim
    "income",  # what a person or household earns
    "limit",  # the most that may be owed, spent or claimed
    "debt",  # what is owed, or its share of an income
    "payment",  # what is paid regularly: an instalment, a premium
    "arrears",  # what was late or went wrong before: payments, claims, offences
    "score",  # somebody else's judgement of the person
    "term",  # how long a contract runs
    "tenure",  # how long somebody has been a customer, or in a job or home
    "recency",  # how long ago the last event was
    "frequency",  # how many events, contracts or things there are
    "usual_amount",  # what is usual for the same entity
    "past_rate",  # the share of bad outcomes among an entity's past ones
    "unusualness",  # how odd a case looks
    "place",  # where, relative to where it is usual
    "counterparty",  # with whom or through whom: a merchant, an agent
    "purpose",  # what it is for
    "wealth",  # property, savings, housing
    "time_of_event",  # when it happens
]
CONCEPTS: tuple[Concept, ...] = get_args(Concept)

# Words of names, in English and German; a name is of the first concept that has one of its words.
WORDS: Mapping[Concept, tuple[str, ...]] = {
    "income": ("income", "inc", "salary", "wage", "wages", "earnings", "einkommen", "gehalt"),
    "limit": ("limit", "deductible", "deductable", "franchise", "selbstbehalt", "rahmen"),
    "payment": (
        "premium", "installment", "instalment", "annuity", "repayment", "praemie", "beitrag",
    ),
    "arrears": (
        "arrears", "delinquency", "delinquent", "overdue", "pastdue", "late", "defaults", "dpd",
        "claims", "incidents", "mahnungen",
    ),
    "debt": ("debt", "dti", "owed", "balance", "bill", "obligations", "schulden", "saldo"),
    "score": ("score", "rating", "fico", "schufa"),
    "term": ("term", "duration", "laufzeit", "tenor", "maturity"),
    "tenure": ("tenure", "since", "employment", "employed", "seniority"),
    "recency": ("recency", "days", "last"),
    "frequency": ("count", "number", "num", "visits", "frequency", "anzahl", "cars", "credits"),
    "wealth": ("savings", "property", "housing", "assets", "wealth", "purchasing", "vermoegen"),
    "amount": (
        "amount", "amt", "amnt", "price", "value", "sum", "betrag", "preis", "charge", "cost",
    ),
    "purpose": ("purpose", "verwendung", "usage"),
    "place": (
        "location", "place", "area", "region", "city", "ort", "homestate", "addressstate",
        "addrstate", "usstate", "statecode", "billingstate", "shippingstate",
    ),
    "counterparty": ("merchant", "agent", "broker", "vendor", "channel", "counterparty"),
    "unusualness": ("unusual", "pattern", "anomaly", "rarity"),
    "time_of_event": ("time", "date", "timestamp", "hour", "datum", "zeit"),
}  # fmt: skip
# A German compound is what it ends with: Jahreseinkommen, Kreditbetrag.
GERMAN_ENDINGS: Mapping[Concept, tuple[str, ...]] = {
    "income": ("einkommen", "gehalt"),
    "limit": ("rahmen",),
    "payment": ("praemie", "beitrag"),
    "debt": ("schulden", "schuld", "saldo"),
    "term": ("laufzeit",),
    "wealth": ("vermoegen",),
    "amount": ("betrag", "preis", "summe"),
}
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "AE", "Ö": "OE", "Ü": "UE"})
# What names somebody or something, or says when a person was born, stands for none of them; and a
# "number" counts only what comes behind it (number_of_cars, but policy_number).
NAMING = frozenset(("id", "name", "birth", "born", "dob", "phone", "email", "zip", "postcode"))
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def concept_of(column: str) -> Concept | None:
    """The concept that a column's name speaks of, nested (`loan.Amount`) too; None where none."""
    own_name = column.rpartition(".")[2].translate(_UMLAUTS)
    names = [word.lower() for word in _WORD.findall(own_name)]
    if not NAMING.isdisjoint(names) or names[1:] and names[-1] == "number":
        return None
    if names == ["state"]:  # of a country; beside another word mostly what somebody is in
        return "place"
    words = {*names, *("".join(pair) for pair in itertools.pairwise(names))}  # past_due
    for concept, own in WORDS.items():
        if not words.isdisjoint(own):
            return concept
    for concept, endings in GERMAN_ENDINGS.items():
        if any(name.endswith(endings) for name in names):
            return concept
    return None
