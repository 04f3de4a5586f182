import dataclasses

import pytest
import sqlalchemy as sa

from spt_core.continuous.ledger import SUBMIT, drive
from spt_core.errors import ConflictError, FencedError, InputError
from tests.chaos.ledger.world import Jobs, sha
from tests.unit.continuous.ledger.steps import all_of_them, answer, begin, item, never, train

TTL_S = 60.0


@pytest.fixture
def jobs(tmp_path):
    return Jobs(tmp_path / "jobs.log")


class Broken:
    """A job system that cannot be reached, before or after it has taken the job."""

    def __init__(self, jobs, *, loses_answers=False, is_away=False):
        self.jobs, self.loses_answers, self.is_away = jobs, loses_answers, is_away

    def submit(self, submission_id, payload):
        if not self.is_away:
            self.jobs.submit(submission_id, payload)
        if self.is_away or self.loses_answers:
            raise RuntimeError("HTTP 500")

    def cause(self, submission_id):
        return ""

    def status(self, submission_id):
        if self.is_away:
            raise ConnectionError("nobody listens")
        return self.jobs.status(submission_id)


def test_a_second_claimer_is_refused_while_the_first_is_alive(ledger, fence):
    begun = begin(ledger, fence)
    held = ledger.claim_run(begun.submission_id, host="a", ttl_s=TTL_S)
    with pytest.raises(ConflictError, match="nobody else's, however: a is at work on it"):
        ledger.claim_run(begun.submission_id, host="b", ttl_s=TTL_S)
    assert ledger.claim_run(begun.submission_id, host="a", ttl_s=TTL_S).epoch == held.epoch


def test_a_claim_that_ran_out_is_taken_over_and_its_first_holder_stores_nothing(
    ledger, fence, clock, sqlite_only
):
    begun = begin(ledger, fence)
    frozen = ledger.claim_run(begun.submission_id, host="a", ttl_s=TTL_S)
    clock.now_s += TTL_S / 2
    ledger.beat(frozen)
    clock.now_s += TTL_S + 1
    second = ledger.claim_run(begun.submission_id, host="b", ttl_s=TTL_S)
    for late in (lambda: ledger.beat(frozen), lambda: ledger.finish_run(frozen, "x", "y")):
        with pytest.raises(ConflictError, match=r"must still be a's \(epoch 1\)"):
            late()
    ledger.finish_run(second, "file:///b", "b")

    assert second.epoch == 2
    assert ledger.run_claim(begun.submission_id).result_uri == "file:///b"


def test_a_claim_from_before_the_clock_jumped_back_stays_alive(ledger, fence, clock, sqlite_only):
    begun = begin(ledger, fence)
    ledger.claim_run(begun.submission_id, host="a", ttl_s=TTL_S)
    clock.now_s -= 1e6
    with pytest.raises(ConflictError, match="at work"):
        ledger.claim_run(begun.submission_id, host="b", ttl_s=TTL_S)


def test_a_run_that_finished_is_not_claimed_again(ledger, fence):
    begun = begin(ledger, fence)
    held = ledger.claim_run(begun.submission_id, host="a")
    ledger.finish_run(held, "file:///r", "s")
    ledger.finish_run(held, "file:///r", "s")
    with pytest.raises(ConflictError, match="its result is file:///r"):
        ledger.claim_run(begun.submission_id, host="b")
    with pytest.raises(ConflictError, match="ended or went to another"):
        ledger.finish_run(held, "file:///other", "s")


def test_only_the_present_attempt_can_be_claimed(ledger, fence):
    begun = begin(ledger, fence)
    ledger.submitted(fence, begun.submission_id)
    ledger.failed(fence, begun.submission_id, "the node died")
    ledger.queue_again(fence, begun.retrain_id, "the node died")
    again = ledger.retrain(begun.retrain_id)

    assert again.submission_id.startswith("retrain-rules-1-a2-")
    with pytest.raises(ConflictError, match="it is no retraining's present attempt"):
        ledger.claim_run(begun.submission_id, host="late")
    assert ledger.claim_run(again.submission_id, host="b")


def test_a_run_with_a_live_claim_has_not_failed(ledger, fence):
    begun = begin(ledger, fence)
    ledger.submitted(fence, begun.submission_id)
    held = ledger.claim_run(begun.submission_id, host="a")
    with pytest.raises(ConflictError, match="a run must be over to be given up, however: a claims"):
        ledger.failed(fence, begun.submission_id, "Ray says so")
    ledger.give_up_run(held, "out of memory")
    assert ledger.failed(fence, begun.submission_id, "Ray says so")


def test_a_claim_needs_a_host_and_a_result_a_sha(ledger, fence):
    begun = begin(ledger, fence)
    with pytest.raises(InputError, match="a positive time"):
        ledger.claim_run(begun.submission_id, ttl_s=0)
    with pytest.raises(InputError, match="a result has a URI and a sha"):
        ledger.finish_run(ledger.claim_run(begun.submission_id), "file:///r", "")


def test_a_submission_is_driven_to_its_result(ledger, fence, jobs):
    begun = begin(ledger, fence)
    submission = begun.submission_id
    assert drive(ledger, fence, jobs).submitted == (submission,)
    assert drive(ledger, fence, jobs).submitted == ()
    ledger.finish_run(ledger.claim_run(submission), "file:///r", sha("r"))

    assert drive(ledger, fence, jobs).trained == (submission,)
    assert ledger.retrain(begun.retrain_id).candidate_sha == sha("r")
    assert ledger.outbox() == []


def test_a_job_that_exists_counts_as_submitted(ledger, fence, jobs):
    begun = begin(ledger, fence)
    jobs.submit(begun.submission_id, {"attempt": 1})  # by a leader that died before it could say so
    assert drive(ledger, fence, jobs).submitted == (begun.submission_id,)
    assert len(jobs.lines()) == 1


