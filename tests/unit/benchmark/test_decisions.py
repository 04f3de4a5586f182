"""What a policy does with held-out rows, and when figures of them say nothing."""

from __future__ import annotations

import re

import numpy as np
import pytest

from spt_core.benchmark.decisions import decision_facts, too_few
from spt_core.heads.binary import decided
from spt_core.policy import Costs, DecisionPolicy

POLICY = DecisionPolicy(
    costs=Costs(missed_positive=100.0, false_alarm=10.0, review=1.0),
    review_threshold=0.3,
    decline_threshold=0.7,
)


def test_cases_are_counted_by_action_and_label_beside_the_policies_that_need_no_model():
    labels = np.array([0, 0, 1, 0, 1, 1, 0, 1])[:, None].astype(float)
    probabilities = np.array([0.1, 0.5, 0.2, 0.8, 0.6, 0.9, 0.1, 0.9])[:, None]
    facts = decision_facts({"own": decided(labels, probabilities, POLICY)}, POLICY)
    assert facts["own"]["actions"] == {
        "approve": {"negative": 2, "positive": 1},
        "review": {"negative": 1, "positive": 1},
        "decline": {"negative": 1, "positive": 2},
    }
    assert facts["own"]["cost_per_case"] == pytest.approx((100 + 10 + 2) / 8)
    assert facts["own"]["cost_per_case"] == pytest.approx(
        POLICY.expected_cost(labels[:, 0], probabilities[:, 0])
    )
    assert facts["approve all"]["cost_per_case"] == pytest.approx(400 / 8)
    assert facts["decline all"]["cost_per_case"] == pytest.approx(40 / 8)


@pytest.mark.parametrize(
    ("num_positives", "sentence"),
    [(2, "2 of 1,000 held-out rows are positive"), (995, "5 .* negative"), (10, "^$")],
)
def test_figures_of_a_handful_of_positives_are_none(num_positives, sentence):
    labels = (np.arange(1000) < num_positives).astype(float)[:, None]
    of = decided(labels, np.full((1000, 1), 0.5), POLICY)
    assert re.search(sentence, too_few(of))
