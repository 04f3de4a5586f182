"""A tiny task and corpora for the tests of spt_core.data."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from spt_core.policy import Costs
from spt_core.signature import Field
from spt_core.task import IndustryType, Task

TASK = Task(
    industry=IndustryType.FINANCIAL_SERVICES,
    name="toy",
    title="Toy",
    description="A toy.",
    verb="toy",
    label="y",
    time="when",
    fields=(
        Field(name="amount", kind="number", minimum=0.0),
        Field(name="code", kind="category"),
        Field(name="when", kind="time"),
    ),
    windows=(),
    answer={},
    respond=lambda _: {},
    example={},
    sample=lambda num_rows, seed: rows(num_rows, seed),
    costs=Costs(missed_positive=10.0, false_alarm=1.0, review=0.5),
    daily_review_capacity=10,
    daily_volume=100,
    protected=("sex",),
)


def rows(num_rows: int, seed: int = 0) -> pa.Table:
    """Rows over 100 days whose label depends weakly on the amount."""
    draw = np.random.default_rng(seed)
    amount = np.round(draw.lognormal(3, 1, num_rows), 2)
    seconds = np.sort(draw.integers(0, 100 * 86_400, num_rows)) + 1_700_000_000
    return pa.table(
        {
            "amount": amount,
            "code": draw.choice(np.array(["a", "b", "c"]), num_rows, p=[0.2, 0.5, 0.3]),
            "when": pa.array(seconds * 1_000_000, pa.timestamp("us")),
            "card": draw.integers(0, 40, num_rows),
            "sex": draw.choice(np.array(["f", "m"]), num_rows),
            "y": (draw.random(num_rows) < np.where(amount > 40, 0.4, 0.2)).astype(np.int8),
        }
    )
