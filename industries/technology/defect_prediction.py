"""Which modules are likely to hold a defect, and where is a tester's day best spent?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answers import (
    CONFIDENCE,
    field_effects,
    field_effects_schema,
    probability_schema,
    warnings,
    warnings_schema,
)
from spt_core.judgement import Decision
from spt_core.policy import Costs
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

NUM_METRICS = 5
RECOMMENDATIONS = {
    "approve": "usual_review",
    "review": "second_review",
    "decline": "test_before_release",
}


def respond(judgement: Decision) -> dict[str, Any]:
    """The task's answer: how probable a defect is, by which metrics, and what to do."""
    return {
        "defect_probability": round(judgement.probability, 6),
        "recommendation": RECOMMENDATIONS[judgement.action],
        "metrics": field_effects(judgement.fields[:NUM_METRICS]),
        "warnings": warnings(judgement),
        "confidence": round(judgement.confidence, 6),
    }


def sample(num_rows: int, seed: int) -> pa.Table:
    """A SYNTHETIC corpus of modules whose causes of defects are known.

    Lines of code are log-normal around 30; branches, operators and operands follow them, each with
    noise of its own. The log-odds of a defect are -2.6, plus 0.7 per doubling of the lines above
    30, plus 0.12 per branch above 6 (at most 25 count), plus 0.1 per essential complexity above 1
    (at most 15), minus 1.5 times the share of comments less 0.15. Halstead's measures matter by the
    lines alone. 10 % of the shares of comments are missing at random.
    """
    draw = np.random.default_rng(seed)
    lines = np.clip(draw.lognormal(np.log(30.0), 0.9, num_rows), 1, 3000).round()
    branches = draw.poisson(0.18 * lines * draw.lognormal(0.0, 0.4, num_rows))
    essential = 1 + draw.binomial(np.minimum(branches, 200), 0.12)
    operators = (lines * draw.lognormal(1.1, 0.25, num_rows)).round()
    operands = (operators * draw.lognormal(-0.35, 0.2, num_rows)).round()
    unique = np.maximum(2.0, (6 * np.sqrt(operands + 1)).round())
    volume = ((operators + operands) * np.log2(unique + 12)).round(1)
    comments = np.clip(draw.beta(1.6, 6.0, num_rows), 0, 1).round(3)
    log_odds = (
        -2.6
        + 0.7 * np.maximum(np.log2(lines / 30.0), 0.0)
        + 0.12 * np.clip(branches - 6, 0, 25)
        + 0.1 * np.clip(essential - 1, 0, 15)
        - 1.5 * (comments - 0.15)
    )
    is_defective = draw.random(num_rows) < 1 / (1 + np.exp(-log_odds))
    return pa.table(
        {
            "loc_total": lines,
            "branch_count": branches,
            "cyclomatic_complexity": branches // 2 + 1,
            "essential_complexity": essential,
            "num_operators": operators,
            "num_operands": operands,
            "halstead_volume": volume,
            "share_of_comments": pa.array(comments, mask=draw.random(num_rows) < 0.1),
            "is_defective": is_defective.astype(np.int8),
        }
    )


def causes(table: pa.Table) -> dict[str, NDArray[np.float64]]:
    """What single fields [N] of a sample's rows add to the log-odds: all of it but the constant.

    NaN where a share of comments is missing. McCabe's and Halstead's measures are left out: lines
    and branches tell them.
    """

    def numbers(name: str) -> NDArray[np.float64]:
        return np.array(table[name].to_pylist(), np.float64)

    return {
        "loc_total": 0.7 * np.maximum(np.log2(numbers("loc_total") / 30.0), 0.0),
        "branch_count": 0.12 * np.clip(numbers("branch_count") - 6, 0, 25),
        "essential_complexity": 0.1 * np.clip(numbers("essential_complexity") - 1, 0, 15),
        "share_of_comments": -1.5 * (numbers("share_of_comments") - 0.15),
    }


def _metric(name: str, description: str, *, required: bool = True) -> Field:
    return Field(name=name, kind="number", minimum=0, required=required, description=description)


DEFECT_PREDICTION = Task(
    industry=IndustryType.TECHNOLOGY,
    name="defect_prediction",
    title="Defect prediction",
    description=(
        "The probability that a module holds a defect, by metrics of its code, why, and whether "
        "it is worth a second review or tests before the release. It finds no defect."
    ),
    verb="predict_defect",
    label="is_defective",
    fields=(
        _metric("loc_total", "lines of code"),
        _metric("branch_count", "branches"),
        _metric("cyclomatic_complexity", "McCabe's"),
        _metric("essential_complexity", "what is left of it without structured parts"),
        _metric("num_operators", "of Halstead's count"),
        _metric("num_operands", "of Halstead's count"),
        _metric("halstead_volume", "Halstead's volume, in bits"),
        Field(
            name="share_of_comments",
            kind="number",
            minimum=0,
            maximum=1,
            required=False,
            description="lines of comments over all lines",
        ),
    ),
    answer={
        "defect_probability": probability_schema(
            "calibrated probability that the module holds a defect"
        ),
        "recommendation": {
            "type": "string",
            "enum": list(RECOMMENDATIONS.values()),
            "description": "the cheapest by the policy's costs, within a day's reviews",
        },
        "metrics": field_effects_schema(
            "strongest effects on the log-odds, signed: positive raises the risk"
        ),
        "warnings": warnings_schema(),
        "confidence": CONFIDENCE,
    },
    respond=respond,
    example={
        "loc_total": 140,
        "branch_count": 31,
        "cyclomatic_complexity": 16,
        "essential_complexity": 5,
        "num_operators": 420,
        "num_operands": 300,
        "halstead_volume": 4800.0,
        "share_of_comments": 0.05,
    },
    sample=sample,
    causes=causes,
    # Assumed, to be set by the team: a defect that is shipped, tests that find nothing, a review.
    costs=Costs(missed_positive=3_000.0, false_alarm=600.0, review=150.0),
    daily_review_capacity=20,
    daily_volume=150,
    metric="roc_auc",
    compliance_checks=("data_licence_known", "classes_measured"),
)
