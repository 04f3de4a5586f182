"""When a retraining begins, on what, and who cannot make it begin."""

import dataclasses

import pytest

from spt_core.continuous.ledger import Item
from spt_core.continuous.monitoring import DAY_S, Monitoring
from spt_core.continuous.triggers import decide_at, manual_trigger, source_cap, standing, trigger_of
from spt_core.errors import InputError

NOW = 1.7e9
RULES = Monitoring(
    model="financial_services/regulatory_compliance/default",
    keywords=("capital",),
    trigger_threshold=10,
    max_wait_days=30,
    max_source_share=0.5,
)


def pending(*, age_days=1.0, **numbers):
    return [
        Item(
            source_id=source,
            item_key=str(n),
            content_sha="c",
            rev=1,
            bucket=RULES.bucket,
            detected_at=NOW - age_days * DAY_S,
        )
        for source, number in numbers.items()
        for n in range(number)
    ]


def decided(items, *, num_sources=4, rules=RULES):
    return trigger_of(rules, items, NOW, num_sources)


def taken(trigger):
    names = [ref.source_id for ref in trigger.items]
    return {name: names.count(name) for name in names}


def test_the_threshold_begins_a_retraining_on_everything_that_waits():
    trigger = decided(pending(sec=5, ecb=5))
    assert taken(trigger) == {"sec": 5, "ecb": 5}
    assert trigger.reason.startswith("threshold reached: 10 of 10 publications")
    assert (trigger.risk_tier, trigger.hold) == ("high", "")
    assert decided(pending(sec=5, ecb=4)) is None


def test_one_source_cannot_trip_the_threshold_alone():
    assert decided(pending(sec=1000, ecb=4)) is None
    told = standing(RULES, pending(sec=1000, ecb=4), NOW, 4).words()
    assert told.startswith("9 of 10 publications (1004 wait, but sec has 1000 and counts 5)")


def test_a_flood_gets_no_more_than_its_share_of_what_is_taken():
    assert taken(decided(pending(sec=1000, ecb=4, bis=3))) == {"sec": 7, "ecb": 4, "bis": 3}
    assert taken(decided(pending(sec=100, ecb=90))) == {"sec": 90, "ecb": 90}


def test_what_comes_first_is_taken_first():
    old, new = pending(age_days=5, sec=20), pending(ecb=5)
    assert [ref.item_key for ref in decided(old + new).items][:5] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(("num_sources", "cap"), [(1, 10), (2, 5), (4, 5), (0, 10)])
def test_a_cap_that_could_never_be_met_is_an_equal_part(num_sources, cap):
    assert source_cap(RULES, num_sources) == cap
    assert source_cap(dataclasses.replace(RULES, max_source_share=0.1), 3) == 3
    assert source_cap(dataclasses.replace(RULES, trigger_threshold=1), 4) == 1


def test_the_only_source_trips_the_threshold():
    assert len(decided(pending(sec=10), num_sources=1).items) == 10


def test_what_waits_too_long_begins_a_retraining():
    assert decided(pending(age_days=29.9, sec=1)) is None
    trigger = decided(pending(age_days=30, sec=1))
    assert trigger.reason.startswith("time limit reached: 1 of 10 publications; the oldest waits")
    assert trigger.hold == ""


def test_what_a_flood_left_behind_must_be_looked_at_first():
    trigger = decided(pending(age_days=30, sec=90, ecb=2))
    assert trigger.hold.startswith("sec gave 90 of the 92 publications, more than its share of 50%")
    assert decided(pending(age_days=30, sec=4, ecb=4)).hold == ""


def test_an_item_from_a_future_that_the_clock_has_left_does_not_wait_for_it():
    assert decided(pending(age_days=-0.5, sec=1)) is None
    assert decided(pending(age_days=-400, sec=1)).reason.startswith("time limit reached")


def test_without_validation_the_risk_is_standard():
    rules = dataclasses.replace(RULES, validation_required=False)
    assert decided(pending(sec=5, ecb=5), rules=rules).risk_tier == "standard"


def test_a_person_triggers_with_a_reason_on_what_waits():
    trigger = manual_trigger(RULES, pending(sec=1), "the rule takes effect")
    assert (len(trigger.items), trigger.reason) == (1, "the rule takes effect")
    with pytest.raises(InputError, match="must have a reason"):
        manual_trigger(RULES, pending(sec=1), " ")
    with pytest.raises(InputError, match="needs publications that wait for it"):
        manual_trigger(RULES, [], "now")


def test_a_bucket_that_is_not_watched_any_more_begins_nothing():
    decide = decide_at(NOW, [RULES], {RULES.bucket: 4})
    strange = [dataclasses.replace(i, bucket="a.b.c") for i in pending(sec=50, ecb=50)]
    assert decide(strange) is None
    assert decide(pending(sec=50, ecb=50)) is not None
