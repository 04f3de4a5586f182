import time

import pytest

from spt_core.continuous.ledger import SUBMIT, Fence, fence_of
from spt_core.errors import ConflictError, FencedError
from tests.unit.continuous.ledger.steps import all_of_them, answer, ask, begin, item, never, train


def writes(ledger, fence):
    """Every method that a leader writes with, by name."""
    (entry,) = ledger.claim_effects(ledger_fence(ledger), [SUBMIT]) or [None]
    return {
        "ingest": lambda: ledger.ingest(fence, [answer(item("9"))], never),
        "evaluate": lambda: ledger.evaluate(fence, never),
        "claim_effects": lambda: ledger.claim_effects(fence, [SUBMIT]),
        "effect_done": lambda: ledger.effect_done(fence, entry),
        "effect_failed": lambda: ledger.effect_failed(fence, entry, "no"),
        "check": lambda: ledger.check(fence),
        "queue": lambda: ledger.queue(fence, "rules-1"),
        "submitted": lambda: ledger.submitted(fence, "x"),
        "trained": lambda: ledger.trained(fence, "x"),
        "failed": lambda: ledger.failed(fence, "x", ""),
        "queue_again": lambda: ledger.queue_again(fence, "rules-1", ""),
        "resubmit": lambda: ledger.resubmit(fence, "x"),
        "evaluated": lambda: ledger.evaluated(
            fence,
            "rules-1",
            candidate_version="a/b/c@1",
            champion_before="",
            evaluation_set_sha="",
            evaluation={},
        ),
        "judge": lambda: ledger.judge(fence, "rules-1", "REJECTED", verdict={}),
        "expire_reviews": lambda: ledger.expire_reviews(fence),
        "deployed": lambda: ledger.deployed(fence, "rules-1", "d"),
        "rolled_back": lambda: ledger.rolled_back(fence, "rules-1", "d", ""),
    }


def ledger_fence(ledger):
    return Fence(name="watcher", owner="leader:1:1", epoch=1)


def test_a_leader_that_was_replaced_writes_nothing_at_all(ledger, fence):
    begin(ledger, fence)
    stale = Fence(name="watcher", owner="leader:1:1", epoch=0)
    every = writes(ledger, stale)
    before = ledger.audit_head(), ledger.items(), ledger.outbox()
    for write in every.values():
        with pytest.raises(FencedError, match=r"leader:1:1 took it with epoch 1"):
            write()
    assert (ledger.audit_head(), ledger.items(), ledger.outbox()) == before


def test_the_list_of_a_leaders_writes_is_whole(ledger, fence):
    begin(ledger, fence)
    takes_a_fence = {
        name
        for name in dir(ledger)
        if not name.startswith("_")
        and "fence" in getattr(getattr(ledger, name), "__annotations__", {})
    }
    assert takes_a_fence == set(writes(ledger, fence))


def test_a_leader_whose_lease_ran_out_writes_nothing_even_if_nobody_took_it(ledger):
    with ledger.lead("elsewhere:1:1", ttl_s=0.4) as lease:
        lease._stop.set()  # frozen: nobody renews
        lease._thread.join()
        ledger.check(fence_of(lease))
        fence = fence_of(lease)
        _let_pass(ledger, 0.5)
        with pytest.raises(FencedError, match="it ran out"):
            ledger.ingest(fence, [answer(item("1"))], never)


def _let_pass(ledger, seconds):
    if hasattr(ledger._clock, "now_s"):
        ledger._clock.now_s += seconds
    time.sleep(seconds if "postgres" in ledger._database.shown else 0)


def test_a_leader_that_gave_up_its_lease_writes_nothing(ledger):
    with ledger.lead("elsewhere:1:1") as lease:
        fence = fence_of(lease)
    with pytest.raises(FencedError, match="to write, however"):
        ledger.check(fence)


def test_there_is_one_leader(ledger, fence):
    with pytest.raises(ConflictError, match="a lease has one holder"), ledger.lead("other:1:1"):
        pass


def test_a_stale_leader_deploys_nothing(ledger, fence, clock, registry, reviewer):
    begun = ask(ledger, fence, clock)
    ledger.decide(
        begun.retrain_id, begun.candidate_sha, "approve", reviewer=reviewer, reason="good"
    )
    registry.set_alias("finance/rules/default", "champion", 2, expected=1, actor="watcher")
    stale = Fence(name="watcher", owner="leader:1:1", epoch=0)
    with pytest.raises(FencedError):
        ledger.deployed(stale, begun.retrain_id, "d2")
    assert ledger.retrain(begun.retrain_id).state == "PROMOTED"
    assert ledger.deployed(fence, begun.retrain_id, "d2")


def test_the_epoch_of_the_leader_is_in_the_audit_log(ledger, fence):
    train(ledger, fence, begin(ledger, fence))
    assert {e.body["epoch"] for e in ledger.audit() if "epoch" in e.body} == {fence.epoch}
    assert ledger.ingest(fence, [answer(item("2"))], all_of_them).retrains == ()
