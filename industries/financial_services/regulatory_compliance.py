"""Is this clause or policy passage compliant, and if not, in which way is it risky?"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from spt_core.answers import PROBABILITY, probability_schema
from spt_core.judgement import Labels
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

REVISE_FROM = 0.8  # a risk this probable is sent back to its author, a lesser one to a reviewer
NEAR_MISS = 0.5  # a risk of this share of its threshold is reviewed, though it is not given
SENTENCES_PER_DOCUMENT = 25

# The categories of unfair clauses of Lippi et al., "CLAUDETTE: an automated detector of
# potentially unfair clauses in online terms of service" (AI and Law, 2019), and of its sequel.
TITLES: Mapping[str, str] = {
    "a": "arbitration",
    "ch": "unilateral change of the contract",
    "cr": "removal of content",
    "j": "jurisdiction",
    "law": "choice of law",
    "ltd": "limitation of liability",
    "pinc": "privacy policy included by use",
    "ter": "unilateral termination",
    "use": "contract by using the service",
}

# A rule, not a model: a passage touches a family if it has one of the family's terms.
RULE_FAMILIES: Mapping[str, tuple[str, str]] = {
    "AML": (
        "anti-money laundering and sanctions",
        r"money[- ]launder\w*|AML|terroris[tm] financ\w*|suspicious (?:activity|transaction)s?"
        r"|sanction(?:s|ed)?|proceeds of crime|financial crime|PEPs?|politically exposed",
    ),
    "KYC": (
        "know your customer",
        r"KYC|know[- ]your[- ]customer|customer due diligence|CDD|enhanced due diligence"
        r"|beneficial owner\w*|customer identification|verif(?:y|ies|ication of) (?:the |your )?"
        r"identit(?:y|ies)|proof of identity",
    ),
    "CAPITAL": (
        "capital and liquidity (Basel III)",
        r"Basel(?: I{1,3}V?| Committee)?|capital (?:requirement|adequacy|ratio|buffer)s?"
        r"|own funds|common equity tier 1|CET ?1|tier [12] capital|risk[- ]weighted assets?"
        r"|leverage ratio|liquidity coverage|LCR|NSFR|stable funding",
    ),
    "CONSUMER": (
        "consumer protection",
        r"consumers?|unfair terms?|cooling[- ]off|withdrawal period|refunds?|cancellation right"
        r"|complaints?|sole discretion|without (?:prior )?notice|not (?:be )?liable|liability"
        r"|arbitrat\w+|class action",
    ),
    "DATA": (
        "data protection",
        r"personal data|personal information|GDPR|data protection|privacy|data subjects?"
        r"|cookies?",
    ),
    "MARKET": (
        "market conduct",
        r"insider (?:dealing|trading)|inside information|market (?:abuse|manipulation)"
        r"|best execution|conflicts? of interest",
    ),
}
_TERMS = {
    name: re.compile(rf"\b(?:{terms})\b", re.IGNORECASE)
    for name, (_, terms) in RULE_FAMILIES.items()
}


def respond(judgement: Labels) -> dict[str, Any]:
    """The task's answer: the risks that the policy gives, and the rule families by their terms.

    `confidence` is the calibrated probability behind the verdict: of the likeliest risk that is
    given, or 1 less that of the likeliest risk when none is.
    """
    given = [score for score in judgement.scores if score.is_given]
    top = judgement.scores[0].probability if judgement.scores else 0.0
    return {
        "compliant": not given,
        "risk_categories": [
            {
                "category": score.label,
                "title": TITLES.get(score.label, score.label),
                "probability": round(score.probability, 6),
                "phrases": score.phrases(),
            }
            for score in given
        ],
        "rule_families": rule_families(judgement.record["text"]),
        "recommendation": _recommendation(judgement),
        "confidence": round(max(s.probability for s in given) if given else 1.0 - top, 6),
    }


def rule_families(text: str) -> list[dict[str, Any]]:
    """The rule families whose terms a text has, with the terms as they stand there."""
    families: list[dict[str, Any]] = []
    for name, pattern in _TERMS.items():
        matches = list(pattern.finditer(text))
        if matches:
            families.append(
                {
                    "family": name,
                    "title": RULE_FAMILIES[name][0],
                    "found_by": "keyword rule",
                    "phrases": [
                        {"text": m.group(), "start": m.start(), "end": m.end()} for m in matches
                    ],
                }
            )
    return families


def _recommendation(judgement: Labels) -> str:
    thresholds = judgement.policy.thresholds
    if any(s.is_given and s.probability >= REVISE_FROM for s in judgement.scores):
        return "revise"
    if any(
        s.is_given or s.probability >= NEAR_MISS * thresholds.get(s.label, 1.0)
        for s in judgement.scores
    ):
        return "review"
    return "accept"


# Of each category: phrases that decide it, and fair ones that use the same words.
RISKY: Mapping[str, tuple[str, ...]] = {
    "a": (
        "any dispute is decided by binding arbitration instead of a court",
        "you give up your right to a trial and to take part in a group claim",
        "claims go to an arbitrator whom {name} appoints",
    ),
    "ch": (
        "{name} may change these conditions at any moment and need not tell you",
        "we reserve the right to raise the fees of {product} at our own choice",
        "altered conditions bind you from the day on which we post them",
    ),
    "cr": (
        "we may take down whatever you post, for any reason or for none",
        "{name} can erase your files in {product} with no warning",
    ),
    "j": (
        "only the courts of {place} may hear a claim against us",
        "you agree to bring every action in {place} and nowhere else",
    ),
    "law": (
        "the laws of {place} govern this agreement wherever you live",
        "this contract is read under the law of {place} alone",
    ),
    "ltd": (
        "{name} is in no case liable for damage of whatever kind",
        "our whole liability ends at {number} euro",
        "{product} comes as it is and without any guarantee",
    ),
    "pinc": (
        "whoever opens {product} consents to the privacy policy of {name}",
        "the privacy policy is part of this contract once you visit our pages",
    ),
    "ter": (
        "we may close your account whenever we like",
        "{name} can suspend your access to {product} without giving a reason",
    ),
    "use": (
        "by opening {product} you are bound by all of these conditions",
        "visiting our pages means that you accept this contract",
    ),
}
FAIR: Mapping[str, tuple[str, ...]] = {
    "a": ("arbitration is free for you, and you may always go to court instead",),
    "ch": (
        "we tell you of every change {number} days ahead, and you may refuse it",
        "you may change your settings in {product} at any moment",
    ),
    "cr": ("you may erase your files in {product} whenever you like",),
    "j": ("you may bring a claim in the courts of the country where you live",),
    "law": ("the consumer law of the country where you live always applies",),
    "ltd": ("{name} is liable for damage that it causes by negligence",),
    "pinc": ("our privacy policy tells which personal data we keep, and for how long",),
    "ter": ("you may close your account within {number} days and get a full refund",),
    "use": ("please read these conditions before you sign them",),
}
PLAIN = (
    "we verify the identity of every customer before {product} is opened",
    "suspicious transactions are reported to the authority within {number} days",
    "{name} keeps a capital ratio above {number} percent at all times",
    "the monthly statement of {product} lists every payment",
    "a lost card must be blocked by telephone under extension {number}",
    "{name} was founded in {place} and has {number} employees",
)
OPENINGS = (
    "",
    "As section {section} sets out, ",
    "For users of {product}, ",
    "Unless we agree otherwise in writing, ",
    "Subject to section {section}, ",
    "Please note that ",
)
CLOSINGS = ("", " (see section {section})", ", also on mobile devices", ", as of version {section}")
NAMES = ("Northwind Bank", "Bluefin Pay", "Harbour Credit", "Linden Trust", "Copperfield Cards")
PRODUCTS = ("the app", "the online account", "the card portal", "the savings plan", "the wallet")
PLACES = ("Delaware", "Dublin", "Luxembourg", "Singapore", "Zurich")


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of sentences in documents of 25, whose risks are known.

    27 % of the sentences have one deciding phrase of RISKY, 5 % have two of different categories,
    the others one of FAIR, which says the fair opposite in the same words, or of PLAIN. Names,
    places, numbers, openings and closings are drawn apart from the label and say nothing.
    """
    draw = np.random.default_rng(seed)
    labels: list[str] = []
    texts: list[str] = []
    for _ in range(num_rows):
        num_risks = int(draw.choice(3, p=[0.68, 0.27, 0.05]))
        risks = [str(name) for name in draw.choice(list(RISKY), num_risks, replace=False)]
        phrases = [_pick(RISKY[name], draw) for name in risks]
        if not risks:
            fair = FAIR[_pick(tuple(FAIR), draw)]
            phrases = [_pick(fair if draw.random() < 0.6 else PLAIN, draw)]
        template = _pick(OPENINGS, draw) + "; and ".join(phrases) + _pick(CLOSINGS, draw) + "."
        filled = template.format(
            name=_pick(NAMES, draw),
            product=_pick(PRODUCTS, draw),
            place=_pick(PLACES, draw),
            number=int(draw.integers(10, 100)),
            section=f"{draw.integers(1, 20)}.{draw.integers(1, 10)}",
        )
        texts.append(filled[0].upper() + filled[1:])
        labels.append(json.dumps(sorted(risks)))
    documents = [f"terms-{row // SENTENCES_PER_DOCUMENT:05d}" for row in range(num_rows)]
    return pa.table({"text": texts, "document": documents, "risk_categories": labels})


