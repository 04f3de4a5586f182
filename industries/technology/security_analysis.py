"""Which ATT&CK technique does a sentence of a threat report describe?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from industries.technology.techniques import NAMES as TECHNIQUES
from industries.technology.techniques import link_to, name_of
from spt_core.answers import PROBABILITY, phrases_schema, probability_schema
from spt_core.judgement import Labels, LabelScore
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

ACCEPT_FROM = 0.8  # below it, an analyst looks at the mapping before it is used
NUM_ALTERNATIVES = 3
SENTENCES_PER_REPORT = 20


def respond(judgement: Labels) -> dict[str, Any]:
    """The task's answer: the technique that the policy gives, else the most probable one.

    `confidence` is the technique's calibrated probability: among answers with confidence 0.9, nine
    of ten are right.
    """
    best = judgement.best
    others = [score for score in judgement.scores if score.label != best.label]
    is_sure = best.is_given and best.probability >= ACCEPT_FROM
    return {
        **_named(best),
        "alternatives": [
            {**_named(score), "probability": round(score.probability, 6)}
            for score in others[:NUM_ALTERNATIVES]
        ],
        "evidence": best.phrases(),
        "recommendation": "accept" if is_sure else "review",
        "confidence": round(best.probability, 6),
    }


def _named(score: LabelScore) -> dict[str, str]:
    return {
        "technique": score.label,
        "technique_name": name_of(score.label),
        "technique_url": link_to(score.label),
    }


# Of each technique: phrases that decide it.
DECIDING: Mapping[str, tuple[str, ...]] = {
    "T1003.001": (
        "reads the memory of lsass.exe to steal credentials",
        "dumps passwords out of the LSASS process",
    ),
    "T1027": (
        "hides its strings with a custom XOR cipher",
        "ships a payload that is packed and obfuscated",
    ),
    "T1053.005": (
        "creates a scheduled task that starts it every hour",
        "calls schtasks to run again after a reboot",
    ),
    "T1055": (
        "injects its code into a running process",
        "writes shellcode into the memory of explorer.exe and starts a remote thread",
    ),
    "T1082": (
        "collects the computer name and the version of Windows",
        "asks for the processor, the memory and the system language",
    ),
    "T1105": (
        "downloads a second stage from a remote server",
        "fetches further tools over HTTP and saves them to disk",
    ),
    "T1140": (
        "decodes the embedded base64 blob before it runs it",
        "decrypts its configuration with RC4 when it starts",
    ),
    "T1566.001": (
        "arrives in an email with a malicious document attached",
        "is sent to employees as an attachment that poses as an invoice",
    ),
}
ACTORS = (
    "The malware",
    "The loader",
    "The backdoor",
    "{name}",
    "This variant of {name}",
    "The group behind {name}",
    "Version {number} of {name}",
)
ASIDES = (
    "",
    " in the campaign of {month}",
    " on hosts of the finance department",
    ", as sample {hash} shows",
    " (file size {number} KB)",
    ", which was first seen in {month}",
)
# They name what other techniques use, and happen whatever the technique.
DISTRACTORS = (
    "",
    " Researchers found the sample in an email archive.",
    " A report about it can be downloaded from our server.",
    " The process was stopped by the endpoint agent.",
    " The scheduled maintenance of the hosts was not affected.",
    " The language of its messages is {language}.",
)
NAMES = ("GRAYHERON", "TinLantern", "Mosswire", "REDKETTLE", "Palefox", "Sandglass", "NIGHTJAR")
MONTHS = ("January", "March", "May", "July", "September", "November")
LANGUAGES = ("English", "Spanish", "Korean", "French")


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of sentences in reports of 20, whose techniques are known.

    Each text has one phrase of DECIDING, and its technique is the label; T1027 and T1105 are three
    times as frequent as the others. Actors, asides and distractors, which use words of other
    techniques, are drawn apart from the label and say nothing.
    """
    draw = np.random.default_rng(seed)
    names = list(DECIDING)
    weights = np.array([3.0 if name in ("T1027", "T1105") else 1.0 for name in names])
    labels = [str(name) for name in draw.choice(names, num_rows, p=weights / weights.sum())]
    texts: list[str] = []
    for label in labels:
        parts = (_pick(ACTORS, draw), " ", _pick(DECIDING[label], draw), _pick(ASIDES, draw), ".")
        template = "".join(parts) + _pick(DISTRACTORS, draw)
        texts.append(
            template.format(
                name=_pick(NAMES, draw),
                month=_pick(MONTHS, draw),
                language=_pick(LANGUAGES, draw),
                number=int(draw.integers(2, 1000)),
                hash=f"{draw.integers(2**32):08x}",
            )
        )
    reports = [f"report-{row // SENTENCES_PER_REPORT:05d}" for row in range(num_rows)]
    return pa.table({"text": texts, "report": reports, "technique": labels})


def _pick(choices: tuple[str, ...], draw: np.random.Generator) -> str:
    return choices[int(draw.integers(len(choices)))]


_TECHNIQUE: Mapping[str, Any] = {
    "technique": {"type": "string", "description": "its id in MITRE ATT&CK"},
    "technique_name": {"type": "string", "description": "empty if the name is not known here"},
    "technique_url": {"type": "string", "description": "MITRE's page about it, with mitigations"},
}

SECURITY_ANALYSIS = Task(
    industry=IndustryType.TECHNOLOGY,
    name="security_analysis",
    title="Security analysis: ATT&CK techniques",
    description=(
        "The MITRE ATT&CK technique that a sentence of a threat report describes, and by which "
        "words. Every text gets its most probable technique, also one that describes none."
    ),
    verb="analyze_threat",
    family="text",
    head="single_label",
    label="technique",
    group="report",
    fields=(Field(name="text", kind="text", description="a sentence of a threat report"),),
    answer={
        **_TECHNIQUE,
        "alternatives": {
            "type": "array",
            "description": "the next most probable techniques",
            "items": {
                "type": "object",
                "properties": {
                    **_TECHNIQUE,
                    "probability": PROBABILITY,
                },
            },
        },
        "evidence": phrases_schema("phrases that speak for the technique, strongest first"),
        "recommendation": {"type": "string", "enum": ["accept", "review"]},
        "confidence": probability_schema("calibrated probability of the technique"),
    },
    respond=respond,
    example={
        "text": "The loader decrypts its configuration and injects its code into explorer.exe."
    },
    sample=sample,
    metric="macro_f1",
    compliance_checks=("data_licence_known", "advice_sourced"),
    advice={technique.lower(): link_to(technique) for technique in TECHNIQUES},
    latency_target_ms=20.0,
    size_target_mb=25.0,
    label_patterns={  # its id, or its name as MITRE writes it
        technique: rf"\b{re.escape(technique)}(?![\d.])|\b{re.escape(name)}\b"
        for technique, name in TECHNIQUES.items()
    },
)
