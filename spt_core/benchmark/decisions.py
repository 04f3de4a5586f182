"""What a policy does with the held-out rows: how many cases go where, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spt_core.heads.binary import ACTIONS
from spt_core.heads.outcomes import Outcomes
from spt_core.policy import DecisionPolicy

MIN_OF_CLASS = 10  # held-out rows of a class, below which a figure is one of chance


def decision_facts(
    outcomes: Mapping[str, Outcomes], policy: DecisionPolicy
) -> dict[str, dict[str, Any]]:
    """For each model the cases of each action by true label, and the mean cost of a case.

    Beside the models stand the two policies that need none: to approve everything, and to decline
    everything. `given` of the outcomes is 0, 0.5 or 1 for approve, review and decline.
    """
    facts: dict[str, dict[str, Any]] = {}
    for name, of in outcomes.items():
        facts[name] = _facts(of, of.given[:, 0], policy)
    (of, *_) = outcomes.values()
    for name, level in (("approve all", 0.0), ("decline all", 1.0)):
        facts[name] = _facts(of, np.full(len(of.labels), level), policy)
    return facts


def too_few(of: Outcomes) -> str:
    """Why figures of these decisions say nothing, "" if they do say something."""
    positives = int(of.labels[:, 0].sum())
    count, what = min((positives, "positive"), (len(of.labels) - positives, "negative"))
    if count >= MIN_OF_CLASS:
        return ""
    return (
        f"{count} of {len(of.labels):,} held-out rows are {what}: with fewer than {MIN_OF_CLASS} "
        "every figure is mostly chance"
    )


def _facts(of: Outcomes, given: np.ndarray, policy: DecisionPolicy) -> dict[str, Any]:
    labels, costs = of.labels[:, 0], policy.costs
    mass = np.ones(len(labels)) if of.weights is None else of.weights
    missed = (given == 0.0) & (labels == 1)
    false_alarms = (given == 1.0) & (labels == 0)
    cost = costs.review * (given == 0.5)
    cost = cost + costs.missed_positive * missed + costs.false_alarm * false_alarms
    return {
        "actions": {
            action: {
                "negative": round(float(mass[(given == level) & (labels == 0)].sum())),
                "positive": round(float(mass[(given == level) & (labels == 1)].sum())),
            }
            for level, action in ACTIONS.items()
        },
        "cost_per_case": float(np.average(cost, weights=mass)),
    }
