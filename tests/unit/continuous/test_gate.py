"""The gate's rules on hand-made evaluations."""

from __future__ import annotations

from typing import Any

import pytest

from spt_core.continuous.gate import GateConfig, gate_config, judge, regression
from spt_core.errors import InputError


def figures(champion: float = 0.8, candidate: float = 0.8, **more: Any) -> dict[str, Any]:
    return {
        "name": "held-out rows",
        "champion": {"value": champion},
        "candidate": {"value": candidate},
        "slices": [],
        "churn": 0.02,
        **more,
    }


def evaluation(*sets: dict[str, Any], **more: Any) -> dict[str, Any]:
    golden = [{"record": {}, "labels": ["a"], "candidate_right": True}]
    found = {"metric": "macro_f1", "lower_is_better": False, "sets": list(sets or [figures()])}
    return {**found, "compliance": {}, "golden": golden, **more}


def test_an_equal_candidate_is_promoted() -> None:
    assert judge(evaluation()).state == "PROMOTED"


@pytest.mark.parametrize(("candidate", "state"), [(0.761, "PROMOTED"), (0.759, "REJECTED")])
def test_a_loss_above_five_percent_rejects(candidate: float, state: str) -> None:
    verdict = judge(evaluation(figures(0.8, candidate)))
    assert verdict.state == state
    assert (state == "PROMOTED") == ("worse" not in verdict.reasons[0])


def test_a_loss_on_one_protected_slice_rejects_whatever_the_whole_gains() -> None:
    part = {"slice": "region=north", "num_rows": 80, "champion": 0.8, "candidate": 0.7}
    verdict = judge(evaluation(figures(0.8, 0.9, slices=[part])))
    assert verdict.state == "REJECTED"
    assert "region=north" in verdict.reasons[0]


def test_every_set_counts() -> None:
    verdict = judge(evaluation(figures(), figures(0.6, 0.5, name="publications")))
    assert (verdict.state, "publications" in verdict.reasons[0]) == ("REJECTED", True)


def test_where_lower_is_better_more_is_worse() -> None:
    worse = judge(evaluation(figures(0.5, 0.6), lower_is_better=True))
    better = judge(evaluation(figures(0.5, 0.4), lower_is_better=True))
    assert (worse.state, better.state) == ("REJECTED", "PROMOTED")


def test_a_failed_required_check_rejects_and_another_one_asks_a_person() -> None:
    def check(required: bool) -> dict[str, Any]:
        return {"data_licence_known": {"passed": False, "required": required, "fact": "none"}}

    assert judge(evaluation(compliance=check(True))).state == "REJECTED"
    assert judge(evaluation(compliance=check(False))).state == "NEEDS_REVIEW"


@pytest.mark.parametrize(
    "risk",
    [
        {"sets": [figures(churn=0.3)]},
        {"vocabulary": {"added": ["stablecoin"]}},
        {"new_classes": ["T9999"]},
        {"golden": []},
        {"golden": [{"record": {}, "labels": [], "candidate_right": False}]},
    ],
)
def test_what_is_risky_needs_a_person(risk: dict[str, Any]) -> None:
    assert judge({**evaluation(), **risk}).state == "NEEDS_REVIEW"


def test_who_asks_for_a_person_gets_one() -> None:
    required = GateConfig(validation_required=True)
    assert judge(evaluation(), required).state == "NEEDS_REVIEW"
    assert judge(evaluation(), risk_tier="high").state == "NEEDS_REVIEW"
    assert judge(evaluation(), high_risk_task=True).state == "NEEDS_REVIEW"
    assert judge(evaluation(), effective=["2027-01-01"]).state == "NEEDS_REVIEW"


def test_a_fault_outweighs_every_risk() -> None:
    bad = evaluation(figures(0.8, 0.1, churn=0.9), golden=[])
    assert judge(bad, GateConfig(validation_required=True)).state == "REJECTED"


def test_nothing_compared_or_no_number_is_rejected() -> None:
    assert judge({**evaluation(), "sets": []}).state == "REJECTED"
    assert judge(evaluation(figures(0.8, float("nan")))).state == "REJECTED"


def test_the_same_facts_give_the_same_verdict_and_other_rules_another() -> None:
    assert judge(evaluation()).sha == judge(evaluation()).sha
    assert judge(evaluation()).sha != judge(evaluation(), GateConfig(max_churn=0.2)).sha


def test_regression_is_relative_and_has_no_zero_to_divide_by() -> None:
    assert regression(0.8, 0.76, lower_is_better=False) == pytest.approx(0.05)
    assert regression(0.0, 0.0, lower_is_better=False) == 0.0
    assert regression(0.0, 0.2, lower_is_better=True) == 1.0


@pytest.mark.parametrize("content", [{"max_loss": 0.1}, {"max_churn": 2}, {"max_churn": "x"}])
def test_a_configuration_that_makes_no_sense_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="however"):
        gate_config(content)
