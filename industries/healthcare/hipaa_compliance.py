"""Where does a clinical note identify somebody, and what is left of it without that?"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from stdnum import luhn

from industries.healthcare.identifiers import IDENTIFIERS, SAFE_HARBOR
from spt_core.judgement import Span, Spans
from spt_core.policy import Policy, SpanPolicy
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

REVIEW_FROM = 0.5  # identifiers that may be left, by the upper end of their number
MIN_SUPPORT = 10  # true spans of a type in held-out rows, below which its recall says nothing
# The rule of thumb of de-identification (Stubbs, Kotfila and Uzuner, Journal of Biomedical
# Informatics 58 S11, 2015); HIPAA itself names none. Where one name in ten is missed, one in ten is
# missed in every text, whether any is named there or not.
MIN_RECALL = 0.95
NOTES_PER_PATIENT = 4
_Z = 1.96  # of a 95 % interval
Floats = NDArray[np.float64]


def respond(judgement: Spans) -> dict[str, Any]:
    """The task's answer: the text without its identifiers, what they were, what may be left.

    Dates go with their year and postal codes with their first digits, though Safe Harbor would let
    those stay.
    """
    text = judgement.record["text"]
    return {
        "deidentified_text": deidentified(text, judgement.spans),
        "identifiers": [
            {
                "type": span.label,
                "safe_harbor": IDENTIFIERS.get(span.label, "not of Safe Harbor"),
                "text": span.text,
                "start": span.start,
                "end": span.end,
                "found_by": span.source,
            }
            for span in judgement.spans
        ],
        "residual_risk": residual_risk(judgement.spans, judgement.policy, num_characters=len(text)),
    }


def deidentified(text: str, spans: Sequence[Span]) -> str:
    """The text with each span, in order, as its label in brackets."""
    parts, at = list[str](), 0
    for span in spans:
        parts += [text[at : span.start], f"[{span.label.upper()}]"]
        at = span.end
    return "".join([*parts, text[at:]])


def residual_risk(spans: Sequence[Span], policy: Policy, *, num_characters: int) -> dict[str, Any]:
    """How many identifiers may be left in a text: an estimate from held-out rows, no promise.

    Where d spans of a type are named and its recall is q, d (1 - q) / q more are expected; of a
    type of which none is named r n (1 - q), where r is how many a held-out character had and n the
    text's characters (those found and those missed of a Poisson number are independent). The ends
    are those of 95 % intervals, Wilson's of q and Byar's of r. A policy that is older than its
    count of characters tells no r; the sum is a floor then, and null where nothing is named.

    `low` is said where the upper end is below REVIEW_FROM, something is named, and every type of
    Safe Harbor was measured, on MIN_SUPPORT held-out spans, with a recall of MIN_RECALL.
    """
    assert isinstance(policy, SpanPolicy), "whoever opened the model has checked it"
    named = Counter(span.label for span in spans)
    labels = sorted({*IDENTIFIERS, *named})
    counts = {n: (policy.recalled.get(n, 0), policy.support.get(n, 0)) for n in labels}
    unmeasured = [name for name, (_, support) in counts.items() if support < MIN_SUPPORT]
    below = [
        name
        for name, (recalled, support) in counts.items()
        if name not in unmeasured and recalled < MIN_RECALL * support
    ]
    parts = [
        _missed_beside(named[name], *counts[name])
        for name in labels
        if named[name] and counts[name][0] and name not in unmeasured
    ]
    if policy.characters:
        share = num_characters / policy.characters
        parts += [share * _missed_per_text(*counts[name]) for name in labels if not named[name]]
    sums: Sequence[float | None] = [None] * 3
    if parts:
        sums = [round(float(value), 4) for value in np.sum(parts, 0)]
    reasons = [
        *(() if spans else ("nothing is named, which is no proof that nothing is there",)),
        *(() if policy.characters else ("how often types are there at all was not counted",)),
        *(() if sums[2] is not None and sums[2] < REVIEW_FROM else ("the upper end",)),
        *(("types without a measure",) if unmeasured else ()),
        *(("types below the floor of recall",) if below else ()),
    ]
    return {
        "level": "review" if reasons else "low",
        "reasons": reasons,
        "expected_missed": sums[0],
        "low": sums[1],
        "high": sums[2],
        "types_without_measure": unmeasured,
        "types_below_floor": below,
        "basis": (
            "d (1 - q) / q of each type, d spans named, q its recall in rows that trained nothing; "
            "of types of which none is named, what a text of this length has of them, by 1 - q"
            if policy.characters
            else "d (1 - q) / q of each type, d spans named, q its recall in rows that trained "
            "nothing; types of which none is named are not in it"
        ),
        "patterns": policy.patterns,
        "policy": policy.version,
    }


def _missed_beside(number: int, recalled: int, support: int) -> Floats:
    """How many of a type are left [3] (expected, least, most) where a number of it is named."""
    low, high = _wilson(recalled, support)
    recalls = np.array([recalled / support, high, low])
    return number * (1 - recalls) / recalls


def _missed_per_text(recalled: int, support: int) -> Floats:
    """How many of a type are missed [3] (expected, least, most) in as much text as was held out."""
    low, high = _wilson(recalled, support) if support else (0.0, 1.0)
    least, most = _byar(support)
    return np.array([float(support - recalled), least * (1 - high), most * (1 - low)])


def _byar(number: int) -> tuple[float, float]:
    """The 95 % interval of a Poisson count (Breslow and Day, 1987, after Byar)."""
    low = number * (1 - 1 / (9 * number) - _Z / (3 * math.sqrt(number))) ** 3 if number else 0.0
    above = number + 1
    return low, above * (1 - 1 / (9 * above) + _Z / (3 * math.sqrt(above))) ** 3


def _wilson(successes: int, number: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, "Probable Inference", JASA 1927)."""
    share, z2 = successes / number, _Z**2
    middle = share + z2 / (2 * number)
    half = _Z * math.sqrt(share * (1 - share) / number + z2 / (4 * number**2))
    return (middle - half) / (1 + z2 / number), (middle + half) / (1 + z2 / number)