def _pick(choices: tuple[str, ...], draw: np.random.Generator) -> str:
    return choices[int(draw.integers(len(choices)))]


# Hints for texts without a label; how far each is believed is measured on labelled rows.
LABEL_PATTERNS: Mapping[str, str] = {
    "a": r"arbitrat\w+|class action|jury trial",
    "ch": r"(?:change|modif\w+|amend|alter|revise)\b.{0,60}\b(?:terms|conditions|agreement|fees)",
    "cr": r"(?:remove|delete|erase|take down)\b.{0,40}\b(?:content|files|posts?|material)",
    "j": r"(?:exclusive jurisdiction|courts? (?:of|in|located))",
    "law": r"govern(?:ed|ing)\b.{0,30}\blaws?|laws? of\b.{0,40}\bgovern",
    "ltd": r"not (?:be )?liable|no liability|limitation of liability|without .{0,12}warrant",
    "pinc": r"privacy policy\b.{0,60}\b(?:part of|incorporated|consent|accept)",
    "ter": r"(?:terminate|suspend|close)\b.{0,60}\b(?:account|access|service)",
    "use": r"by (?:using|accessing|visiting|opening)\b.{0,60}\b(?:agree|bound|accept)",
}

_PHRASES: Mapping[str, Any] = {
    "type": "array",
    "description": "words of the text, with the characters [start, end) that they take",
    "items": {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "start": {"type": "integer"},
            "end": {"type": "integer"},
        },
    },
}