def test_an_answer_that_is_lost_is_asked_for(ledger, fence, jobs):
    begun = begin(ledger, fence)
    assert drive(ledger, fence, Broken(jobs, loses_answers=True)).submitted == (
        begun.submission_id,
    )


def test_a_job_system_that_is_away_is_tried_again_later(ledger, fence, jobs, clock, sqlite_only):
    begin(ledger, fence)
    driven = drive(ledger, fence, Broken(jobs, is_away=True))
    assert "RuntimeError: HTTP 500; then ConnectionError: nobody listens" in driven.errors[0]
    (entry,) = ledger.outbox()
    assert (entry.tries, "HTTP 500" in entry.error) == (1, True)
    assert drive(ledger, fence, jobs).submitted == ()
    clock.now_s += 3
    assert len(drive(ledger, fence, jobs).submitted) == 1


def test_backoff_grows_to_its_limit_and_a_clock_that_jumped_back_does_not_prolong_it(
    ledger, fence, jobs, clock, sqlite_only
):
    begin(ledger, fence)
    waits = []
    for _ in range(12):
        assert len(ledger.claim_effects(fence, [SUBMIT])) == 1
        waits.append(ledger.outbox()[0].not_before - clock.now_s)
        clock.now_s += waits[-1]
    assert (waits[:3], waits[-1]) == ([2.0, 4.0, 8.0], 300.0)
    clock.now_s -= 1e6
    assert len(ledger.claim_effects(fence, [SUBMIT])) == 1


def test_the_next_leader_takes_over_the_effects_of_the_last_at_once(ledger, fence, jobs):
    begin(ledger, fence)
    ledger.claim_effects(fence, [SUBMIT])
    assert ledger.claim_effects(fence, [SUBMIT]) == []
    assert drive(ledger, next_leader(ledger, fence), jobs).submitted != ()
    with pytest.raises(FencedError):
        drive(ledger, fence, jobs)


def next_leader(ledger, fence):
    with ledger._database.write() as connection:
        connection.execute(sa.text("UPDATE spt_lease SET epoch = epoch + 1"))
    return dataclasses.replace(fence, epoch=fence.epoch + 1)


def test_a_job_that_failed_gets_another_attempt_and_a_limit(ledger, fence, jobs):
    begun = begin(ledger, fence)
    ids = []
    for _ in range(6):
        ids += drive(ledger, fence, jobs).submitted
        jobs.record("FAILED", ids[-1])
    assert [i.split("-")[3] for i in ids] == ["a1", "a2", "a3"]
    assert ledger.retrain(begun.retrain_id).state == "FAILED"
    assert ledger.try_again(begun.retrain_id, "there is memory now", actor="olga")
    assert drive(ledger, fence, jobs).submitted[0].split("-")[3] == "a4"


def test_a_failed_retraining_does_not_block_the_bucket_but_waits_for_it(ledger, fence, jobs):
    first = begin(ledger, fence)
    ledger.submitted(fence, first.submission_id)
    ledger.failed(fence, first.submission_id, "no")
    second = begin(ledger, fence, "2")
    with pytest.raises(ConflictError, match="a bucket must be free for another try"):
        ledger.try_again(first.retrain_id, "why not", actor="olga")
    drive(ledger, fence, jobs)
    assert ledger.retrain(second.retrain_id).state == "SUBMITTED"


def test_a_job_that_succeeded_without_a_result_has_failed(ledger, fence, jobs):
    begun = begin(ledger, fence)
    drive(ledger, fence, jobs)
    jobs.record("SUCCEEDED", begun.submission_id)
    assert drive(ledger, fence, jobs).failed == (begun.submission_id,)


def test_a_result_counts_although_the_job_is_said_to_have_failed(ledger, fence, jobs):
    begun = begin(ledger, fence)
    drive(ledger, fence, jobs)
    ledger.finish_run(ledger.claim_run(begun.submission_id), "file:///r", "s")
    jobs.record("FAILED", begun.submission_id)
    assert drive(ledger, fence, jobs).trained == (begun.submission_id,)


def test_a_job_that_the_system_forgot_is_submitted_again_under_its_id(ledger, fence, jobs):
    begun = begin(ledger, fence)
    drive(ledger, fence, jobs)
    jobs.path.write_bytes(b"")  # the head node came back empty
    drive(ledger, fence, jobs)
    drive(ledger, fence, jobs)
    assert [line["id"] for line in jobs.lines()] == [begun.submission_id]
    assert ledger.retrain(begun.retrain_id).attempt == 1


def test_a_forgotten_job_that_is_still_at_work_is_left_alone(ledger, fence, jobs):
    begun = begin(ledger, fence)
    drive(ledger, fence, jobs)
    ledger.claim_run(begun.submission_id, host="a")
    jobs.path.write_bytes(b"")
    drive(ledger, fence, jobs)
    drive(ledger, fence, jobs)
    assert jobs.lines() == []


def test_another_try_is_refused_while_a_run_may_be_at_work(ledger, fence):
    begun = begin(ledger, fence)
    with pytest.raises(ConflictError, match="only a run that has ended"):
        ledger.try_again(begun.retrain_id, "impatience", actor="olga")
    trained = train(ledger, fence, begun)
    assert ledger.try_again(trained.retrain_id, "labels", actor="olga", manifest_sha="e" * 64)
    assert ledger.retrain(begun.retrain_id).candidate_sha == ""
    assert ledger.ingest(fence, [answer(item("2"))], all_of_them).retrains == ()
    assert ledger.evaluate(fence, never) == []
