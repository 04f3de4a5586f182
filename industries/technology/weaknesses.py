"""Weaknesses of code by CWE id: what each is, how severe, and what mends it. Teams edit this table.

Ids and names are those of MITRE's Common Weakness Enumeration 4.x
(https://cwe.mitre.org/data/definitions/ID.html), (c) The MITRE Corporation, whose terms of use
allow research, development and commercial use with this designation. The table holds the CWE Top 25
of 2023 and of 2024 (https://cwe.mitre.org/top25/) and others that public data sets label.

CWE gives a weakness no severity, since that is the vulnerability's (CVSS). The levels are a
judgement of this project, by the consequence that a weakness usually has in practice; not by the
gravest that its page lists, which for many is that code runs:

critical: code, commands or statements of an attacker run on the server or host; high: memory,
files or data of others are read or changed, or rights or an identity are taken over; medium: the
service stops, or a protection is weaker than it looks; low: any other; unknown: not in the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

VERSION = "2026-11-30"  # with every change of WEAKNESSES

Severity = Literal["none", "low", "medium", "unknown", "high", "critical"]
# In rising order. One that nobody has judged goes before those that are judged to be moderate.
SEVERITIES: tuple[Severity, ...] = ("none", "low", "medium", "unknown", "high", "critical")
_ID = re.compile(r"(?:CWE)?[-_: ]*0*([1-9]\d*)(?:(?::|\s)\D.*)?", re.I)


class Weakness(NamedTuple):
    """Its name in CWE, its level by the rule above, and what mends it."""

    name: str
    severity: Severity
    remedy: str


WEAKNESSES: Mapping[str, Weakness] = {
    "CWE-20": Weakness(
        "Improper Input Validation",
        "medium",
        "check type, length, range and form of what comes from outside, and refuse the rest",
    ),
    "CWE-22": Weakness(
        "Path Traversal",
        "high",
        "resolve the path and refuse it unless it lies below the folder that is meant",
    ),
    "CWE-77": Weakness(
        "Command Injection",
        "critical",
        "call the program or library without an interpreter, and allow only listed arguments",
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
    "CWE-94": Weakness(
        "Code Injection",
        "critical",
        "never evaluate text from outside; choose from a list of functions instead",
    ),
    "CWE-119": Weakness(
        "Improper Restriction of Operations within the Bounds of a Memory Buffer",
        "critical",
        "check index and length against the buffer before each read and write",
    ),
    "CWE-125": Weakness(
        "Out-of-bounds Read", "high", "check index and length against the buffer before each read"
    ),
    "CWE-190": Weakness(
        "Integer Overflow or Wraparound",
        "high",
        "check that a sum or product fits before it sizes or indexes memory",
    ),
    "CWE-200": Weakness(
        "Exposure of Sensitive Information to an Unauthorized Actor",
        "high",
        "leave out of answers, errors and logs what the reader has no right to",
    ),
    "CWE-269": Weakness(
        "Improper Privilege Management",
        "high",
        "give each process and user the least rights, and drop them after use",
    ),
    "CWE-276": Weakness(
        "Incorrect Default Permissions",
        "high",
        "create files so that only their owner can read and write them",
    ),
    "CWE-287": Weakness(
        "Improper Authentication",
        "high",
        "prove who calls by a library that is well tried, before anything else is done",
    ),
    "CWE-306": Weakness(
        "Missing Authentication for Critical Function",
        "high",
        "ask every caller of the function who they are, on the server",
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
    "CWE-352": Weakness(
        "Cross-Site Request Forgery (CSRF)",
        "high",
        "ask each request that changes something for a token of the session; set SameSite",
    ),
    "CWE-362": Weakness(
        "Race Condition",
        "medium",
        "hold a lock, or use one atomic operation, from the check to the use",
    ),
    "CWE-400": Weakness(
        "Uncontrolled Resource Consumption",
        "medium",
        "limit size, number and time of what a request may take",
    ),
    "CWE-416": Weakness(
        "Use After Free",
        "critical",
        "clear the pointer where memory is freed, and hold a reference while it is used",
    ),
    "CWE-434": Weakness(
        "Unrestricted Upload of File with Dangerous Type",
        "critical",
        "allow listed types only, and store files where nothing runs them",
    ),
    "CWE-476": Weakness(
        "NULL Pointer Dereference", "medium", "check the pointer before it is followed"
    ),
    "CWE-501": Weakness(
        "Trust Boundary Violation",
        "medium",
        "validate what comes from outside before it is stored beside what is trusted",
    ),
    "CWE-502": Weakness(
        "Deserialization of Untrusted Data",
        "critical",
        "read a format of plain data, such as JSON, and check it against a schema",
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
    "CWE-798": Weakness(
        "Use of Hard-coded Credentials",
        "high",
        "read credentials from a store of secrets, and replace those that were in the code",
    ),
    "CWE-862": Weakness(
        "Missing Authorization",
        "high",
        "check on the server, for each request, that the caller may do this to this object",
    ),
    "CWE-863": Weakness(
        "Incorrect Authorization",
        "high",
        "check rights in one place, against the object that is meant, and refuse by default",
    ),
    "CWE-918": Weakness(
        "Server-Side Request Forgery (SSRF)",
        "high",
        "allow listed hosts only, and refuse addresses of the inner network",
    ),
}


def cwe_id(label: str) -> str:
    """A label as CWE writes its ids: "cwe-089", "89" and "CWE-89: SQL Injection" are "CWE-89".

    Any other is left as it is.
    """
    match = _ID.fullmatch(label.strip())
    return label if match is None else f"CWE-{match[1]}"


def weakness_of(cwe: str) -> Weakness:
    """What the table says of a CWE; one that it does not list is to be looked up by a person."""
    return WEAKNESSES.get(
        cwe_id(cwe), Weakness("", "unknown", "not in this table: see its page in CWE, and add it")
    )


def link_to(cwe: str) -> str:
    """CWE's page about a weakness; empty if this is no id of one."""
    match = _ID.fullmatch(cwe.strip())
    return f"https://cwe.mitre.org/data/definitions/{match[1]}.html" if match else ""