REGULATORY_COMPLIANCE = Task(
    industry=IndustryType.FINANCIAL_SERVICES,
    name="regulatory_compliance",
    title="Regulatory compliance of clauses",
    description=(
        "Whether a clause or policy passage is compliant, which risks it has and by which words, "
        "and which families of rules it touches."
    ),
    verb="check_compliance",
    family="text",
    head="multi_label",
    label="risk_categories",
    group="document",
    fields=(Field(name="text", kind="text", description="a clause, or a passage of a policy"),),
    answer={
        "compliant": {
            "type": "boolean",
            "description": (
                "no risk reaches the policy's threshold for it; means nothing of a model whose "
                "classes are no risks, such as topics"
            ),
        },
        "risk_categories": {
            "type": "array",
            "description": "what the model finds risky, most probable first",
            "items": {
                "type": "object",
                "properties": {
                    "category": {"type": "string"},
                    "title": {"type": "string"},
                    "probability": PROBABILITY,
                    "phrases": _PHRASES,
                },
            },
        },
        "rule_families": {
            "type": "array",
            "description": "rule families that the text touches, by a keyword rule, not a model",
            "items": {
                "type": "object",
                "properties": {
                    "family": {"type": "string", "enum": list(RULE_FAMILIES)},
                    "title": {"type": "string"},
                    "found_by": {"type": "string", "enum": ["keyword rule"]},
                    "phrases": _PHRASES,
                },
            },
        },
        "recommendation": {"type": "string", "enum": ["accept", "review", "revise"]},
        "confidence": probability_schema(
            "calibrated probability behind the verdict: of the likeliest risk that is given, "
            "or 1 less that of the likeliest risk when none is"
        ),
    },
    respond=respond,
    example={
        "text": (
            "We may close your account at any time and without notice, and we are in no case "
            "liable for damage."
        )
    },
    sample=sample,
    metric="micro_f1",
    compliance_checks=("data_licence_known",),
    latency_target_ms=20.0,
    size_target_mb=25.0,
    label_patterns=LABEL_PATTERNS,
)
