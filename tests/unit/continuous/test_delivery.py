"""The specification's cicd_config: what it makes of a bucket, and what follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spt_core.continuous.delivery import Delivery, from_cicd_config
from spt_core.continuous.gate import gate_config, judge
from spt_core.continuous.live_rules import LiveRules, ProbeAnswer, decide, live_rules
from spt_core.continuous.retraining import retrain_config
from spt_core.continuous.sources import sources_from
from spt_core.errors import InputError
from tests.unit.continuous.test_gate import evaluation, figures

CICD: dict[str, Any] = {
    "automated_testing": True,
    "performance_regression_threshold": 0.05,
    "compliance_validation_required": True,
    "human_review_threshold": "high_risk_changes",
    "rollback_strategy": "automatic_on_failure",
    "monitoring_integration": ["prometheus", "grafana", "wandb"],
}
FAILED = {"data_licence_known": {"passed": False, "required": False, "fact": "none is recorded"}}
ROOT = Path(__file__).parents[3]


def bucket(**changes: Any) -> dict[str, Any]:
    return from_cicd_config({**CICD, **changes}).configured({})


def verdict(found: dict[str, Any], **changes: Any) -> str:
    return judge(found, gate_config(bucket(**changes)["gate"])).state


@pytest.mark.parametrize(("candidate", "state"), [(0.761, "PROMOTED"), (0.759, "REJECTED")])
def test_the_threshold_is_the_gate_s(candidate: float, state: str) -> None:
    assert verdict(evaluation(figures(0.8, candidate))) == state


def test_another_threshold_is_obeyed() -> None:
    found = evaluation(figures(0.8, 0.759))
    assert verdict(found, performance_regression_threshold=0.1) == "PROMOTED"


def test_compliance_that_must_be_validated_rejects_for_any_check() -> None:
    assert verdict(evaluation(compliance=FAILED)) == "REJECTED"
    assert verdict(evaluation(compliance=FAILED), compliance_validation_required=False) == (
        "NEEDS_REVIEW"
    )
    unchecked = evaluation()
    del unchecked["compliance"]
    assert verdict(unchecked) == "REJECTED"


@pytest.mark.parametrize(
    "change", [{"automated_testing": False}, {"human_review_threshold": "all_changes"}]
)
def test_a_person_decides_on_every_candidate_where_that_is_said(change: dict[str, Any]) -> None:
    assert verdict(evaluation()) == "PROMOTED"
    assert verdict(evaluation(), **change) == "NEEDS_REVIEW"


def test_a_high_risk_change_is_for_a_person() -> None:
    gate = gate_config(bucket()["gate"])
    assert judge(evaluation(), gate, risk_tier="high").state == "NEEDS_REVIEW"


@pytest.mark.parametrize(
    ("strategy", "is_bad"), [("automatic_on_failure", True), ("manual", False)]
)
def test_a_bad_version_is_taken_back_or_told(strategy: str, is_bad: bool) -> None:
    rules = live_rules(bucket(rollback_strategy=strategy)["live_rules"], LiveRules())
    (finding,) = decide([], [], [ProbeAnswer(("a",), ("b",), 0.99)], rules)
    assert finding.is_bad is is_bad
    assert "surely and wrongly" in finding.reason


def test_trackers_follow_retrainings() -> None:
    assert retrain_config(bucket()["retraining"]).trackers == ("wandb",)


def test_what_a_bucket_has_beside_it_stays() -> None:
    before = {"gate": {"review_days": 3, "max_regression": 0.2}, "retraining": {"mlm_steps": 7}}
    after = Delivery().configured(before)
    assert after["gate"]["review_days"] == 3
    assert after["gate"]["max_regression"] == 0.05
    assert after["retraining"] == {"mlm_steps": 7, "trackers": []}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rollback_stategy": "manual"}, "there is no key 'rollback_stategy'"),
        ({"rollback_strategy": "never"}, "must be one of 'automatic_on_failure' or 'manual'"),
        ({"performance_regression_threshold": 5}, r"must be in \[0, 1\], however: 5"),
        ({"monitoring_integration": ["wandb", "wandb"]}, "each integration once"),
    ],
)
def test_what_is_odd_is_named(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        from_cicd_config({**CICD, **change})


def test_a_sources_file_says_the_same() -> None:
    content = {"sources": {"defaults": True}, "cicd": CICD}
    assert sources_from(content, "my.toml").delivery == from_cicd_config(CICD)
    with pytest.raises(InputError, match="my.toml: cicd"):
        sources_from({**content, "cicd": {"x": 1}}, "my.toml")