# Parts of notes; a slot is filled with an identifier of that type, or by FILLERS with what is none.
PARTS = (
    "{name} was admitted on {date} with {complaint}.",
    "Pt {name}, {age} yo, seen {date} for {complaint}.",
    "Dr. {name} of {location} was called at {phone}.",
    "Discharge summary faxed to {location} Clinic, fax {fax}.",
    "Daughter {name} can be reached under {phone}.",
    "Lives at {location} since {year}.",
    "Transferred from {location} on {date}, {complaint} resolved.",
    "MRN {medical_record}, reviewed by {name}.",
    "Chart no. {medical_record}: {complaint}, pressure {pressure}.",
    "Insurance: member ID {health_plan}, copay {amount}.",
    "Medicare beneficiary number {health_plan}.",
    "SSN {ssn} verified at the desk.",
    "Billed to account number {account}.",
    "Card on file {account}, balance {amount}.",
    "Ordered by {name}, NPI {license}.",
    "License number {license}, renewed {year}.",
    "Hit by a car with plate no. {vehicle} near {location}.",
    "Pacemaker serial number {device}, implanted {date}.",
    "Pump S/N {device}, rate {amount}.",
    "Results are at {url} for the portal.",
    "Portal login from {ip_address} on {date}.",
    "Mail to {email} bounced; wrote to {email}.",
    "Fingerprint ID {biometric} matches.",
    "Wound photographed, see {photo}.",
    "Enrolled under study no. {other_id}.",
    "Accession number {other_id}: potassium {amount}.",
    "Grandmother is {date} years old and well.",
    "BP {pressure}, weight {amount}, continue aspirin.",
    "No fever since {year}; ratio {pressure} noted, follow up in {age} days.",
    "{name} reports {complaint}, no change from {year}.",
)
FIRST = (
    *("Amara", "Bjorn", "Carmen", "Dmitri", "Elena", "Farid", "Grace", "Hiro", "Ines", "Jamal"),
    *("Katrin", "Liam", "Mei", "Noor", "Oscar", "Priya", "Quentin", "Rosa", "Stefan", "Tala"),
    *("Umar", "Violet", "Walter", "Ximena", "Yusuf", "Zora", "Mark", "May", "April", "Will"),
)
LAST = (
    *("Abernathy", "Baptiste", "Castellano", "Dubois", "Eriksen", "Fairweather", "Gonzalez"),
    *("Haddad", "Ibsen", "Jankowski", "Kimura", "Lindqvist", "Moreau", "Nakamura", "Oyelaran"),
    *("Petrov", "Quist", "Rahman", "Silva", "Thorne", "Underhill", "Vargas", "Whitlock", "Young"),
)
PLACES = (
    *("Ashgrove", "Bellhaven", "Corning", "Dunmore", "Eastbrook", "Fairhope", "Glenwood"),
    *("Harrow County", "Kingsport", "Larchmont", "Millbrook", "Northfield", "Oakdale"),
    *("Pinehurst", "Riverton", "Springdale", "Westerly", "York"),
)
STREETS = ("Alder St", "Birch Avenue", "Cedar Lane", "Mill Road", "Station Rd", "2nd Avenue")
COMPLAINTS = (
    *("chest pain", "a cough", "shortness of breath", "back pain", "Parkinson's disease"),
    *("Crohn's flare", "a rash", "dizziness", "Graves disease", "a fracture of the wrist"),
)
MONTHS = ("January", "Feb", "March", "May", "Jul", "September", "Oct", "December")


