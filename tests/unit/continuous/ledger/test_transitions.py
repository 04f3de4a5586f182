import dataclasses

import pytest

from spt_core.continuous.ledger import DEPLOY, ROLL_BACK, TRANSITIONS
from spt_core.continuous.ledger.values import RETRAIN_STATES
from spt_core.errors import ConflictError, InputError, NotFoundError
from tests.chaos.ledger.world import MODEL
from tests.unit.continuous.ledger.steps import (
    all_of_them,
    answer,
    ask,
    begin,
    evaluate,
    item,
    train,
)


def approve(ledger, begun, reviewer):
    ledger.decide(
        begun.retrain_id, begun.candidate_sha, "approve", reviewer=reviewer, reason="good"
    )


def deploy(ledger, fence, clock, registry, reviewer):
    begun = ask(ledger, fence, clock)
    approve(ledger, begun, reviewer)
    registry.set_alias(MODEL, "champion", 2, expected=1, actor="watcher")
    ledger.deployed(fence, begun.retrain_id, "d2")
    return ledger.retrain(begun.retrain_id)


def test_every_state_has_its_transitions():
    assert set(TRANSITIONS) == set(RETRAIN_STATES)
    assert {end for ends in TRANSITIONS.values() for end in ends} <= set(RETRAIN_STATES)


def held(ledger, fence):
    def decide(pending):
        return dataclasses.replace(all_of_them(pending), hold="a flood")

    return ledger.ingest(fence, [answer(item("1"))], decide).retrains[0]


def failed(ledger, fence):
    begun = begin(ledger, fence)
    ledger.submitted(fence, begun.submission_id)
    ledger.failed(fence, begun.submission_id, "no memory")
    return begun


@pytest.mark.parametrize(
    "reach",
    [
        held,
        failed,
        lambda ledger, fence: train(ledger, fence, begin(ledger, fence)),
        lambda ledger, fence: evaluate(ledger, fence, train(ledger, fence, begin(ledger, fence))),
    ],
    ids=["DETECTED", "FAILED", "TRAINED", "EVALUATED"],
)
def test_a_run_that_is_discarded_frees_its_bucket_and_keeps_its_publications(
    ledger, fence, registry, reach
):
    begun = reach(ledger, fence)
    assert ledger.discard(begun.retrain_id, "it is noise", actor="otto")
    assert not ledger.discard(begun.retrain_id, "it is noise", actor="otto")

    assert ledger.retrain(begun.retrain_id).state == "REJECTED"
    entry = [one for one in ledger.audit() if one.event == "retrain.REJECTED"][0]
    assert (entry.actor, entry.body["body"]) == ("otto", {"reason": "it is noise"})
    assert ledger.obstacle("rules") == ""
    assert ledger.evaluate(fence, all_of_them) == []
    (second,) = ledger.ingest(fence, [answer(item("2"))], all_of_them).retrains
    assert [one.item_key for one in ledger.items(trigger_id=second.retrain_id)] == ["2"]


def test_only_what_is_held_has_failed_or_cannot_be_judged_is_discarded(
    ledger, fence, clock, registry, reviewer
):
    begun = begin(ledger, fence)
    with pytest.raises(ConflictError, match="to become REJECTED, however: 'rules-1' is QUEUED"):
        ledger.discard(begun.retrain_id, "impatience", actor="otto")
    begun = evaluate(ledger, fence, train(ledger, fence, begun))
    ledger.judge(fence, begun.retrain_id, "NEEDS_REVIEW", verdict={}, deadline=clock.deadline_s)
    with pytest.raises(ConflictError, match="is NEEDS_REVIEW"):
        ledger.discard(begun.retrain_id, "a reviewer would approve it", actor="otto")
    approve(ledger, begun, reviewer)
    with pytest.raises(ConflictError, match="is PROMOTED"):
        ledger.discard(begun.retrain_id, "too late", actor="otto")


@pytest.mark.parametrize("verb", ["discard", "try_again"])
def test_what_a_person_does_to_a_run_has_a_reason(ledger, fence, verb):
    begun = train(ledger, fence, begin(ledger, fence))
    with pytest.raises(InputError, match="must have a reason"):
        getattr(ledger, verb)(begun.retrain_id, " ", actor="otto")


