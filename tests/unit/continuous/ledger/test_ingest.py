import dataclasses

import pytest

from spt_core.continuous.ledger import ItemRef, SourceResult, Trigger
from spt_core.continuous.ledger.ingest import MAX_PENDING
from spt_core.errors import InputError, NotFoundError
from tests.unit.continuous.ledger.steps import (
    BUCKET,
    all_of_them,
    answer,
    begin,
    item,
    never,
    source,
    train,
)


def test_items_validators_and_the_retraining_come_together(ledger, fence):
    done = ledger.ingest(fence, [answer(item("1"), item("2"), etag='W/"x"')], all_of_them)

    (begun,) = done.retrains
    assert (done.num_new, done.num_revised, done.num_known) == (2, 0, 0)
    assert [s.etag for s in ledger.sources()] == ["", 'W/"x"']
    assert {i.trigger_id for i in ledger.items()} == {begun.retrain_id} == {"rules-1"}
    assert (begun.state, begun.seq, begun.attempt) == ("QUEUED", 1, 1)
    assert [e.payload["submission_id"] for e in ledger.outbox()] == [begun.submission_id]
    assert [e.event for e in ledger.audit()][-4:] == [
        "items.ingested",
        "source.state",
        "retrain.DETECTED",
        "retrain.QUEUED",
    ]


def test_the_submission_id_says_what_is_submitted(ledger, fence):
    begun = begin(ledger, fence)

    assert begun.submission_id == f"retrain-rules-1-a1-{begun.manifest_sha[:12]}"
    assert len(begun.manifest_sha) == 64


def test_known_items_change_nothing(ledger, fence):
    ledger.ingest(fence, [answer(item("1"))], never)
    before = ledger.items()
    done = ledger.ingest(fence, [answer(item("1"))], never)

    assert (done.num_new, done.num_revised, done.num_known) == (0, 0, 1)
    assert ledger.items() == before


def test_changed_content_is_a_new_revision(ledger, fence):
    ledger.ingest(fence, [answer(item("1"))], never)
    done = ledger.ingest(fence, [answer(item("1", "amended"))], never)

    assert done.num_revised == 1
    assert [(i.rev, i.text) for i in ledger.items()] == [(1, "text"), (2, "amended")]
    assert [i.rev for i in ledger.pending(BUCKET)] == [2]


def test_a_revision_of_a_used_item_waits_for_the_next_retraining(ledger, fence):
    begun = begin(ledger, fence)
    ledger.ingest(fence, [answer(item("1", "amended"))], all_of_them)

    assert [i.rev for i in ledger.items(trigger_id=begun.retrain_id)] == [1]
    assert [i.rev for i in ledger.pending(BUCKET)] == [2]


def test_one_retraining_of_a_bucket_is_under_way_at_a_time(ledger, fence):
    first = begin(ledger, fence)
    assert ledger.ingest(fence, [answer(item("2"))], all_of_them).retrains == ()
    train(ledger, fence, first)
    assert ledger.evaluate(fence, all_of_them) == []
    ledger.evaluated(
        fence,
        first.retrain_id,
        candidate_version="a/b/c@1",
        champion_before="",
        evaluation_set_sha="",
        evaluation={},
    )
    ledger.judge(fence, first.retrain_id, "REJECTED", verdict={"regression": 0.1})

    (second,) = ledger.evaluate(fence, all_of_them)
    assert (second.seq, [i.item_key for i in ledger.items(trigger_id="rules-2")]) == (2, ["2"])


def test_a_trigger_that_fails_leaves_nothing(ledger, fence):
    def fail(pending):
        raise ZeroDivisionError

    before = ledger.audit_head()
    with pytest.raises(ZeroDivisionError):
        ledger.ingest(fence, [answer(item("1"))], fail)
    assert (ledger.items(), ledger.audit_head()) == ([], before)
    assert {s.etag for s in ledger.sources()} == {""}


def test_the_trigger_decides_which_items_it_takes(ledger, fence):
    def first_only(pending):
        return Trigger(bucket=BUCKET, items=(pending[0].ref,), reason="a cap on one source's share")

    ledger.ingest(fence, [answer(item("1"), item("2"))], first_only)
    assert [i.item_key for i in ledger.pending(BUCKET)] == ["2"]


def test_a_trigger_that_is_held_waits_for_a_person(ledger, fence):
    def hold(pending):
        return dataclasses.replace(all_of_them(pending), hold="one source gave them all")

    (held,) = ledger.ingest(fence, [answer(item("1"))], hold).retrains
    assert (held.state, ledger.outbox()) == ("DETECTED", [])
    assert ledger.release(held.retrain_id, actor="olga")
    assert ledger.retrain(held.retrain_id).state == "QUEUED"


def test_a_person_may_trigger_what_waits(ledger, fence):
    ledger.ingest(fence, [answer(item("1"))], never)
    trigger = all_of_them(ledger.pending(BUCKET))
    assert ledger.trigger(trigger, actor="olga").triggered_by == "olga"

    with pytest.raises(Exception, match="a bucket must be free"):
        ledger.trigger(trigger, actor="olga")