def _person(draw: np.random.Generator) -> str:
    first, last = _pick(FIRST, draw), _pick(LAST, draw)
    forms = (
        f"{first} {last}",
        f"{first} {last}",
        last,
        first,
        f"{last}, {first}",
        f"{first[0]}. {last}",
    )
    return _pick(forms, draw)


def _place(draw: np.random.Generator) -> str:
    number, place = int(draw.integers(1, 999)), _pick(PLACES, draw)
    return _pick((place, place, f"{number} {_pick(STREETS, draw)}, {place}"), draw)


def _date(draw: np.random.Generator) -> str:
    year, month, day = (int(draw.integers(*ends)) for ends in ((1990, 2026), (1, 13), (1, 29)))
    named = _pick(MONTHS, draw)
    forms = (
        *(
            f"{month}/{day}/{year}",
            f"{year}-{month:02d}-{day:02d}",
            f"{month}/{day}/{year % 100:02d}",
        ),
        *(f"{named} {day}, {year}", f"{day} {named} {year}", f"{named} {day}"),
    )
    return _pick(forms, draw)


def _phone(draw: np.random.Generator) -> str:
    a, b, c = (int(draw.integers(*ends)) for ends in ((201, 990), (200, 1000), (0, 10_000)))
    return _pick((f"({a}) {b}-{c:04d}", f"{a}-{b}-{c:04d}", f"+1 {a} {b} {c:04d}"), draw)


def _ssn(draw: np.random.Generator) -> str:
    area, group, serial = (int(draw.integers(*ends)) for ends in ((1, 666), (1, 100), (1, 10_000)))
    return f"{area:03d}-{group:02d}-{serial:04d}"


def _number(draw: np.random.Generator, num_digits: int) -> str:
    return "".join(str(digit) for digit in draw.integers(0, 10, num_digits))


def _card(draw: np.random.Generator) -> str:
    number = f"4{_number(draw, 14)}"
    return number + luhn.calc_check_digit(number)


def _npi(draw: np.random.Generator) -> str:
    number = f"1{_number(draw, 8)}"
    return number + luhn.calc_check_digit(f"80840{number}")


def _letters(draw: np.random.Generator, number: int) -> str:
    return "".join(_pick(tuple("ABCDEFGHJKMNPQRTUVWXY"), draw) for _ in range(number))