def test_a_job_that_was_frozen_past_its_claim_cannot_move_a_run_that_was_discarded(
    ledger, fence, clock, sqlite_only
):
    begun = begin(ledger, fence)
    ledger.submitted(fence, begun.submission_id)
    claim = ledger.claim_run(begun.submission_id, host="frozen", ttl_s=60)
    clock.now_s += 61
    ledger.failed(fence, begun.submission_id, "it is silent")
    ledger.beat(claim)
    with pytest.raises(ConflictError, match="a run must be over to be given up, however: frozen"):
        ledger.discard(begun.retrain_id, "it is silent", actor="otto")
    clock.now_s += 61
    ledger.discard(begun.retrain_id, "it is silent", actor="otto")
    ledger.finish_run(claim, "file:///late", "s")
    with pytest.raises(ConflictError, match="'rules-1' is REJECTED"):
        ledger.trained(fence, begun.submission_id)
    with pytest.raises(ConflictError, match="must be waiting for its run, however: it is REJECTED"):
        ledger.claim_run(begun.submission_id, host="another")


def test_a_transition_that_is_repeated_changes_nothing(ledger, fence, registry):
    begun = begin(ledger, fence)
    submission = begun.submission_id
    assert ledger.submitted(fence, submission)
    assert not ledger.submitted(fence, submission)
    train(ledger, fence, begun)
    before = ledger.audit_head()
    assert not ledger.trained(fence, submission)
    assert not ledger.submitted(fence, submission)
    evaluate(ledger, fence, begun)
    after = ledger.audit_head()
    evaluate(ledger, fence, begun)

    assert after.seq == before.seq + 1
    assert ledger.audit_head() == after


def test_a_transition_out_of_turn_is_refused(ledger, fence, registry):
    begun = begin(ledger, fence)
    submission = begun.submission_id
    before = ledger.audit_head()
    for move, rule in [
        (lambda: ledger.failed(fence, submission, "x"), "must be SUBMITTED to become FAILED"),
        (lambda: ledger.trained(fence, submission), "must have stored its result"),
        (
            lambda: evaluate(ledger, fence, begun),
            "to become EVALUATED, however: 'rules-1' is QUEUED",
        ),
        (
            lambda: ledger.judge(fence, "rules-1", "REJECTED", verdict={}),
            "must be EVALUATED to become REJECTED",
        ),
        (lambda: ledger.deployed(fence, "rules-1", "d"), "must be PROMOTED to become DEPLOYED"),
        (lambda: ledger.rolled_back(fence, "rules-1", "d", ""), "to become ROLLED_BACK"),
    ]:
        with pytest.raises(ConflictError, match=rule):
            move()
    assert (ledger.audit_head(), ledger.retrain("rules-1")) == (before, begun)


def test_a_transition_is_an_audit_entry(ledger, fence):
    begun = train(ledger, fence, begin(ledger, fence))
    moves = ledger.transitions(begun.retrain_id)
    entries = {entry.seq: entry for entry in ledger.audit()}

    assert [move.to_state for move in moves] == ["QUEUED", "SUBMITTED", "TRAINED"]
    for move in moves:
        entry = entries[move.audit_seq]
        assert (entry.event, entry.body["key"]) == (f"retrain.{move.to_state}", move.key)


def test_of_two_that_make_a_transition_one_moves(ledger, fence, registry):
    evaluated = evaluate(ledger, fence, train(ledger, fence, begin(ledger, fence)))
    ledger.judge(fence, evaluated.retrain_id, "REJECTED", verdict={"a": 1})
    with pytest.raises(ConflictError, match="is REJECTED"):
        ledger.judge(fence, evaluated.retrain_id, "PROMOTED", verdict={"a": 2})


def test_the_gate_may_promote_without_a_review(ledger, fence, registry):
    begun = evaluate(ledger, fence, train(ledger, fence, begin(ledger, fence)))
    assert ledger.judge(fence, begun.retrain_id, "PROMOTED", verdict={"risk": "low"})

    (entry,) = (e for e in ledger.outbox() if e.kind == DEPLOY)
    assert entry.payload["candidate_version"] == f"{MODEL}@2"
    assert entry.payload["champion_before"] == f"{MODEL}@1"


def test_a_candidate_that_met_another_champion_is_not_promoted(ledger, fence, registry):
    begun = evaluate(ledger, fence, train(ledger, fence, begin(ledger, fence)))
    registry.set_alias(MODEL, "champion", 3, expected=1, actor="somebody")
    with pytest.raises(ConflictError, match=f"champion must be {MODEL}@1 .* it is {MODEL}@3"):
        ledger.judge(fence, begun.retrain_id, "PROMOTED", verdict={})
    evaluate(ledger, fence, begun, before=3)

    assert ledger.judge(fence, begun.retrain_id, "PROMOTED", verdict={})


