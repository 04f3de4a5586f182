"""Attributes of people that the law protects, told by the words of a column's name.

`applicant_sex`, `CODE_GENDER`, `DAYS_BIRTH` -> "sex", "sex", "age"; `mileage`, `vehicle_age`: none

The attributes are the prohibited bases of 12 CFR 1002.2(z) and the grounds of Article 21 of the
Charter of Fundamental Rights of the EU, as far as columns name them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

# The words, in English and German, by which data sets name each attribute.
WORDS: Mapping[str, tuple[str, ...]] = {
    "sex": ("sex", "gender", "geschlecht"),
    "race": ("race", "racial", "ethnicity", "ethnic", "ethnie", "ancestry", "hautfarbe"),
    "age": (
        "age", "ages", "agegroup", "ageband", "agerange", "birth", "birthday", "birthdate",
        "birthyear", "dob", "yob", "alter", "geburtsdatum", "geburtstag", "geburtsjahr",
    ),
    "marital_status": (
        "marital", "marriage", "married", "spouse", "spousal", "familienstand", "divorced",
        "widowed",
    ),
    "religion": ("religion", "religious", "creed", "konfession"),
    "nationality": (
        "nationality", "citizenship", "citizen", "nationalitaet", "staatsangehoerigkeit",
        "immigrant", "immigration", "foreigner",
    ),
    "disability": ("disability", "disabled", "handicap", "handicapped", "behinderung"),
    "sexual_orientation": ("orientation",),
    "pregnancy": ("pregnant", "pregnancy", "schwanger", "schwangerschaft"),
}  # fmt: skip
# Two words that name one together: neither does alone.
PAIRS: Mapping[frozenset[str], str] = {
    frozenset({"civil", "status"}): "marital_status",
    frozenset({"family", "status"}): "marital_status",
    frozenset({"personal", "status"}): "marital_status",
    frozenset({"national", "origin"}): "nationality",
    frozenset({"foreign", "worker"}): "nationality",
    frozenset({"skin", "color"}): "race",
    frozenset({"skin", "colour"}): "race",
    frozenset({"public", "assistance"}): "public_assistance",
}
ATTRIBUTES = (*WORDS, "public_assistance")
# Whose an age or a birth is: of the noun next before it, else of the last one behind it.
_PEOPLE = frozenset(
    {
        "applicant",
        "beneficiary",
        "borrower",
        "child",
        "claimant",
        "client",
        "cardholder",
        "customer",
        "debtor",
        "dependent",
        "driver",
        "employee",
        "guarantor",
        "holder",
        "insured",
        "member",
        "mother",
        "father",
        "occupant",
        "operator",
        "owner",
        "passenger",
        "patient",
        "person",
        "policyholder",
        "resident",
        "spouse",
        "tenant",
        "victim",
        "worker",
        "antragsteller",
        "fahrer",
        "halter",
        "kunde",
        "patientin",
        "versicherter",
    }
)
_THINGS = frozenset(
    {
        "account", "asset", "bill", "boat", "building", "business", "campaign", "car", "card",
        "claim", "company", "concrete", "contract", "credit", "debt", "device", "domain", "edges",
        "email", "equipment", "facility", "file", "firm", "house", "image", "invoice", "item",
        "job", "line", "listing", "loan", "machine", "message", "mortgage", "order", "page",
        "part", "phone", "plant", "policy", "product", "property", "record", "relationship",
        "screen", "session", "stock", "system", "test", "tool", "transaction", "truck", "vehicle",
        "weight",
    }
)  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def attribute_of(column: str) -> str | None:
    """The protected attribute that a column's name speaks of, nested (`applicant.Age`) too."""
    in_order = [word.lower() for word in _WORD.findall(column.rpartition(".")[2])]
    words = set(in_order)
    for pair, attribute in PAIRS.items():
        if pair <= words:
            return attribute
    for attribute, names in WORDS.items():
        if not words.isdisjoint(names):
            is_told_by_noun = attribute in ("age", "sexual_orientation")
            return None if is_told_by_noun and _noun(in_order, names) in _THINGS else attribute
    return None


def _noun(words: Sequence[str], names: Sequence[str]) -> str:
    """Whose it is: `policy_holder_age` is a holder's, `customer_account_age` an account's."""
    place = next(number for number, word in enumerate(words) if word in names)
    nouns = _PEOPLE | _THINGS
    before = [word for word in words[:place] if word in nouns]
    behind = [word for word in words[place:] if word in nouns]
    return next(iter([*before[-1:], *behind[-1:]]), "")
