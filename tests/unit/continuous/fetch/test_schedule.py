import datetime

import pytest

from spt_core.continuous.feeds.values import PollHints
from spt_core.continuous.fetch.fetcher import Fetched
from spt_core.continuous.fetch.schedule import (
    DAY_S,
    HOUR_S,
    SHORTEST_S,
    adaptive_interval,
    next_check,
    redirect_seen,
    retry_after_s,
)

NOW = datetime.datetime(2026, 3, 3, 10, 20, tzinfo=datetime.UTC)  # a Tuesday

LATER = "Wed, 04 Mar 2026 10:20:00 GMT"


def answer(**headers):
    return Fetched(outcome=headers.pop("outcome", "changed"), url="http://a.example/", **headers)


def wait_s(fetched, **given):
    planned = next_check(NOW, fetched, jitter=0.0, **given)
    return (planned.at - NOW).total_seconds(), planned.reason


@pytest.mark.parametrize(
    ("items", "seconds"),
    [(None, HOUR_S), (0, DAY_S), (7, DAY_S / 2), (100, 3024.0), (100_000, SHORTEST_S)],
)
def test_the_interval_follows_the_weekly_items(items, seconds):
    assert adaptive_interval(items) == seconds


def test_a_source_says_its_rate_as_the_reason():
    assert wait_s(answer(), num_items_last_week=14) == (
        6 * HOUR_S,
        "6 h by its rate (14 items a week)",
    )


@pytest.mark.parametrize(
    ("headers", "hints", "seconds", "word"),
    [
        ({"cache_control": "public, max-age=7200"}, {}, 7200, "max-age 2 h"),
        ({"cache_control": 'max-age="7200"'}, {}, 7200, "max-age"),
        ({"cache_control": "max-age=60"}, {}, HOUR_S, "its rate"),
        ({"cache_control": "max-age=-1, s-maxage=99999"}, {}, HOUR_S, "its rate"),
        ({"expires": "Tue, 03 Mar 2026 13:20:00 GMT"}, {}, 3 * HOUR_S, "Expires in 3 h"),
        (
            {"expires": "Tue, 03 Mar 2026 13:20:00 GMT", "date": "Tue, 03 Mar 2026 11:20:00 GMT"},
            {},
            2 * HOUR_S,
            "Expires in 2 h",
        ),
        ({"expires": "0"}, {}, HOUR_S, "its rate"),
        ({"expires": "Fri, 99 Foo 2026"}, {}, HOUR_S, "its rate"),
        ({"cache_control": "no-cache", "expires": LATER}, {}, HOUR_S, "rate"),
        ({}, {"ttl_s": 4 * HOUR_S}, 4 * HOUR_S, "the feed asks for 4 h"),
        ({"cache_control": "max-age=31536000"}, {}, DAY_S, "capped at 1 d"),
        ({}, {"ttl_s": 1e12}, DAY_S, "capped"),
        ({"status": 429, "retry_after": "7200"}, {}, 7200, "Retry-After 2 h"),
        ({"status": 503, "retry_after": "7200"}, {}, 7200, "HTTP 503"),
        ({"status": 503}, {}, HOUR_S, "by its rate"),
        ({"status": 429, "retry_after": "9" * 30}, {}, DAY_S, "capped"),
        ({"status": 200, "retry_after": "7200"}, {}, HOUR_S, "by its rate"),
    ],
)
def test_the_longest_wish_wins_up_to_the_cap(headers, hints, seconds, word):
    waited, reason = wait_s(answer(**headers), hints=PollHints(**hints))
    assert waited == seconds
    assert word in reason


def test_retry_after_is_seconds_or_a_date_or_nothing():
    texts = ("120", " 120 ", "Tue, 03 Mar 2026 10:22:00 GMT", "soon", "-5", "", "Mon, 02 Mar 2026")
    assert [retry_after_s(text, NOW) for text in texts] == [120, 120, 120, 0, 0, 0, 0]


def test_failures_in_a_row_double_the_interval_up_to_a_day():
    failed = answer(outcome="no_answer", reason="the name is not known")
    waits = [wait_s(failed, num_errors=n)[0] for n in (1, 2, 3, 30)]
    assert waits == [2 * HOUR_S, 4 * HOUR_S, 8 * HOUR_S, DAY_S]
    assert "3 failures in a row: the name is not known" in wait_s(failed, num_errors=3)[1]


def test_skipped_hours_and_days_move_the_check_to_the_first_that_is_free():
    hours = PollHints(skip_hours=frozenset({11, 12}))
    assert wait_s(answer(), hints=hours) == (
        (13 - 10) * HOUR_S - 20 * 60,
        "1 h by its rate (its rate is not known yet), "
        "moved out of the feed's skipHours and skipDays",
    )
    days = PollHints(skip_days=frozenset({"tuesday"}))
    assert next_check(NOW, answer(), hints=days).at == datetime.datetime(
        2026, 3, 4, tzinfo=datetime.UTC
    )


def test_a_feed_that_skips_all_time_is_asked_all_the_same():
    always = PollHints(skip_hours=frozenset(range(24)))
    waited, reason = wait_s(answer(), hints=always)
    assert waited == HOUR_S
    assert "ignored" in reason


def test_jitter_spreads_the_checks_by_a_tenth():
    late = next_check(NOW, answer(), jitter=0.999)
    assert HOUR_S < (late.at - NOW).total_seconds() < 1.1 * HOUR_S


def test_a_permanent_redirect_is_adopted_only_after_days_of_the_same_target():
    day = datetime.timedelta(days=1)
    seen, adopt = redirect_seen(None, "http://new.example/", NOW)
    assert not adopt
    seen, adopt = redirect_seen(seen, "http://new.example/", NOW + day)
    assert not adopt
    other, adopt = redirect_seen(seen, "http://maintenance.example/", NOW + 3 * day)
    assert not adopt
    assert other.num_seen == 1
    assert redirect_seen(seen, "http://new.example/", NOW + 2 * day)[1]
    assert redirect_seen(seen, "", NOW + 2 * day) == (None, False)
