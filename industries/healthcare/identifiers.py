"""The 18 identifiers of Safe Harbor, and patterns that find those of them that have a form.

45 CFR 164.514(b)(2)(i), (A) to (R): what must be removed of an individual, and of its relatives,
employers and household members. Names and places have no form: a model looks for them. Numbers with
a check digit are held against it, by python-stdnum where it knows them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from stdnum import ean, iban, imei, luhn
from stdnum.us import itin, rtn, ssn

from spt_core.judgement import Span
from spt_core.task import SpanPatterns

# With every change of PATTERNS, or of what they are checked by.
VERSION = "safe-harbor-2"

IDENTIFIERS: Mapping[str, str] = {
    "name": "(A) names",
    "location": "(B) geographic subdivisions smaller than a state",
    "date": "(C) elements of dates but the year, and ages over 89",
    "phone": "(D) telephone numbers",
    "fax": "(E) fax numbers",
    "email": "(F) email addresses",
    "ssn": "(G) social security numbers",
    "medical_record": "(H) medical record numbers",
    "health_plan": "(I) health plan beneficiary numbers",
    "account": "(J) account numbers",
    "license": "(K) certificate and license numbers",
    "vehicle": "(L) vehicle identifiers and serial numbers, license plates included",
    "device": "(M) device identifiers and serial numbers",
    "url": "(N) web URLs",
    "ip_address": "(O) IP addresses",
    "biometric": "(P) biometric identifiers",
    "photo": "(Q) full-face photographs and comparable images",
    "other_id": "(R) any other unique identifying number, characteristic or code",
}


class Pattern(NamedTuple):
    """What an identifier looks like: the group `value`, or the whole match, if the check holds."""

    label: str
    pattern: re.Pattern[str]
    check: Callable[[str], bool]


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _any(text: str) -> bool:
    del text
    return True


def _has_digit(text: str) -> bool:
    return any(char.isdigit() for char in text)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_npi(text: str) -> bool:
    """Luhn over the prefix 80840 and the number (45 CFR 162.406)."""
    return luhn.is_valid(f"80840{text}")


def _is_dea(text: str) -> bool:
    """The last digit of (d1 + d3 + d5) + 2 (d2 + d4 + d6) is d7 (DEA registration numbers)."""
    digits = [int(char) for char in text[2:]]
    return (sum(digits[0:6:2]) + 2 * sum(digits[1:6:2])) % 10 == digits[6]


_VIN_VALUES = dict(
    zip("ABCDEFGHJKLMNPRSTUVWXYZ", [*range(1, 9), 1, 2, 3, 4, 5, 7, 9, *range(2, 10)], strict=True)
)
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def _is_vin(text: str) -> bool:
    """The check digit of 49 CFR 565.15(c), in the ninth place."""
    values = [int(char) if char.isdigit() else _VIN_VALUES[char] for char in text]
    rest = sum(v * w for v, w in zip(values, _VIN_WEIGHTS, strict=True)) % 11
    return text[8] == ("X" if rest == 10 else str(rest))


def _is_card(text: str) -> bool:
    return luhn.is_valid(_digits(text))


def _is_ssn(text: str) -> bool:
    return ssn.is_valid(_digits(text))


def _pattern(label: str, pattern: str, check: Callable[[str], bool] = _any) -> Pattern:
    return Pattern(label, re.compile(pattern), check)


def _named(label: str, names: str, value: str, *, alone: str = r"(?!)") -> Pattern:
    """A value with a digit, behind a name and a word or mark for "number".

    Behind one of `alone`, which go by nothing else, no such word is needed.
    """
    marked = rf"\b(?:{names}|{alone})(?: (?:number|no\.?|num\.?|id)(?: is)? ?[:#]? ?| ?[:#=] ?)"
    return _pattern(label, rf"(?i:{marked}|\b(?:{alone}) )(?P<value>{value})", _has_digit)


_STATES = (
    "A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]"
    "|T[NX]|UT|V[AT]|W[AIVY]"
)
_MONTHS = (
    "(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    "|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
_DAY, _MONTH, _YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])", r"(?:19|20)\d{2}"
_CLOCK = r"(?:[T ,]{1,2}\d{1,2}:\d{2}(?::\d{2})?)?"
_CODE = r"[A-Za-z0-9][A-Za-z0-9-]{3,19}(?![A-Za-z0-9])"
_PHONE = (
    r"(?:(?:\+?1|001)[-. ]?)?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?: ?(?:x|ext\.? ?)\d{1,5})?"
    r"|\+\d{1,3}[ -]?(?:\(0\)[ -]?)?\d(?:[ -]?\d){5,12}"
)
_MBI = "AC-HJKMNP-RT-Y"  # letters of Medicare beneficiary identifiers: no S, L, O, I, B, Z

# The first that holds a character has it: numbers that are checked come before forms alone.
PATTERNS: tuple[Pattern, ...] = (
    _pattern("email", r"\b[\w.+%-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4}\b"),
    _pattern("url", r"(?:\bhttps?://|\bwww\.)[^\s<>\"'()\[\]{}]{2,300}(?<![.,;:!?])"),
    _pattern("ip_address", r"(?<![\d.:\w])\d{1,3}(?:\.\d{1,3}){3}(?![\d.]*\d)", _is_ip),
    _pattern(
        "ip_address", r"(?<![\w:])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])", _is_ip
    ),
    _pattern("photo", r"\b[\w-]{1,60}\.(?i:jpe?g|png|heic|tiff?|bmp|dcm)\b"),
    _pattern("device", r"\b[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}\b"),
    _pattern(
        "account", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", iban.is_valid
    ),
    _pattern("other_id", r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"),
    _pattern("ssn", r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])", _is_ssn),
    _pattern("other_id", r"(?<![\d-])9\d{2}-\d{2}-\d{4}(?![\d-])", itin.is_valid),
    _named("ssn", "social security", r"\d{3}[- ]?\d{2}[- ]?\d{4}(?!\d)", alone="SSN"),
    _pattern("device", r"(?i:\bIMEI ?[:#]? ?)(?P<value>\d{15})\b", imei.is_valid),
    _pattern("device", r"(?:\(01\)|(?i:\bGTIN ?[:#]? ?))(?P<value>\d{14})\b", ean.is_valid),
    _pattern("license", r"(?i:\bNPI ?[:#]? ?)(?P<value>\d{10})\b", _is_npi),
    _pattern("license", r"\b[ABFGMPRX][A-Z9]\d{7}\b", _is_dea),
    _pattern("vehicle", r"\b[A-HJ-NPR-Z0-9]{17}\b", _is_vin),
    _pattern(
        "health_plan",
        rf"\b[1-9][{_MBI}][{_MBI}0-9]\d-?[{_MBI}][{_MBI}0-9]\d-?[{_MBI}]{{2}}\d{{2}}\b",
    ),
    _pattern("account", r"(?i:\brouting(?: number)? ?[:#]? ?)(?P<value>\d{9})\b", rtn.is_valid),
    _pattern("fax", rf"(?i:\bfax(?: number)?(?: to| at)? ?[:.]? ?)(?P<value>{_PHONE})(?!\d)"),
    _pattern("phone", rf"(?<![\d+/-])(?:{_PHONE})(?![\d/-])"),
    _pattern(
        "account",
        r"(?<![\d-])(?:\d{12,19}|\d{4}(?:[ -]\d{4}){2}[ -]\d{1,4}|\d{4}[ -]\d{6}[ -]\d{5})"
        r"(?![\d-])",
        _is_card,
    ),
    _named("medical_record", "medical record|chart|patient", _CODE, alone="MRN"),
    _named("health_plan", "member|beneficiary|health plan|policy|medicaid|medicare", _CODE),
    _named("account", r"account|acct\.?|invoice", _CODE),
    _named("license", "licen[cs]e|certificate|registration", _CODE, alone="DEA|NPI"),
    _named("vehicle", "(?:licen[cs]e )?plate", _CODE, alone="VIN|license plate"),
    _named("device", "serial|device|pacemaker|implant|lot", _CODE, alone="S/N|IMEI"),
    _named("biometric", "(?:finger|voice)print|(?:iris|retinal?) scan|biometric", _CODE),
    _named("other_id", "study|trial|subject|encounter|accession|specimen|case|order", _CODE),
    _pattern("date", rf"\b{_YEAR}[-/.]{_MONTH}[-/.]{_DAY}{_CLOCK}(?!\d)"),
    _pattern("date", rf"(?<![\d/.-]){_DAY}[/-]{_DAY}[/-](?:{_YEAR}|\d{{2}}){_CLOCK}(?![\d/-])"),
    _pattern("date", rf"(?<![\d/.-]){_DAY}\.{_MONTH}\.{_YEAR}(?!\d)"),
    _pattern("date", rf"\b{_MONTHS}\.? {_DAY}(?:st|nd|rd|th)?(?:,? {_YEAR})?\b"),
    _pattern("date", rf"\b{_DAY}(?:st|nd|rd|th)?(?: of)? {_MONTHS}\b(?:\.?,? {_YEAR}\b)?"),
    _pattern("date", rf"\b{_MONTHS}\.?,? {_YEAR}\b"),
    _pattern("date", r"\b(?P<value>9\d|1[01]\d)(?=[ -]?(?i:years?|yrs?|y/?o)\b)"),
    _pattern("location", rf"\b(?:{_STATES}),? (?P<value>\d{{5}}(?:-\d{{4}})?)\b"),
)


def find(text: str) -> Sequence[Span]:
    """What the patterns find in a text, in order; spans do not overlap."""
    taken: list[Span] = []
    for label, pattern, check in PATTERNS:
        for match in pattern.finditer(text):
            start, end = match.span("value" if "value" in pattern.groupindex else 0)
            is_free = all(end <= span.start or start >= span.end for span in taken)
            if is_free and check(text[start:end]):
                taken.append(Span(start, end, text[start:end], label))
    return sorted(taken)


SAFE_HARBOR = SpanPatterns(VERSION, find)
