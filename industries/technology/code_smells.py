"""How severe is a code smell in a class, by its metrics, and which refactoring is usual?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from spt_core.answers import (
    class_probabilities,
    class_probabilities_schema,
    field_effects,
    field_effects_schema,
    probability_schema,
    warnings,
    warnings_schema,
)
from spt_core.judgement import Labels
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

SEVERITIES = ("none", "minor", "major", "critical")
SMELLS = ("blob", "data class")
NUM_METRICS = 5
REVIEWS_PER_CLASS = 2
REVIEW_FROM = 0.3  # of the probability of any smell, below which nobody need look
# What is usual against each smell (Fowler, "Refactoring", 2nd ed., 2018).
REFACTORINGS: Mapping[str, str] = {
    "blob": "Extract Class along the fields that are used together",
    "data class": "Encapsulate Record; move behaviour to the data (Move Function)",
}


def respond(judgement: Labels) -> dict[str, Any]:
    """The task's answer: the severity, its probabilities, by which metrics, and what to do."""
    best = judgement.best
    of_none = sum(s.probability for s in judgement.scores if s.label == SEVERITIES[0])
    smelly = min(max(1.0 - of_none, 0.0), 1.0)
    return {
        "severity": best.label,
        "smell_probability": round(smelly, 6),
        "severities": class_probabilities("severity", judgement.scores),
        "metrics": field_effects(best.fields[:NUM_METRICS]),
        "recommendation": _recommendation(best.label, smelly, judgement.record.get("smell")),
        "warnings": warnings(judgement),
        "confidence": round(best.probability, 6),
    }


def _recommendation(severity: str, smelly: float, smell: Any) -> str:
    if severity == SEVERITIES[0]:
        return "leave_as_it_is" if smelly < REVIEW_FROM else "have a developer look at it"
    return REFACTORINGS.get(str(smell), "have a developer look at it")


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of reviews of classes, two reviews of each, with known causes.

    Half of the reviews ask for a blob, half for a data class. A blob's score is 1.1 per doubling of
    the lines above 150, plus 0.05 per field above 8, plus 0.02 per unit of lack of cohesion above
    20 (of fields at most 30, of cohesion 60 above count); a data class's is 6 times the share of
    accessors above 0.3, minus 0.06 per point of complexity per method above 1. Reviewers add normal
    noise of 0.8; minor, major and critical begin at 1.0, 2.2 and 3.6. Depth and coupling do not
    matter. 5 % of the lacks of cohesion are missing at random.
    """
    draw = np.random.default_rng(seed)
    num_classes = num_rows // REVIEWS_PER_CLASS + 1
    of = np.arange(num_rows) // REVIEWS_PER_CLASS
    lines = np.clip(draw.lognormal(np.log(120.0), 0.9, num_classes), 5, 5000).round()[of]
    methods = np.maximum(1, draw.poisson(lines / 14.0))
    fields = draw.poisson(2 + lines / 40.0)
    cohesion_lack = (draw.gamma(1.2, 18.0, num_classes)[of] * np.log1p(methods)).round()
    accessors = draw.beta(1.2, 2.4, num_classes)[of].round(3)
    complexity = (methods * draw.lognormal(0.7, 0.5, num_rows)).round() + 1
    smell = draw.integers(0, 2, num_classes)[of]
    blob = (
        1.1 * np.maximum(np.log2(lines / 150.0), 0.0)
        + 0.05 * np.clip(fields - 8, 0, 30)
        + 0.02 * np.clip(cohesion_lack - 20, 0, 60)
    )
    data = 6.0 * np.maximum(accessors - 0.3, 0.0) - 0.06 * np.maximum(complexity / methods - 1, 0)
    score = np.where(smell == 0, blob, data) + draw.normal(0.0, 0.8, num_rows)
    severity = np.searchsorted(np.array([1.0, 2.2, 3.6]), score)
    return pa.table(
        {
            "review_of": np.char.add("class-", of.astype("U7")),
            "smell": np.array(SMELLS)[smell],
            "loc": lines,
            "methods": methods,
            "fields": fields,
            "wmc": complexity,
            "lcom": pa.array(cohesion_lack, mask=draw.random(num_rows) < 0.05),
            "share_of_accessors": accessors,
            "cbo": draw.poisson(9, num_rows),
            "dit": 1 + draw.poisson(0.8, num_rows),
            "severity": np.array(SEVERITIES)[severity],
        }
    )


def _metric(name: str, description: str, *, required: bool = True) -> Field:
    return Field(name=name, kind="number", minimum=0, required=required, description=description)


CODE_SMELLS = Task(
    industry=IndustryType.TECHNOLOGY,
    name="code_smells",
    title="Code smells",
    description=(
        "How severe developers would find a smell in a class, by metrics of its code, why, and "
        "which refactoring is usual. Developers agree on it moderately: it is an opinion."
    ),
    verb="assess_smell",
    head="ordinal",
    label="severity",
    classes=SEVERITIES,
    group="review_of",
    fields=(
        Field(name="smell", kind="category", description=f"asked for: {', '.join(SMELLS)}"),
        _metric("loc", "lines of code"),
        _metric("methods", "methods"),
        _metric("fields", "fields"),
        _metric("wmc", "weighted methods: the sum of their cyclomatic complexities"),
        _metric("lcom", "lack of cohesion of methods", required=False),
        Field(
            name="share_of_accessors",
            kind="number",
            minimum=0,
            maximum=1,
            required=False,
            description="methods that get or set a field, over all methods",
        ),
        _metric("cbo", "coupling between objects"),
        _metric("dit", "depth of inheritance"),
    ),
    answer={
        "severity": {"type": "string", "description": ", ".join(SEVERITIES)},
        "smell_probability": probability_schema("calibrated probability of any severity but none"),
        "severities": class_probabilities_schema("severity", "every severity, most probable first"),
        "metrics": field_effects_schema(
            "strongest effects on the log-odds of the severity, signed"
        ),
        "recommendation": {"type": "string", "description": "what is usual, by a stated table"},
        "warnings": warnings_schema(),
        "confidence": probability_schema("calibrated probability of the severity"),
    },
    respond=respond,
    example={
        "smell": "blob",
        "loc": 820,
        "methods": 58,
        "fields": 31,
        "wmc": 170,
        "lcom": 120,
        "share_of_accessors": 0.2,
        "cbo": 14,
        "dit": 1,
    },
    sample=sample,
    metric="mean_rank_error",
    compliance_checks=("data_licence_known", "classes_measured"),
)
