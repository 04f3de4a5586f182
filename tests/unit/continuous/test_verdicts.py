"""From a run's result to the gate's verdict: passes of the leader over the ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spt_core.continuous.ledger import Fence, Ledger, Retrain
from spt_core.continuous.verdicts import DAY_S, drive_verdicts
from spt_core.errors import ConflictError
from spt_core.registry import Registry
from tests.publications import BUCKET, MODEL, begun, item, trained

pytestmark = pytest.mark.slow  # a ledger with a finished retraining for each


@pytest.fixture
def ended(ledger: Ledger, fence: Fence, registry: Registry, tmp_path: Path) -> Any:
    def make(**found: Any) -> Retrain:
        made = begun(ledger, fence, item("1", found.pop("text", "a")), **found.pop("trigger", {}))
        return trained(ledger, fence, made, tmp_path, registry.get(f"{MODEL}@2"), **found)

    return make


def test_a_good_candidate_is_promoted_without_a_person(
    ended: Any, ledger: Ledger, fence: Fence, registry: Registry
) -> None:
    made = ended()
    judged = drive_verdicts(ledger, fence, registry, now_s=1.8e9)
    assert judged.verdicts[made.retrain_id].state == "PROMOTED"
    assert ledger.retrain(made.retrain_id).state == "PROMOTED"
    assert [entry.kind for entry in ledger.outbox()] == ["deploy"]
    assert drive_verdicts(ledger, fence, registry, now_s=1.8e9).verdicts == {}


def test_a_bad_candidate_is_rejected_and_the_log_says_why(
    ended: Any, ledger: Ledger, fence: Fence, registry: Registry
) -> None:
    made = ended(value=0.5)
    drive_verdicts(ledger, fence, registry, now_s=1.8e9)
    assert ledger.retrain(made.retrain_id).state == "REJECTED"
    entry = [one for one in ledger.audit() if one.event == "retrain.REJECTED"][-1]
    assert "is worse by" in entry.body["body"]["reasons"][0]


@pytest.mark.parametrize(
    "risk",
    [
        {"vocabulary": {"added": ["x"]}},
        {"trigger": {"risk_tier": "high"}},
        {"text": "The rule is effective January 1, 2099."},
    ],
)
def test_a_risky_candidate_waits_for_a_person_and_then_is_rejected(
    ended: Any, ledger: Ledger, fence: Fence, registry: Registry, clock: Any, risk: dict[str, Any]
) -> None:
    made = ended(**risk)
    drive_verdicts(ledger, fence, registry, now_s=clock.now_s)
    after = ledger.retrain(made.retrain_id)
    assert (after.state, after.deadline) == ("NEEDS_REVIEW", clock.now_s + 14 * DAY_S)
    clock.now_s += 15 * DAY_S
    judged = drive_verdicts(ledger, fence, registry, now_s=clock.now_s)
    assert judged.expired == (made.retrain_id,)
    assert ledger.retrain(made.retrain_id).state == "REJECTED"


def test_a_bucket_may_ask_for_a_person_always(
    ended: Any, ledger: Ledger, fence: Fence, registry: Registry
) -> None:
    body = {"gate": {"validation_required": True, "review_days": 1}}
    ledger.configured(BUCKET, body, actor="carl")
    made = ended()
    drive_verdicts(ledger, fence, registry, now_s=1.8e9)
    assert ledger.retrain(made.retrain_id).deadline == 1.8e9 + DAY_S


def test_a_champion_that_changed_meanwhile_means_another_training(
    ended: Any, ledger: Ledger, fence: Fence, registry: Registry
) -> None:
    made = ended()
    registry.set_alias(MODEL, "champion", 3, expected=1, actor="olga")
    judged = drive_verdicts(ledger, fence, registry, now_s=1.8e9)
    after = ledger.retrain(made.retrain_id)
    assert judged.again == (made.retrain_id,)
    assert (after.state, after.attempt, after.candidate_sha) == ("QUEUED", 2, "")


def test_a_review_of_a_candidate_against_a_former_champion_is_void(
    ended: Any, ledger: Ledger, fence: Fence, registry: Registry
) -> None:
    made = ended(vocabulary={"added": ["x"]})
    drive_verdicts(ledger, fence, registry, now_s=1.8e9)
    registry.set_alias(MODEL, "champion", 3, expected=1, actor="olga")
    ledger.add_principal("rita", ["reviewer"], actor="olga")
    (rita,) = ledger.principals()
    with pytest.raises(ConflictError, match="the champion must be"):
        ledger.decide(made.retrain_id, made.candidate_sha, "approve", reviewer=rita, reason="ok")
    drive_verdicts(ledger, fence, registry, now_s=1.8e9)
    with pytest.raises(ConflictError, match="the present candidate"):
        ledger.decide(made.retrain_id, made.candidate_sha, "approve", reviewer=rita, reason="ok")


@pytest.mark.parametrize("damage", ["gone", "no JSON", "{}", "another"])
def test_a_result_that_is_not_what_was_claimed_is_trained_again(
    ended: Any, ledger: Ledger, fence: Fence, registry: Registry, tmp_path: Path, damage: str
) -> None:
    made = ended()
    path = Path(made.result_uri.removeprefix("file://"))
    content = json.loads(path.read_text()) | {"candidate_sha": "0"}
    path.unlink() if damage == "gone" else path.write_text(
        json.dumps(content) if damage == "another" else damage
    )
    judged = drive_verdicts(ledger, fence, registry, now_s=1.8e9)
    assert judged.again == (made.retrain_id,)


def test_one_that_has_used_its_attempts_says_which_command_helps(
    ended: Any, ledger: Ledger, fence: Fence, registry: Registry
) -> None:
    made = ended()
    with ledger._database.write() as connection:
        connection.exec_driver_sql("UPDATE spt_retrain SET attempt = 3")
    Path(made.result_uri.removeprefix("file://")).unlink()
    (told,) = drive_verdicts(ledger, fence, registry, now_s=1.8e9).errors
    assert f"`python -m jobs.review retry {made.retrain_id} --reason ...`" in told
    assert "`discard` ends it" in told
    assert ledger.discard(made.retrain_id, "its file is lost", actor="otto")
    assert ledger.obstacle(BUCKET) == ""
    assert drive_verdicts(ledger, fence, registry, now_s=1.8e9).errors == ()


def test_one_retraining_in_trouble_does_not_stop_the_others(
    ended: Any, ledger: Ledger, fence: Fence, registry: Registry
) -> None:
    ledger.configured(BUCKET, {"gate": {"max_loss": 1}}, actor="carl")
    made = ended()
    judged = drive_verdicts(ledger, fence, registry, now_s=1.8e9)
    assert "max_loss" in judged.errors[0]
    assert ledger.retrain(made.retrain_id).state == "EVALUATED"
    ledger.configured(BUCKET, {"gate": {}}, actor="carl")
    assert drive_verdicts(ledger, fence, registry, now_s=1.8e9).verdicts
