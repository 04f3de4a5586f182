import pytest

from spt_core.continuous.ledger import DEPLOY, Ledger, Principal
from spt_core.errors import ConflictError, InputError
from tests.chaos.ledger.world import MODEL
from tests.unit.continuous.ledger.steps import (
    all_of_them,
    answer,
    ask,
    evaluate,
    item,
    never,
    source,
    train,
)

pytestmark = pytest.mark.slow  # a ledger with a finished retraining for each


@pytest.fixture
def approve(ledger, reviewer):
    def approve(begun, sha=None, **more):
        return ledger.decide(
            begun.retrain_id,
            begun.candidate_sha if sha is None else sha,
            "approve",
            reviewer=more.pop("by", reviewer),
            reason="good",
            **more,
        )

    return approve


def finish(ledger, fence, clock, begun, **versions):
    """The retraining once it NEEDS_REVIEW."""
    begun = evaluate(ledger, fence, train(ledger, fence, begun), **versions)
    ledger.judge(fence, begun.retrain_id, "NEEDS_REVIEW", verdict={}, deadline=clock.deadline_s)
    return ledger.retrain(begun.retrain_id)


def test_an_approval_promotes_once(ledger, fence, clock, registry, approve):
    begun = ask(ledger, fence, clock)
    assert approve(begun)
    assert not approve(begun)

    (review,) = ledger.reviews(begun.retrain_id)
    assert (review.reviewer, review.decision) == ("rita", "approve")
    assert ledger.retrain(begun.retrain_id).state == "PROMOTED"


def test_an_approval_can_hold_the_roll_out(ledger, fence, clock, registry, approve):
    approve(ask(ledger, fence, clock), not_before=9e9)
    assert ledger.claim_effects(fence, [DEPLOY]) == []
    assert [e.not_before for e in ledger.outbox()] == [9e9]


def test_an_approval_of_a_candidate_that_was_replaced_is_refused(
    ledger, fence, clock, registry, approve
):
    begun = ask(ledger, fence, clock)
    ledger.try_again(begun.retrain_id, "labels were corrected", actor="leo", manifest_sha="f" * 64)
    with pytest.raises(
        ConflictError, match="on the present candidate of 'rules-1', however: that "
    ):
        approve(begun)
    again = evaluate(ledger, fence, train(ledger, fence, ledger.retrain(begun.retrain_id)))
    ledger.judge(
        fence, begun.retrain_id, "NEEDS_REVIEW", verdict={"risk": 1}, deadline=clock.deadline_s
    )

    assert again.attempt == 2
    assert again.submission_id == "retrain-rules-1-a2-ffffffffffff"
    with pytest.raises(ConflictError, match="look at it and decide again"):
        approve(begun)
    assert approve(again)


def test_an_approval_without_a_candidate_is_refused(ledger, fence, clock, registry, approve):
    with pytest.raises(ConflictError, match="present candidate"):
        approve(ask(ledger, fence, clock), sha="")


def test_a_reviewer_without_the_role_cannot_approve(ledger, fence, clock, registry, approve):
    begun = ask(ledger, fence, clock)
    for name in ("otto", "nobody"):
        if name == "otto":
            ledger.add_principal(name, ["operator"], actor="olga")
        with pytest.raises(InputError, match="this needs a principal with the role 'reviewer'"):
            approve(begun, by=Principal(name=name, roles=("reviewer",)))  # a forged role
    assert ledger.retrain(begun.retrain_id).state == "NEEDS_REVIEW"


def test_who_triggered_the_run_cannot_approve_it(ledger, fence, clock, registry, approve):
    ledger.ingest(fence, [answer(item("1"))], never)
    begun = ledger.trigger(all_of_them(ledger.pending("rules")), actor="rita")
    begun = evaluate(ledger, fence, train(ledger, fence, begun))
    ledger.judge(fence, begun.retrain_id, "NEEDS_REVIEW", verdict={}, deadline=clock.deadline_s)
    with pytest.raises(InputError, match="'rita' triggered it"):
        approve(begun)


def test_who_edited_a_label_cannot_approve(ledger, fence, clock, registry, approve):
    begun = ask(ledger, fence, clock)
    (one,) = ledger.items(trigger_id=begun.retrain_id)
    ledger.label(one.ref, "capital", actor="rita")

    assert ledger.items(trigger_id=begun.retrain_id)[0].label_source == "human"
    with pytest.raises(InputError, match="'rita' edited its labels"):
        approve(begun)


def test_who_edited_the_configuration_cannot_approve(ledger, fence, clock, registry, approve):
    ledger.upsert_sources([source("sec", threshold=0.1)], actor="rita")
    begun = ask(ledger, fence, clock)
    ledger.configured("rules", {"threshold": 3}, actor="rita")
    assert ledger.involved(begun.retrain_id, "rita") == ["edited its configuration"]
    with pytest.raises(InputError, match="'rita' edited its configuration"):
        approve(begun)
    assert ledger.involved(begun.retrain_id, "ann") == []


def test_a_label_counts_for_the_run_that_takes_its_item_whenever_it_was_given(
    ledger, fence, clock, registry, approve, reviewer
):
    ledger.ingest(fence, [answer(item("1"), item("2"))], never)
    one, two = ledger.pending("rules")
    ledger.label(two.ref, "capital", actor="rita")
    first = finish(ledger, fence, clock, ledger.trigger(all_of_them([one]), actor="olga"))
    assert ledger.involved(first.retrain_id, "rita") == []
    assert approve(first)
    registry.set_alias(MODEL, "champion", 2, expected=1, actor="watcher")
    ledger.deployed(fence, first.retrain_id, "d2")

    second = finish(
        ledger, fence, clock, ledger.trigger(all_of_them([two]), actor="olga"), version=3, before=2
    )
    assert ledger.involved(second.retrain_id, "rita") == ["edited its labels"]
    with pytest.raises(InputError, match="'rita' edited its labels"):
        approve(second)