def test_a_candidate_that_is_not_the_champion_is_not_deployed(ledger, fence, registry):
    begun = evaluate(ledger, fence, train(ledger, fence, begin(ledger, fence)))
    ledger.judge(fence, begun.retrain_id, "PROMOTED", verdict={})
    with pytest.raises(ConflictError, match=f"champion must be {MODEL}@2 .* it is {MODEL}@1"):
        ledger.deployed(fence, begun.retrain_id, "d2")


def test_the_first_champion_needs_no_predecessor(ledger, fence):
    begun = train(ledger, fence, begin(ledger, fence))
    ledger.evaluated(
        fence,
        begun.retrain_id,
        candidate_version="finance/rules/new@1",
        champion_before="",
        evaluation_set_sha="e",
        evaluation={},
    )
    assert ledger.judge(fence, begun.retrain_id, "PROMOTED", verdict={})


def test_a_rollback_asks_for_the_champion_before_and_leaves_the_bucket_frozen(
    ledger, fence, clock, registry, reviewer
):
    begun = deploy(ledger, fence, clock, registry, reviewer)
    assert ledger.rolled_back(fence, begun.retrain_id, "d2", "the golden probe failed")
    assert not ledger.rolled_back(fence, begun.retrain_id, "d2", "the golden probe failed")

    (entry,) = ledger.outbox()
    assert (entry.kind, entry.payload["champion_before"]) == (ROLL_BACK, f"{MODEL}@1")
    assert ledger.frozen() == {"rules": "rules-1 was rolled back: the golden probe failed"}


def test_nothing_begins_in_a_frozen_bucket_and_nothing_is_lost(
    ledger, fence, clock, registry, reviewer
):
    begun = deploy(ledger, fence, clock, registry, reviewer)
    ledger.rolled_back(fence, begun.retrain_id, "d2", "slow")
    assert ledger.ingest(fence, [answer(item("2"))], all_of_them).retrains == ()
    with pytest.raises(ConflictError, match="is frozen"):
        ledger.trigger(all_of_them(ledger.pending("rules")), actor="olga")
    with pytest.raises(InputError, match="role 'admin', however: 'rita' has reviewer"):
        ledger.thaw("rules", "fixed", admin=reviewer)
    key = ledger.add_principal("ada", ["admin"], actor="olga")
    assert ledger.thaw("rules", "fixed", admin=ledger.authenticate("ada", key))

    (second,) = ledger.evaluate(fence, all_of_them)
    assert [i.item_key for i in ledger.items(trigger_id=second.retrain_id)] == ["2"]


def test_a_promotion_is_refused_in_a_bucket_that_was_frozen_meanwhile(
    ledger, fence, clock, registry, reviewer
):
    first = deploy(ledger, fence, clock, registry, reviewer)
    second = train(ledger, fence, begin(ledger, fence, "2"))
    second = evaluate(ledger, fence, second, version=3, before=2)
    ledger.rolled_back(fence, first.retrain_id, "d2", "slow")
    with pytest.raises(ConflictError, match="must not be frozen"):
        ledger.judge(fence, second.retrain_id, "PROMOTED", verdict={})


def test_a_rollback_overtakes_a_deployment_that_is_still_waiting(ledger, fence, registry):
    begun = evaluate(ledger, fence, train(ledger, fence, begin(ledger, fence)))
    ledger.judge(fence, begun.retrain_id, "PROMOTED", verdict={})
    ledger.rolled_back(fence, begun.retrain_id, "none", "it did not load")

    assert [entry.kind for entry in ledger.outbox()] == [ROLL_BACK]


def test_a_retraining_that_does_not_exist_is_named_with_its_nearest(ledger, fence):
    begin(ledger, fence)
    with pytest.raises(NotFoundError, match="the nearest is 'rules-1'"):
        ledger.retrain("rule-1")


def test_what_is_no_version_is_refused(ledger, fence):
    begun = train(ledger, fence, begin(ledger, fence))
    with pytest.raises(InputError, match="a version is named industry/task/model_name@N"):
        ledger.evaluated(
            fence,
            begun.retrain_id,
            candidate_version="7",
            champion_before="",
            evaluation_set_sha="e",
            evaluation={},
        )