def test_a_trigger_takes_only_what_waits(ledger, fence):
    trigger = Trigger(bucket=BUCKET, items=(ItemRef("sec", "9", 1),), reason="a test")
    with pytest.raises(InputError, match="must be waiting in bucket 'rules'"):
        ledger.trigger(trigger, actor="olga")


def test_a_trigger_takes_items_of_its_own_bucket(ledger, fence):
    def wrong(pending):
        return dataclasses.replace(all_of_them(pending), bucket="other")

    with pytest.raises(InputError, match="must be waiting in bucket 'other'"):
        ledger.ingest(fence, [answer(item("1"))], wrong)


def test_irrelevant_items_are_kept_and_never_wait(ledger, fence):
    ledger.ingest(fence, [answer(item("1", bucket=""))], all_of_them)
    assert ([i.item_key for i in ledger.items()], ledger.retrains()) == (["1"], [])


def test_answers_of_several_sources_are_stored_together_or_not_at_all(ledger, fence):
    other = answer(item("1", source_id="who"), name="who")
    with pytest.raises(NotFoundError, match="must be known"):
        ledger.ingest(fence, [answer(item("1")), other], never)
    assert ledger.items() == []

    more = answer(item("1", source_id="ecb"), name="ecb")
    assert ledger.ingest(fence, [answer(item("1")), more], never).num_new == 2


def test_one_answer_holds_a_key_once():
    with pytest.raises(InputError, match=r"\['1'\] more than once"):
        answer(item("1"), item("1", "other"))


def test_two_sources_with_one_id_are_refused(ledger):
    with pytest.raises(InputError, match="two sources must not have one id, however: sec"):
        ledger.upsert_sources([source("sec"), source("sec")], actor="olga")


def test_a_source_keeps_its_place_unless_it_moves(ledger, fence):
    ledger.ingest(fence, [answer(etag='"7"')], never)
    assert ledger.upsert_sources([source("sec")], actor="olga") == []
    assert ledger.upsert_sources([source("sec", threshold=0.5)], actor="olga") == ["sec"]
    assert {s.source_id: s.etag for s in ledger.sources()} == {"sec": '"7"', "ecb": ""}
    moved = dataclasses.replace(source("sec"), url="https://sec.example/other")
    ledger.upsert_sources([moved], actor="olga")
    assert [(s.etag, s.state) for s in ledger.sources()] == [("", "NEW"), ("", "NEW")]


def test_an_answer_to_an_old_configuration_keeps_its_items_alone(ledger, fence):
    moved = dataclasses.replace(source("sec"), url="https://sec.example/other")
    ledger.upsert_sources([moved], actor="olga")
    ledger.ingest(fence, [answer(item("1"), etag='"7"')], never)

    assert [s.etag for s in ledger.sources()] == ["", ""]
    assert len(ledger.items()) == 1


def test_a_paused_source_is_not_due_and_stays_paused(ledger, fence):
    assert ledger.pause_source("sec", paused=True, reason="it asked us to", actor="olga")
    ledger.ingest(fence, [answer(item("1"))], never)
    assert [s.source_id for s in ledger.due()] == ["ecb"]
    assert ledger.pause_source("sec", paused=False, reason="it is well", actor="olga")
    assert {s.source_id for s in ledger.due()} == {"sec", "ecb"}
    assert [s.source_id for s in ledger.due(limit=1, besides={"ecb"})] == ["sec"]
    with pytest.raises(NotFoundError, match="the nearest is 'sec'"):
        ledger.pause_source("sek", paused=True, reason="", actor="olga")


def test_a_clock_that_jumped_back_stops_no_source(ledger, fence, clock, sqlite_only):
    later = source("sec", state="OK", next_check=clock.now_s + 3600)
    ledger.ingest(fence, [SourceResult(source=later)], never)
    assert [s.source_id for s in ledger.due()] == ["ecb"]
    clock.now_s -= 365 * 86400.0
    assert [s.source_id for s in ledger.due()] == ["ecb", "sec"]

    ledger.note("test", {}, actor="olga")
    back = next(e for e in ledger.audit() if e.event == "clock.back")
    assert back.body["by_s"] == 365 * 86400.0
    ledger.verify_audit()


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_no_database_holds_is_refused(text):
    with pytest.raises(InputError, match="Unicode without NUL bytes"):
        item("1", title=text)


def test_a_thousand_items_come_in_one_answer(ledger, fence):
    items = [item(str(number)) for number in range(1100)]
    assert ledger.ingest(fence, [answer(*items)], all_of_them).num_new == 1100
    assert ledger.ingest(fence, [answer(*items)], never).num_known == 1100
    assert len(ledger.pending(BUCKET)) == 1100 - MAX_PENDING, "the rest waits for the next one"