@pytest.mark.parametrize(
    "edit",
    [
        lambda ledger, by, value: ledger.configured("rules", {"threshold": value}, actor=by),
        lambda ledger, by, value: ledger.upsert_sources([source("sec", threshold=value)], actor=by),
    ],
    ids=["of the bucket", "of a source"],
)
def test_an_edit_counts_while_it_is_in_force_and_until_another_s_replaces_it(
    ledger, fence, clock, registry, approve, reviewer, edit
):
    edit(ledger, "rita", 0.1)
    for key in ("1", "2"):
        begun = ask(ledger, fence, clock, key)
        assert ledger.involved(begun.retrain_id, "rita") == ["edited its configuration"]
        with pytest.raises(InputError, match="'rita' edited its configuration"):
            approve(begun)
        ledger.decide(
            begun.retrain_id, begun.candidate_sha, "reject", reviewer=reviewer, reason="bad"
        )
    edit(ledger, "carl", 0.2)
    begun = ask(ledger, fence, clock, "3")
    assert ledger.involved(begun.retrain_id, "carl") == ["edited its configuration"]
    assert approve(begun)


def test_an_edit_of_one_part_leaves_another_s_edit_of_another_part_in_force(
    ledger, fence, clock, registry, approve
):
    ledger.configured("rules", {"gate": {"max_churn": 1.0}}, actor="rita")
    body = {**ledger.configuration("rules"), "retraining": {"mlm_steps": 0}}
    ledger.configured("rules", body, actor="carl")
    with pytest.raises(InputError, match="'rita' edited its configuration"):
        approve(ask(ledger, fence, clock))


def test_an_edit_after_the_decision_is_no_part_of_the_run(ledger, fence, clock, registry, approve):
    begun = ask(ledger, fence, clock)
    approve(begun)
    ledger.configured("rules", {"threshold": 3}, actor="rita")
    (one,) = ledger.items(trigger_id=begun.retrain_id)
    ledger.label(one.ref, "capital", actor="rita")
    assert ledger.involved(begun.retrain_id, "rita") == []


def test_who_asked_for_another_try_cannot_approve_it(ledger, fence, clock, registry, approve):
    begun = ask(ledger, fence, clock)
    ledger.try_again(begun.retrain_id, "once more", actor="rita")
    again = evaluate(ledger, fence, train(ledger, fence, ledger.retrain(begun.retrain_id)))
    ledger.judge(
        fence, begun.retrain_id, "NEEDS_REVIEW", verdict={"risk": 1}, deadline=clock.deadline_s
    )
    with pytest.raises(InputError, match="triggered it"):
        approve(again)


def test_anybody_with_the_role_may_reject(ledger, fence, clock, registry, reviewer):
    begun = ask(ledger, fence, clock)
    ledger.configured("rules", {"threshold": 3}, actor="rita")
    assert ledger.decide(
        begun.retrain_id, begun.candidate_sha, "reject", reviewer=reviewer, reason="wrong dates"
    )
    assert ledger.retrain(begun.retrain_id).state == "REJECTED"


def test_what_nobody_decides_in_time_is_rejected_and_never_promoted(
    ledger, fence, clock, registry, approve
):
    clock.deadline_s = 1.6e9  # gone by
    begun = ask(ledger, fence, clock)
    with pytest.raises(ConflictError, match="an approval must come in time"):
        approve(begun)
    assert ledger.expire_reviews(fence) == [begun.retrain_id]
    assert ledger.expire_reviews(fence) == []
    assert ledger.retrain(begun.retrain_id).state == "REJECTED"
    assert [r.reviewer for r in ledger.reviews(begun.retrain_id)] == ["deadline"]
    with pytest.raises(ConflictError, match="is REJECTED"):
        approve(begun)


def test_a_decision_has_a_reason(ledger, fence, clock, registry, reviewer):
    begun = ask(ledger, fence, clock)
    with pytest.raises(InputError, match="must have a reason"):
        ledger.decide(
            begun.retrain_id, begun.candidate_sha, "reject", reviewer=reviewer, reason=" "
        )


def test_a_principal_is_known_by_his_key_alone(ledger):
    key = ledger.add_principal("ann", ["reviewer", "admin"], actor="olga")
    assert ledger.authenticate("ann", key).roles == ("admin", "reviewer")
    for name, wrong in [("ann", key + "x"), ("ann", ""), ("bob", key), ("", "")]:
        with pytest.raises(InputError, match="name and key must be those of a principal"):
            ledger.authenticate(name, wrong)


def test_a_principal_who_was_removed_decides_nothing(ledger, fence, clock, registry, approve):
    begun = ask(ledger, fence, clock)
    assert ledger.remove_principal("rita", actor="olga")
    assert not ledger.remove_principal("rita", actor="olga")
    with pytest.raises(InputError, match="'rita' is nobody"):
        approve(begun)


def test_there_are_no_default_principals_and_keys_are_not_stored(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path}/new.db")
    assert ledger.principals() == []
    key = ledger.add_principal("ann", ["reviewer"], actor="olga")
    with pytest.raises(InputError, match="must have different names"):
        ledger.add_principal("ann", ["admin"], actor="olga")
    with pytest.raises(InputError, match="a principal needs"):
        ledger.add_principal("bob", [], actor="olga")
    assert key.encode() not in (tmp_path / "new.db").read_bytes()
