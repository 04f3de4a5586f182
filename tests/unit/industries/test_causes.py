"""The parts of the log-odds that generators state: labels are drawn from their sum."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from industries.financial_services import credit_scoring, risk_assessment
from industries.healthcare import heart_disease, readmission
from industries.insurance import claims_fraud, policy_uptake
from industries.manufacturing import late_delivery
from industries.technology import defect_prediction
from spt_core.task import Task, all_tasks, find

NUM_ROWS = 2000
MODULES = (
    claims_fraud,
    credit_scoring,
    defect_prediction,
    heart_disease,
    policy_uptake,
    readmission,
    risk_assessment,
)


def numbers(table: pa.Table, name: str) -> Any:
    return np.array(table[name].to_pylist(), float)


def together(task: Task, table: pa.Table) -> Any:
    """What two fields add together, which is no single field's part."""
    if task.name == "claims_fraud":
        share = numbers(table, "claim_amount") / (0.25 * numbers(table, "vehicle_value"))
        return 1.4 * np.maximum(np.log(share), 0)
    if task.name == "risk_assessment":  # in the table rounded to hundreds
        income = numbers(table, "customer_profile.annual_income")
        return 0.5 * np.maximum(np.log(numbers(table, "loan_details.amount") / income) - 1, 0)
    return 0.0


def stated(module: ModuleType) -> float:
    """The constant, as the docstring names it."""
    said = re.search(r"log-odds of [^.]*? are\s+(-\d\.\d)", module.sample.__doc__ or "")
    assert said is not None
    return float(said[1])


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split(".")[-1])
def test_labels_are_drawn_from_the_sum_of_the_stated_parts(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task,) = (t for t in all_tasks().values() if t.sample is module.sample)
    assert task.causes is not None
    drawn: list[Any] = []
    generator = np.random.default_rng

    class Recorded:
        def __init__(self, seed: int) -> None:
            self.draw = generator(seed)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.draw, name)

        def random(self, size: int) -> Any:
            drawn.append(self.draw.random(size))
            return drawn[-1]

    monkeypatch.setattr(np.random, "default_rng", Recorded)
    table = task.sample(NUM_ROWS, 5)
    parts = task.causes(table)
    assert {len(part) for part in parts.values()} == {NUM_ROWS}
    assert parts.keys() <= {field.name for field in task.fields}
    log_odds = stated(module) + sum(parts.values()) + together(task, table)
    whole = ~np.isnan(log_odds)
    assert whole.sum() > NUM_ROWS / 2
    labels = numbers(table, task.label)[whole]
    agree = [np.mean((u < 1 / (1 + np.exp(-log_odds)))[whole] == labels) for u in drawn]
    assert max(agree) >= (0.998 if task.name == "risk_assessment" else 1.0)


def test_the_stated_parts_of_late_delivery_leave_what_acts_together() -> None:
    task = find("manufacturing/late_delivery")
    made = late_delivery.drawn(NUM_ROWS, np.random.default_rng(5))
    assert task.causes is not None
    parts = task.causes(task.sample(NUM_ROWS, 5))
    assert parts.keys() <= {field.name for field in task.fields}
    modes = list(late_delivery.MODES)
    mode = np.array([modes.index(name) for name in made.columns["shipment_mode"]])
    short = np.maximum(late_delivery.TRANSIT_DAYS[mode] - made.columns["lead_time_days"], 0.0)
    rest = late_delivery.MODE_EFFECTS[mode] + 0.08 * short + 0.8 * (made.day % 7 >= 5)
    assert -3.9 + sum(parts.values()) + rest == pytest.approx(made.log_odds)
