"""Does a comment in code admit technical debt, and of which kind?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from spt_core.answers import phrases_schema, probability_schema
from spt_core.judgement import Labels
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

NONE = "none"
COMMENTS_PER_PROJECT = 10
REVIEW_BELOW = 0.7
# What to do about each kind (Maldonado, Shihab and Tsantalis, IEEE TSE 43, 2017, name the kinds).
STEPS: Mapping[str, str] = {
    "design": "plan a refactoring; write down what the shortcut costs",
    "requirement": "open an issue for what is not implemented",
    "defect": "write a failing test, then mend it",
    "test": "write the test that is missing",
    "documentation": "write what is missing while its author is there",
}


def respond(judgement: Labels) -> dict[str, Any]:
    """The task's answer: whether debt is admitted, its kind, by which words, what to do."""
    best = judgement.best
    of_none = sum(score.probability for score in judgement.scores if score.label == NONE)
    is_debt = best.label != NONE
    return {
        "is_debt": is_debt,
        "debt_probability": round(min(max(1.0 - of_none, 0.0), 1.0), 6),
        "kind": best.label,
        "evidence": best.phrases() if is_debt else [],
        "recommendation": _step(best.label, is_sure=best.probability >= REVIEW_BELOW),
        "confidence": round(best.probability, 6),
    }


def _step(kind: str, *, is_sure: bool) -> str:
    if kind == NONE:
        return "nothing to do" if is_sure else "look at it: debt is not ruled out"
    step = STEPS.get(kind, "have it looked at")
    return step if is_sure else f"look first: {step}"


ADMITTING: Mapping[str, tuple[str, ...]] = {
    "design": (
        "this is an ugly hack around {name}, clean it up",
        "{name} should not know {other}, move it out of here",
        "copied from {other}, merge both one day",
    ),
    "requirement": (
        "TODO: support {other} too",
        "{name} is not implemented yet for more than {number} rows",
        "FIXME we still have to handle {other} here",
    ),
    "defect": (
        "this breaks when {name} is empty and nobody knows why",
        "FIXME: {name} is not thread-safe, it fails now and then",
        "wrong result for {number}, a bug in {other}",
    ),
    "test": (
        "TODO: test {name} with {number} entries",
        "this test checks nothing of {other} so far",
    ),
    "documentation": (
        "TODO: describe what {name} returns",
        "explain {other} here, nobody understands it",
    ),
}
PLAIN = (
    "returns the {name} of {other}",
    "{name} has at most {number} entries",
    "iterate over each {other} and add it to {name}",
    "a test of {name} needs {other} first",
    "see the documentation of {other} for the format",
    "handles the error that {name} throws when {other} is closed",
    "the design of {name} follows {other}",
)
NAMES = ("parser", "cache", "session", "queue", "index", "router", "buffer", "schema", "cursor")
MARKS = ("// {}", "/* {} */", "// {}.", "/** {} */", "// NOTE {}")


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of comments, 10 of each project, whose kinds are known.

    Half admit debt in words of ADMITTING, twice as often of the design as of any other kind; the
    others are of PLAIN, which names the same things and admits nothing. Names, numbers and comment
    marks are drawn apart from the label. Real projects admit debt in some 6 % of comments: half, so
    that a small sample has all kinds.
    """
    draw = np.random.default_rng(seed)
    kinds = list(ADMITTING)
    weights = np.array([2.0, 1.0, 1.0, 1.0, 1.0])
    labels: list[str] = []
    texts: list[str] = []
    for _ in range(num_rows):
        is_debt = draw.random() < 0.5
        kind = str(draw.choice(kinds, p=weights / weights.sum())) if is_debt else NONE
        template = _pick(ADMITTING[kind] if is_debt else PLAIN, draw)
        name, other = (
            f"{_pick(NAMES, draw)}{_pick(NAMES, draw).title()}{draw.integers(10, 100)}"
            for _ in range(2)
        )
        text = template.format(name=name, other=other, number=int(draw.integers(2, 1000)))
        texts.append(_pick(MARKS, draw).format(text))
        labels.append(kind)
    projects = [f"project-{row // COMMENTS_PER_PROJECT:04d}" for row in range(num_rows)]
    return pa.table({"text": texts, "project": projects, "kind": labels})


def _pick(choices: tuple[str, ...], draw: np.random.Generator) -> str:
    return choices[int(draw.integers(len(choices)))]


TECHNICAL_DEBT = Task(
    industry=IndustryType.TECHNOLOGY,
    name="technical_debt",
    title="Self-admitted technical debt",
    description=(
        "Whether a comment in code admits a shortcut, of which kind, by which words. Debt that "
        "nobody admits is not seen."
    ),
    verb="find_debt",
    family="text",
    head="single_label",
    label="kind",
    classes=(NONE, *STEPS),
    negative_class=NONE,
    group="project",
    fields=(Field(name="text", kind="text", description="a comment, with its marks or without"),),
    answer={
        "is_debt": {
            "type": "boolean",
            "description": "whether a kind is likelier than none; where it is not, all kinds "
            "together (debt_probability) may still be",
        },
        "debt_probability": probability_schema("calibrated probability of any kind of debt"),
        "kind": {"type": "string", "description": f"{NONE}, {', '.join(STEPS)}"},
        "evidence": phrases_schema(
            "phrases that speak for the kind, strongest first; empty without debt"
        ),
        "recommendation": {"type": "string", "description": "what to do, by a stated table"},
        "confidence": probability_schema("calibrated probability of the kind"),
    },
    respond=respond,
    example={"text": "// FIXME this is an ugly hack, the cache should not know the session"},
    sample=sample,
    metric="macro_f1",
    compliance_checks=("data_licence_known", "classes_measured"),
    latency_target_ms=20.0,
    size_target_mb=25.0,
    label_patterns={
        "design": r"\b(?:hack|ugly|workaround|kludge|clean ?up|refactor)\w*",
        "requirement": r"\bTODO\b|not (?:yet )?implemented",
        "defect": r"\bFIXME\b|\bbug\b",
    },
)
