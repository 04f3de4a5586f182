"""What the ledger alone can tell of a retraining that needs a person."""

import pytest

from spt_core.continuous.ledger import DEPLOY, SUBMIT
from spt_core.continuous.ledger.drive import MAX_ATTEMPTS
from spt_core.continuous.report import report
from tests.unit.continuous.ledger.steps import begin, evaluate, train

pytestmark = pytest.mark.usefixtures("sqlite_only")


def troubles(ledger, url):
    return report(ledger, database_url=url)["troubles"]


def fail(ledger, fence):
    """A retraining whose job failed as often as it is tried."""
    begun = begin(ledger, fence)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        ledger.submitted(fence, begun.submission_id)
        ledger.failed(fence, begun.submission_id, "no memory")
        if attempt < MAX_ATTEMPTS:
            ledger.queue_again(fence, begun.retrain_id, "again")
        begun = ledger.retrain(begun.retrain_id)
    return begun


def test_a_retraining_that_failed_in_all_its_attempts_is_told_until_the_next(ledger, fence, url):
    fail(ledger, fence)
    (trouble,) = troubles(ledger, url)
    assert trouble.startswith("rules-1 failed in all its 3 attempts and is not tried again")
    begin(ledger, fence, "2")
    assert troubles(ledger, url) == []


def test_a_retraining_that_will_be_tried_again_needs_nobody(ledger, fence, url):
    begun = begin(ledger, fence)
    ledger.submitted(fence, begun.submission_id)
    ledger.failed(fence, begun.submission_id, "no memory")
    assert troubles(ledger, url) == []


@pytest.mark.parametrize("state", ["TRAINED", "EVALUATED"])
def test_a_retraining_that_does_not_move_on_is_told_with_its_time(
    ledger, fence, clock, registry, url, state
):
    begun = train(ledger, fence, begin(ledger, fence))
    if state == "EVALUATED":
        evaluate(ledger, fence, begun)
    assert troubles(ledger, url) == []
    clock.now_s += 3600
    (trouble,) = troubles(ledger, url)
    assert trouble == (
        f"rules-1 is {state} since 2023-11-14T22:13:20.000+00:00 (attempt 1 of 3) and does not "
        "move on: its watcher's log says why"
    )
    (bucket,) = report(ledger, database_url=url)["buckets"]
    assert bucket["retraining"]["words"].endswith("since 2023-11-14T22:13:20.000+00:00")


def test_a_frozen_bucket_needs_an_admin(ledger, fence, registry, url):
    begun = evaluate(ledger, fence, train(ledger, fence, begin(ledger, fence)))
    ledger.judge(fence, begun.retrain_id, "PROMOTED", verdict={})
    ledger.rolled_back(fence, begun.retrain_id, "none", "it did not load")
    assert troubles(ledger, url) == [
        "rules is frozen (rules-1 was rolled back: it did not load): an admin lets it go on with "
        "`python -m jobs.review thaw rules`"
    ]


def test_an_effect_that_fails_again_and_again_is_told(ledger, fence, clock, url):
    begin(ledger, fence)
    for _ in range(5):
        assert troubles(ledger, url) == []
        clock.now_s += 1000
        (entry,) = ledger.claim_effects(fence, [SUBMIT, DEPLOY])
        ledger.effect_failed(fence, entry, "no cluster")
    (trouble,) = troubles(ledger, url)
    assert trouble.startswith("submit of retrain-rules-1-a1-")
    assert trouble.endswith("was tried 5 times in vain, and goes on: no cluster")
