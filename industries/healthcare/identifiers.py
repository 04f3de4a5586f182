"""The 18 identifiers of Safe Harbor, and patterns that find those of them that have a form.

45 CFR 164.514(b)(2)(i), (A) to (R): what must be removed of an individual, and of its relatives,
employers and household members. Names and places have no form: a model looks for them. Numbers with
a check digit are held against it, by python-stdnum where it knows them. Numbers without a form of
their own need a word before them ("call", "MR#", "aged", "seen"). Days of the week are left.

Of Presidio's 1,500 synthetic texts the patterns alone cover, of all spans of a type, 90 of 92 phone
numbers (28 before safe-harbor-3, which was written with these forms in sight: it is no held-out
figure), 48 of 66 dates (the others are days of the week), all accounts, social security and licence
numbers, addresses of mail, web and internet, 8 of 1,046 places and no name, without a false hit.
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

# With every change of PATTERNS, of what they are checked by, or of what is looked for again.
VERSION = "safe-harbor-8"
BEFORE = 24  # characters in which a word says that what follows is something else

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
    """What an identifier looks like: the group `value`, or the whole match, if the check holds.

    It is none where `unless` stands right before it.
    """

    label: str
    pattern: re.Pattern[str]
    check: Callable[[str], bool]
    unless: re.Pattern[str] | None = None


# More digits than four before one letter are a code's: "12345X".
_QUANTITY = re.compile(
    r"(?i:(?:[\d-]+(?:mg|mcg|ug|kg|lbs?|ml|dl|cc|iu|units?|meq|mm|cm|mmhg|tabs?|caps?"
    r"|secs?|mins?|hrs?|hours?|days?|wks?|weeks?|mo|months?|yo|yrs?|years?)"
    r"|\d{1,4}(?:-\d{1,4})?[glxshdymf])(?:-old)?)"
)


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _any(text: str) -> bool:
    del text
    return True


def _is_code(text: str) -> bool:
    """Whether it has a digit, and is no quantity ("Order: 500mg", "Patient: 65yo")."""
    return any(char.isdigit() for char in text) and not _QUANTITY.fullmatch(text)


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


def _pattern(
    label: str, pattern: str, check: Callable[[str], bool] = _any, *, unless: str = ""
) -> Pattern:
    before = re.compile(rf"(?i:\b(?:{unless})\W{{0,3}}$)") if unless else None
    return Pattern(label, re.compile(pattern), check, before)


def _is_phone(text: str) -> bool:
    """As many digits as national and international numbers have (E.164), and no date."""
    return 7 <= len(_digits(text)) <= 15 and not any(d.fullmatch(text) for d in _DATES)


def _is_national(text: str) -> bool:
    """Ten digits of the North American plan, whose area and exchange begin with 2 to 9, no N11."""
    return text[1:3] != "11" and text[4:6] != "11" and text[1] != "9"


def _named(label: str, names: str, value: str, *, alone: str = r"(?!)") -> Pattern:
    """A value with a digit, behind a name and a word or mark for "number".

    Behind one of `alone`, which go by nothing else, no such word is needed; nor before six digits
    and more, which count nothing ("Encounter 12345678").
    """
    marked = (
        rf"\b(?:{names}|{alone})"
        r"(?: (?:number|no\.?|num\.?|id)(?: is)? ?[:#]{0,2} ?| ?[:#=]{1,2} ?| (?=\d{6}))"
    )
    return _pattern(label, rf"(?i:{marked}|\b(?:{alone})(?: is)? )(?P<value>{value})", _is_code)


_STATES = (
    "Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|Florida|Georgia"
    "|Hawaii|Idaho|Illinois|Indiana|Iowa|Kansas|Kentucky|Louisiana|Maine|Maryland|Massachusetts"
    "|Michigan|Minnesota|Mississippi|Missouri|Montana|Nebraska|Nevada|New (?:Hampshire|Jersey"
    "|Mexico|York)|(?:North|South) (?:Carolina|Dakota)|Ohio|Oklahoma|Oregon|Pennsylvania"
    "|Rhode Island|Tennessee|Texas|Utah|Vermont|(?:West )?Virginia|Washington|Wisconsin|Wyoming|"
    "A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]"
    "|T[NX]|UT|V[AT]|W[AIVY]"
)
_MONTHS = (
    "(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?"
    "|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
_VARIANT = re.compile(r"(?<=[:#])\s+|[^\S\n]+|[\u2010-\u2015\u2212\u2019]")
_PLAIN = dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-") | {"\u2019": "'"}
_DAY, _MONTH, _YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])", r"(?:19|20)\d{2}"
_DAY_2, _MONTH_2 = r"(?:0[1-9]|[12]\d|3[01])", r"(?:0[1-9]|1[0-2])"
_OVER_89 = r"(?:9\d|1[01]\d|(?i:ninety(?:[- ](?:one|two|three|four|five|six|seven|eight|nine))?))"
_CLOCK = r"(?:[T ,]{1,2}\d{1,2}:\d{2}(?::\d{2})?)?"
# Months in any case where a year or a day makes the meaning plain; "may" and "dec" are words too.
_ANY_MONTHS = f"(?i:{_MONTHS})"
_WHOLE_MONTHS = (
    "(?:january|february|march|april|june|july|august|september|october|november|december"
    "|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEPT?|OCT|NOV|DEC|JANUARY|FEBRUARY|MARCH|APRIL|JUNE|JULY"
    "|AUGUST|SEPTEMBER|OCTOBER|NOVEMBER|DECEMBER)"
)
_SOFTWARE = r"version|ver\.?|v\.?|build|firmware|software"
_VERSIONS = rf"{_SOFTWARE}|rev|release"
# What follows a number that is counted: "May 5 refills", "1/2 tablet", "2 May repeat".
_COUNTED = (
    r"(?! ?(?i:refills?|tab(?:let)?s?|caps?(?:ules?)?|pills?|doses?|times|more|mg|mcg|ml|cc|units?"
    r"|cups?|tsp|tbsp|teaspoons?|inch(?:es)?|strength|normal|NS|saline|pack|points?|hours?|hrs?"
    r"|days?|weeks?|months|years?|yrs?|murmur|the|of|way|repeat|be|have|take|need|use|cause"
    r"|increase|decrease|not|also)\b)(?! ?%)"
)
_MONTH_DAY = rf"{_MONTH}/{_DAY}(?![\d/%])(?!\.\d){_COUNTED}"
# Words behind which 3/14 is a day; scores such as 8/10 stand behind others.
_WHEN = (
    r"(?i:\b(?:seen|on|dated?|since|until|till|(?:re)?admitted|discharged|transferred|returned"
    r"|visit(?:ed)?|week of|born|d\.?o\.?[bds]\.?|lmp|due|started|stopped|scheduled|appt\.?"
    r"|appointment|expired|died|surgery|procedure"
    r"|(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sun)(?:day)?|saturday)(?: on| for| at)? ?[:,]? ?)"
)
_AND = r" ?(?:,|and|or|to|through|until|&|-) ?"
_DASH = " ?- ?"
_ANY_YEAR = rf"(?:{_YEAR}|\d{{2}})"
# From one day to another that has a year, the first with or without: "3/14-3/20/2023".
_FROM_TO = tuple(
    (rf"(?<![\d/.-]){day}(?:{year})?", rf"{day}{year}(?![\d/-])")
    for day, year in (
        (rf"{_DAY}/{_DAY}", f"/{_ANY_YEAR}"),
        (rf"{_DAY}\.{_MONTH}\.", _YEAR),
        (rf"{_MONTH_2}\.{_DAY_2}", rf"\.{_YEAR}"),
        (rf"{_YEAR}{_MONTH_2}{_DAY_2}", ""),
    )
)
_TH = "(?:st|nd|rd|th)?"
_FROM_DAY, _TO_DAY = rf"(?:{_DAY}{_TH}{_DASH})?", rf"(?:{_DASH}{_DAY}{_TH})?"  # "May 14-16"
# A word without a digit is none, and must not hide a name: "Insurance: member ID W12345".
_CODE = r"(?=[A-Za-z-]*\d)[A-Za-z0-9][A-Za-z0-9-]{3,19}(?![A-Za-z0-9])"
_EXTENSION = r"(?:,? ?(?:x|ext(?:ension|\.)?) ?\d{1,5})?"
_PHONE = (
    r"(?:(?:\+?1|001)[-. ]?)?(?:\(\d{3}\) ?|\d{3}[-./ ])\d{3}[-. ]\d{4}"
    rf"{_EXTENSION}"
    r"|\+\d{1,3}[ -]?(?:\(0\)[ -]?)?\d(?:[ -]?\d){5,12}"
)
# Groups of digits as other countries write them; only a word says that they are a telephone's.
_GROUPS = rf"\+?\(?\d{{1,4}}\)?(?:[ ./-]?\(?\d{{1,4}}\)?){{1,6}}{_EXTENSION}"
_FAX = r"(?i:\bfax(?:ed)?(?: number| no\.?)?(?: is)?(?: to| at)? ?[:.#]? ?)"
_TELEPHONE = (
    r"(?i:\b(?:phone|telephone|tel|mobile|cell(?:phone)?|desk|pager|beeper|voicemail|hotline"
    r"|(?:home|work|office|contact|registered)(?: (?:phone|number|line))?"
    r"|(?:call(?:ed|ing)?|reach(?:ed|able)?|text(?:ed)?|phoned|answering|messages?)"
    r"(?: (?:me|us|him|her|them|back|again))?(?: (?:at|on|under|to))?)"
    r"(?: (?:number|no\.?|num\.?|is|at))*\.?\s*[:#]?\s*)"
)
_DATES = tuple(
    re.compile(form)
    for form in (
        rf"{_YEAR}[-/. ]?{_MONTH}[-/. ]?{_DAY}",
        rf"{_DAY}[-/. ]{_DAY}[-/. ](?:{_YEAR}|\d{{2}})",
        rf"{_YEAR}\s?[-/]\s?{_YEAR}",
    )
)
_DOMAINS = "org|com|net|edu|gov|mil|info|health|io|eu|co\\.uk|org\\.uk|nhs\\.uk"
_MBI = "AC-HJKMNP-RT-Y"  # letters of Medicare beneficiary identifiers: no S, L, O, I, B, Z

# The first that holds a character has it: numbers that are checked come before forms alone.
PATTERNS: tuple[Pattern, ...] = (
    _pattern("email", r"\b[\w.+%-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,4}\b"),
    _pattern("url", r"(?:\bhttps?://|\bwww\.)[^\s<>\"'()\[\]{}]{2,300}(?<![.,;:!?])"),
    _pattern(
        "url",
        rf"(?i:(?<![@\w.-])(?:[a-z0-9-]{{1,63}}\.){{1,4}}(?:{_DOMAINS})(?![\w-]|\.\w))"
        r"(?:/[^\s<>\"'()\[\]{}]{0,300}(?<![.,;:!?]))?",
    ),
    _pattern(
        "ip_address",
        r"(?<![\d.:\w])\d{1,3}(?:\.\d{1,3}){3}(?![\d.]*\d)",
        _is_ip,
        unless=_VERSIONS,
    ),
    _pattern(
        "ip_address", r"(?<![\w:])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])", _is_ip
    ),
    _pattern("photo", r"\b[\w-]{1,60}\.(?i:jpe?g|png|heic|tiff?|bmp|dcm)\b"),
    _pattern("device", r"\b[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}\b"),
    _pattern("device", r"\b[0-9A-Fa-f]{4}(?:\.[0-9A-Fa-f]{4}){2}\b"),
    _pattern("device", r"(?i:\bMAC(?: addr(?:ess|\.)?)? ?[:#]? ?)(?P<value>[0-9A-Fa-f]{12})\b"),
    _pattern(
        "account",
        r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
        iban.is_valid,
    ),
    _pattern("account", r"\b[a-z]{2}\d{2}[a-z0-9]{11,30}\b", iban.is_valid),
    _pattern("other_id", r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"),
    _pattern("ssn", r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])", _is_ssn),
    _pattern("other_id", r"(?<![\d-])9\d{2}-\d{2}-\d{4}(?![\d-])", itin.is_valid),
    _pattern("ssn", r"(?i:(?<![\w*])[x*]{3}-?[x*]{2}-?)\d{4}(?!\d)"),
    _pattern("account", r"(?i:(?<![\w*])(?:[x*]{4}[ -]?){2,3})\d{4}(?!\d)"),
    # The last four of a number identify, too.
    _pattern("ssn", r"(?i:\b(?:SSN|social security)\b[^\d.;]{1,20})(?P<value>\d{4})(?![\d-])"),
    _pattern(
        "account",
        r"(?i:\b(?:card|account|acct\.?)(?: number)? end(?:s|ing|ed)(?: in| with)? )"
        r"(?P<value>\d{4})(?!\d)",
    ),
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
    _pattern("fax", rf"{_FAX}(?P<value>{_PHONE})(?!\d)"),
    _pattern("fax", rf"{_FAX}(?P<value>{_GROUPS})(?![\d/-]|\.\d)", _is_phone),
    _pattern("phone", rf"(?<![\d+/-])(?:{_PHONE})(?![/-]?\d)"),
    _pattern(
        "account",
        r"(?<![\w-])(?:\d{12,19}|\d{4}(?:[ -]\d{4}){2}[ -]\d{1,4}|\d{4}[ -]\d{6}[ -]\d{5})"
        r"(?![\d-])",
        _is_card,
    ),
    _named(
        "medical_record",
        r"medical record|med\.? ?rec\.?|chart|patient|pt|nhs|hospital(?! \d)",
        _CODE,
        alone="MRN",
    ),
    _pattern("medical_record", rf"(?i:\bMRN)(?:[-_]|(?=\d))(?P<value>{_CODE})", _is_code),
    # Alone, the letters mean a regurgitation or a resonance too.
    _pattern(
        "medical_record",
        rf"\b(?:M\.?R\.?|(?i:unit)) ?(?i:#|no\.?|number) ?[:#]? ?(?P<value>{_CODE})",
        _is_code,
    ),
    _named(
        "health_plan",
        "member|beneficiary|subscriber|insurance|health plan|policy|group|medicaid|medicare",
        _CODE,
    ),
    # A financial number (FIN) and a contact serial number (CSN) are of one visit.
    _named("account", r"account|invoice|FIN", _CODE, alone=r"acct\.?|a/c"),
    _named(
        "license",
        r"licen[cs]e|lic\.?|certificate|cert\.?|registration",
        _CODE,
        alone="DEA|NPI|driv(?:er(?:'?s)?|ing) licen[cs]e|DL",
    ),
    _named("vehicle", "(?:licen[cs]e )?plate", _CODE, alone="VIN|license plate"),
    _pattern("vehicle", rf"(?i:\bplates? )(?=[\d-]*[A-Z])(?P<value>(?!\d+[a-z]){_CODE})", _is_code),
    _named("device", "serial|sn|device|pacemaker|implant|lot", _CODE, alone="S/N|IMEI"),
    _named("biometric", "(?:finger|voice)print|(?:iris|retinal?) scan|biometric", _CODE),
    _named(
        "other_id",
        r"study|trial|subject|encounter|accession|specimen|case|order|reference|ref\.?|claim"
        r"|prescription|rx|CSN",
        _CODE,
        alone="EDIPI",
    ),
    # What stands behind these without a word for "number" may be a date or a year.
    _pattern(
        "other_id",
        r"(?i:\b(?:employee|staff|badge|student|user|provider|visit|client|customer|participant"
        rf"|donor) ?(?:id|number|no\.?|num\.?|#)(?: is)? ?[:#]{{0,2}} ?)(?P<value>{_CODE})",
        _is_code,
    ),
    # Behind a town, which has a capital, it is Idaho; the infectious disease service has no number.
    _pattern("other_id", rf"\b[a-z]{{2,}} ID (?=\w{{5}})(?P<value>{_CODE})", _is_code),
    _pattern("other_id", rf"(?i:\bid ?[:#] ?)(?P<value>{_CODE})", _is_code),
    _named("other_id", "national id", _CODE, alone="passport"),
    *(_pattern("date", rf"(?P<value>{first})(?={_DASH}{last})") for first, last in _FROM_TO),
    *(_pattern("date", rf"{first}{_DASH}(?P<value>{last})") for first, last in _FROM_TO),
    _pattern("date", rf"\b{_YEAR}[-/.]{_MONTH}[-/.]{_DAY}{_CLOCK}(?!\d)"),
    _pattern("date", rf"(?<![\d/.-]){_DAY}[/-]{_DAY}[/-]{_ANY_YEAR}{_CLOCK}(?![\d/]|-\d)"),
    _pattern("date", rf"(?<![\d/.-]){_DAY}\.{_MONTH}\.{_YEAR}(?!\d)", unless=_SOFTWARE),
    _pattern(
        "date",
        rf"(?<![\w/.-]){_MONTH_2}\.{_DAY_2}\.{_YEAR}(?!\.?\d)",
        unless=f"{_SOFTWARE}|section|chapter",
    ),
    _pattern("date", rf"{_WHEN}(?P<value>{_MONTH}\.{_DAY}\.{_ANY_YEAR})(?!\.?\d)"),
    _pattern(
        "date",
        rf"(?<![\w/.-]){_DAY_2}\.{_MONTH_2}\.\d{{2}}(?!\.?\d)",
        unless=f"{_VERSIONS}|section|chapter",
    ),
    _pattern(
        "date",
        rf"(?<![\w.#/-])(?:19|20)\d{{2}}{_MONTH_2}{_DAY_2}(?![\w/-]|\.\d)",
        unless="id|no|number",
    ),
    _pattern(
        "date",
        r"(?i:\b(?:d\.?o\.?b\.?|birth ?date|date of birth|born(?: on)?) ?[:#]? ?)"
        r"(?P<value>\d{8}|\d{6})\b",
    ),
    _pattern(
        "date",
        rf"\b{_FROM_DAY}{_DAY}{_TH}[-/ ]?(?:of )?{_ANY_MONTHS}[-/., ]{{1,2}}"
        rf"(?:{_YEAR}|'?\d{{2}}(?=[^\w:/%-]|$))(?!\d)",
    ),
    _pattern("date", rf"\b{_DAY_2}{_ANY_MONTHS}{_ANY_YEAR}\b"),
    _pattern(
        "date",
        rf"\b{_ANY_MONTHS}[-/. ]{{0,2}}{_DAY}{_TH}{_TO_DAY},?[-/ ]{{0,2}}{_YEAR}\b",
    ),
    _pattern(
        "date",
        rf"\b(?:{_MONTHS}|{_WHOLE_MONTHS})\.? {_DAY}{_TH}{_TO_DAY}\b(?![/.]\d)"
        rf"{_COUNTED}",
    ),
    _pattern(
        "date",
        rf"\b{_FROM_DAY}{_DAY}{_TH}(?: of)?[ -](?:{_MONTHS}|{_WHOLE_MONTHS})\b{_COUNTED}",
    ),
    _pattern("date", rf"\b{_ANY_MONTHS}\.?,? {_YEAR}\b"),
    # One digit and a year are a rate too: "1/2000".
    _pattern("date", rf"(?<![\d/.-]){_MONTH_2}/{_YEAR}(?![\d/%])"),
    _pattern("date", rf"{_WHEN}(?P<value>{_MONTH}/{_YEAR})(?![\d/%])"),
    _pattern("date", rf"{_WHEN}(?P<value>{_MONTH_DAY})"),
    _pattern("date", rf"{_WHEN}{_MONTH}/{_DAY}{_AND}(?P<value>{_MONTH_DAY})"),
    _pattern("date", rf"\b{_YEAR}{_AND}(?P<value>{_MONTH_DAY})"),
    _pattern(
        "date",
        rf"\b(?P<value>{_OVER_89})(?=[ -]?(?i:years?|yrs?|y\.?/?o)(?![a-z]))(?! ?years? ago)",
    ),
    _pattern(
        "date",
        rf"(?i:\b(?:age[ds]?|turn(?:s|ed|ing))(?: of| is)? ?[:=]? ?)(?P<value>{_OVER_89})\b"
        r"(?![/%\u00b0]|\.\d| degrees)",
    ),
    _pattern(
        "date",
        rf"(?:^|(?i:\b(?:pt|patient|an?|this)) )(?P<value>{_OVER_89})(?= ?[MF]\b)"
        r"(?! ?F (?:fever|temp))",
    ),
    _pattern("location", rf"\b(?:{_STATES}),? (?P<value>\d{{5}}(?:-\d{{4}})?)\b"),
    _pattern(
        "location",
        r"(?i:\b(?:zip(?: ?code)?|postal code) ?[:#]? ?"
        r"|\b(?:lives?|living|resid(?:es?|ing)|moved) (?:in|to|at|near) )"
        r"(?P<value>\d{5}(?:-\d{4})?)\b(?!\.\d)",
    ),
    _pattern("phone", rf"{_TELEPHONE}(?P<value>{_GROUPS})(?![\d/-]|\.\d)", _is_phone),
    _pattern(
        "phone",
        rf"(?<![\w.+/-])(?P<value>{_GROUPS})"
        r"(?= ?[-(]?(?i:office|fax|mobile|cell|desk|home|work)\b)",
        _is_phone,
    ),
    _pattern("phone", r"(?i:\b(?:ext|extension)\.? ?#? ?)(?P<value>\d{4,5})\b"),
    _pattern(
        "phone", r"(?i:\b(?:call|dial|phone|tel\.?|desk|office)(?: at)? x ?)(?P<value>\d{4,5})\b"
    ),
    _pattern("phone", r"(?i:\b(?:pager|pgr|beeper) ?[:#]* ?)(?P<value>\d{4,6})\b"),
    _pattern(
        "phone",
        r"(?<![\w.+/-])[2-9]\d{2}[2-9]\d{6}(?![\w/-]|\.\d)"
        r"(?! ?(?i:copies|cells|iu|u|ml|mg|ng|pg|g)\b)",
        _is_national,
        unless="id|no|number|code|lab|ref|lot|case|order|sample|specimen|accession|study|test|#",
    ),
)


def find(text: str) -> Sequence[Span]:
    """What the patterns find in a text, in order; spans do not overlap."""
    plain, places = _plain(text)
    taken: list[Span] = []
    for label, pattern, check, unless in PATTERNS:
        for match in pattern.finditer(plain):
            first, last = match.span("value" if "value" in pattern.groupindex else 0)
            before = plain[max(first - BEFORE, 0) : first]
            if unless is not None and unless.search(before):
                continue
            start, end = places[first], places[last - 1] + 1
            is_free = all(end <= span.start or start >= span.end for span in taken)
            if is_free and check(plain[first:last]):
                taken.append(Span(start, end, text[start:end], label))
    return sorted(taken)


def _plain(text: str) -> tuple[str, Sequence[int]]:
    """The text as patterns read it, and where each of its characters stands in the text.

    Blanks in a row, as in aligned columns, are one space, and so is a line's end behind a name and
    its mark ("MRN:"); all dashes are hyphens, all apostrophes straight.
    """
    parts, places, at = list[str](), list[int](), 0
    for match in _VARIANT.finditer(text):
        parts += [text[at : match.start()], _PLAIN.get(match[0], " ")]
        places += range(at, match.start() + 1)
        at = match.end()
    return "".join([*parts, text[at:]]), [*places, *range(at, len(text))]


SAFE_HARBOR = SpanPatterns(VERSION, find, repeated=frozenset({"name"}))