_FILL: Mapping[str, Callable[[np.random.Generator], str]] = {
    "name": _person,
    "location": _place,
    "date": _date,
    "phone": _phone,
    "fax": _phone,
    "email": lambda d: (
        f"{_pick(FIRST, d).lower()}.{_pick(LAST, d).lower()}@{_letters(d, 5).lower()}.org"
    ),
    "ssn": _ssn,
    "medical_record": lambda d: _pick(("", "H", "MR-"), d) + _number(d, 7),
    "health_plan": lambda d: _pick(("XQ", "W", ""), d) + _number(d, 9),
    "account": lambda d: _pick((_card(d), _number(d, 8)), d),
    "license": lambda d: _pick((_npi(d), f"{_letters(d, 2)}{_number(d, 6)}"), d),
    "vehicle": lambda d: f"{_letters(d, 3)}-{_number(d, 4)}",
    "device": lambda d: f"{_letters(d, 2)}{_number(d, 6)}",
    "url": lambda d: f"https://portal.{_letters(d, 6).lower()}.org/r/{_number(d, 5)}",
    "ip_address": lambda d: ".".join(str(part) for part in d.integers(1, 255, 4)),
    "biometric": lambda d: f"FP-{_number(d, 6)}",
    "photo": lambda d: f"IMG_{_number(d, 5)}.{_pick(('jpg', 'png'), d)}",
    "other_id": lambda d: f"{_letters(d, 2)}-{_number(d, 5)}",
}
# Numbers and words that identify nobody.
FILLERS: Mapping[str, Callable[[np.random.Generator], str]] = {
    "complaint": lambda d: _pick(COMPLAINTS, d),
    "age": lambda d: str(d.integers(2, 90)),
    "year": lambda d: str(d.integers(1995, 2026)),
    "pressure": lambda d: f"{d.integers(95, 180)}/{d.integers(50, 110)}",
    "amount": lambda d: f"{d.integers(1, 300)}.{d.integers(0, 10)}",
}
_SLOT = re.compile(r"\{(\w+)\}")


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of notes of two to four PARTS, four a patient, with their identifiers.

    Every identifier of Safe Harbor is among them, by a form of its own or by what stands before it.
    FILLERS have forms like those of identifiers: years alone, ages up to 89, blood pressures,
    amounts, diseases named after people. Names, places and numbers are drawn apart from the part
    they stand in.
    """
    draw = np.random.default_rng(seed)
    texts, labels = list[str](), list[str]()
    for _ in range(num_rows):
        chosen = draw.choice(len(PARTS), int(draw.integers(2, 5)), replace=False)
        text, spans = _filled(" ".join(PARTS[part] for part in chosen), draw)
        texts.append(text)
        labels.append(json.dumps(spans))
    patients = [f"patient-{row // NOTES_PER_PATIENT:05d}" for row in range(num_rows)]
    return pa.table({"text": texts, "patient": patients, "identifiers": labels})


def _filled(template: str, draw: np.random.Generator) -> tuple[str, list[dict[str, Any]]]:
    """The template with its slots filled, and the spans of those that identify somebody."""
    text, spans = "", list[dict[str, Any]]()
    for number, part in enumerate(_SLOT.split(template)):
        if number % 2 == 0:
            text += part
            continue
        is_age = part == "date" and text.endswith("Grandmother is ")
        word = str(draw.integers(90, 105)) if is_age else {**_FILL, **FILLERS}[part](draw)
        if part in _FILL:
            spans.append({"start": len(text), "end": len(text) + len(word), "label": part})
        text += word
    return text, spans


def _pick(choices: tuple[str, ...], draw: np.random.Generator) -> str:
    return choices[int(draw.integers(len(choices)))]


_STRINGS: Mapping[str, Any] = {"type": "array", "items": {"type": "string"}}

HIPAA_COMPLIANCE = Task(
    industry=IndustryType.HEALTHCARE,
    name="hipaa_compliance",
    title="HIPAA compliance: identifiers in clinical notes",
    description=(
        "The identifiers of Safe Harbor (45 CFR 164.514(b)(2)) that a text holds, by patterns and "
        "a model together, the text without them, and how many may be left. It supports a privacy "
        "officer: whether what remains could identify somebody is decided by a person."
    ),
    verb="find_phi",
    family="text",
    head="span",
    label="identifiers",
    classes=tuple(IDENTIFIERS),
    group="patient",
    fields=(Field(name="text", kind="text", description="a clinical note, or a part of one"),),
    answer={
        "deidentified_text": {
            "type": "string",
            "description": "the text with every identifier replaced by its type, such as [NAME]",
        },
        "identifiers": {
            "type": "array",
            "description": "what was replaced, in order",
            "items": {
                "type": "object",
                "properties": {
                    "type": {"type": "string", "enum": list(IDENTIFIERS)},
                    "safe_harbor": {
                        "type": "string",
                        "description": "its letter in 45 CFR 164.514(b)(2)(i), and what that is",
                    },
                    "text": {"type": "string"},
                    "start": {"type": "integer"},
                    "end": {"type": "integer"},
                    "found_by": {
                        "type": "string",
                        "enum": ["pattern", "model", "pattern and model", "repeat"],
                        "description": (
                            "where both name overlapping characters, all of them are replaced, as "
                            "what the longer span says they are; a repeat is a name, or a word of "
                            "it, that was found elsewhere in the text"
                        ),
                    },
                },
            },
        },
        "residual_risk": {
            "type": "object",
            "description": (
                "an estimate of what may be left, from recall on held-out rows; no promise"
            ),
            "properties": {
                "level": {
                    "type": "string",
                    "enum": ["low", "review"],
                    "description": (
                        f"low: something is named, the upper end is below {REVIEW_FROM}, and every "
                        f"type of Safe Harbor was measured on at least {MIN_SUPPORT} held-out "
                        f"spans, with a recall of at least {MIN_RECALL}"
                    ),
                },
                "reasons": {**_STRINGS, "description": "why the level is not low"},
                "expected_missed": {
                    "type": ["number", "null"],
                    "minimum": 0,
                    "description": "null where nothing is named and no base rate was counted",
                },
                "low": {"type": ["number", "null"], "minimum": 0},
                "high": {"type": ["number", "null"], "minimum": 0},
                "types_without_measure": _STRINGS,
                "types_below_floor": _STRINGS,
                "basis": {"type": "string"},
                "patterns": {"type": "string", "description": "the version of the patterns"},
                "policy": {"type": "string", "description": "the version of the counts"},
            },
        },
    },
    respond=respond,
    example={
        "text": (
            "Pt Elena Moreau, 71 yo, seen 3/14/2024 at Millbrook for chest pain. MRN 4471920, "
            "call (415) 555-0134."
        )
    },
    sample=sample,
    metric="span_f1",
    compliance_checks=("data_licence_known", "recall_measured"),
    latency_target_ms=20.0,
    size_target_mb=25.0,
    high_risk=True,
    patterns=SAFE_HARBOR,
)
