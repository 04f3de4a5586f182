"""Weaknesses of code by CWE id: what each is, how severe, and what mends it. Teams edit this table.

Ids, names and the usual consequences are those of MITRE's Common Weakness Enumeration 4.x
(https://cwe.mitre.org/data/definitions/ID.html), (c) The MITRE Corporation, whose terms of use
allow research, development and commercial use with this designation. CWE gives a weakness no
severity, since that is the vulnerability's (CVSS): the levels here are this project's, by the
gravest consequence that its CWE page lists, under this rule:

critical: code or commands of an attacker run; high: memory, files or data of others are read or
changed, or an identity is taken over; medium: the service stops, or a protection is weaker than it
looks; low: any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

VERSION = "2026-11-29"  # with every change of WEAKNESSES

Severity = Literal["none", "low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("none", "low", "medium", "high", "critical")


class Weakness(NamedTuple):
    """Its name in CWE, its level by the rule above, and what mends it."""

    name: str
    severity: Severity
    remedy: str


WEAKNESSES: Mapping[str, Weakness] = {
    "CWE-22": Weakness(
        "Path Traversal",
        "high",
        "resolve the path and refuse it unless it lies below the folder that is meant",
    ),
    "CWE-78": Weakness(
        "OS Command Injection",
        "critical",
        "pass the program and its arguments as a list, without a shell",
    ),
    "CWE-79": Weakness(
        "Cross-site Scripting",
        "high",
        "escape what comes from outside where it enters the page, by a template that always does",
    ),
    "CWE-89": Weakness(
        "SQL Injection",
        "critical",
        "bind values as parameters of the statement instead of writing them into it",
    ),
    "CWE-90": Weakness(
        "LDAP Injection", "high", "escape values by RFC 4515 before they enter a filter"
    ),
    "CWE-125": Weakness(
        "Out-of-bounds Read", "high", "check index and length against the buffer before each read"
    ),
    "CWE-190": Weakness(
        "Integer Overflow or Wraparound",
        "high",
        "check that a sum or product fits before it sizes or indexes memory",
    ),
    "CWE-327": Weakness(
        "Use of a Broken or Risky Cryptographic Algorithm",
        "medium",
        "use an authenticated cipher that is current, such as AES-GCM",
    ),
    "CWE-328": Weakness(
        "Use of Weak Hash",
        "medium",
        "use SHA-256 or better; for passwords a slow hash such as Argon2id",
    ),
    "CWE-330": Weakness(
        "Use of Insufficiently Random Values",
        "medium",
        "take tokens and keys from the system's cryptographic generator",
    ),
    "CWE-416": Weakness(
        "Use After Free",
        "critical",
        "clear the pointer where memory is freed, and hold a reference while it is used",
    ),
    "CWE-476": Weakness(
        "NULL Pointer Dereference", "medium", "check the pointer before it is followed"
    ),
    "CWE-501": Weakness(
        "Trust Boundary Violation",
        "medium",
        "validate what comes from outside before it is stored beside what is trusted",
    ),
    "CWE-614": Weakness(
        "Sensitive Cookie in HTTPS Session Without 'Secure' Attribute",
        "medium",
        "set the cookie's Secure attribute",
    ),
    "CWE-643": Weakness(
        "XPath Injection", "high", "bind values as variables of the expression, or escape them"
    ),
    "CWE-787": Weakness(
        "Out-of-bounds Write",
        "critical",
        "check index and length against the buffer before each write",
    ),
}


def weakness_of(cwe: str) -> Weakness:
    """What the table says of a CWE; one that it does not list is to be looked up by a person."""
    return WEAKNESSES.get(
        cwe, Weakness("", "medium", "not in this table: see its page in CWE, and add it")
    )


def link_to(cwe: str) -> str:
    """CWE's page about a weakness."""
    return f"https://cwe.mitre.org/data/definitions/{cwe.removeprefix('CWE-')}.html"
