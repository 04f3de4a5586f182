"""When a version that serves is taken back: each rule just below and just above its limit."""

from __future__ import annotations

import math

import pytest

from spt_core.continuous.live_rules import (
    LiveRules,
    ProbeAnswer,
    decide,
    population_stability,
)
from spt_core.traffic import (
    WINDOW_S,
    Window,
    joined,
    latency_bin,
    merged,
    quantile_ms,
    size_bin,
    window_from_json,
    window_to_json,
)


def window(
    requests: int = 1000, errors: int = 0, *, ms: float = 5.0, start: int = 0, size: int = 200
) -> Window:
    counts = {latency_bin(ms / 1000): requests}
    return Window(start * WINDOW_S, requests, errors, counts, {size_bin(size): requests})


def golden(given: str = "a", probability: float = 0.95, error: str = "") -> ProbeAnswer:
    return ProbeAnswer(("a",), (given,), probability, error)


def rules_found(candidate: list[Window], champion: Window | None = None, *answers) -> list[str]:
    found = decide(candidate, [champion or window()], answers)
    return [one.rule for one in found]


def test_a_good_version_stays() -> None:
    assert rules_found([window(start=n) for n in range(5)], None, golden()) == []


@pytest.mark.parametrize("bad", [golden("b"), golden(error="ValueError: x"), golden("b", 0.3)])
def test_a_golden_record_decides_without_a_single_request(bad: ProbeAnswer) -> None:
    (finding,) = decide([], [], [bad])
    assert (finding.rule, finding.is_bad) == ("golden_probe", True)


def test_a_few_doubtful_golden_misses_are_borne() -> None:
    answers = [golden() for _ in range(19)]
    assert decide([], [], [*answers, golden("b", 0.4)]) == []


@pytest.mark.parametrize(
    ("requests", "errors", "before", "is_bad"),
    [
        (199, 199, 0, False),  # too few to say
        (200, 10, 0, True),
        (200, 2, 0, False),  # one point, not above it
        (1000, 30, 20, False),  # not twice as many
        (1000, 60, 20, True),
        (200, 5, 10, False),  # twice as many, but it may be chance
    ],
)
def test_errors_count_from_two_hundred_requests_and_beyond_chance(
    requests: int, errors: int, before: int, is_bad: bool
) -> None:
    found = rules_found([window(requests, errors)], window(1000, before))
    assert (found == ["error_rate"]) == is_bad


def test_errors_without_a_champion_are_held_against_one_point() -> None:
    nothing = window(0)
    assert rules_found([window(1000, 40)], nothing) == ["error_rate"]
    assert rules_found([window(1000, 12)], nothing) == []


def test_three_slow_windows_running_are_needed() -> None:
    slow, fast = ({"ms": ms} for ms in (9.0, 5.0))
    two = [window(start=0, **slow), window(start=1, **fast), window(start=2, **slow),
           window(start=3, **slow)]  # fmt: skip
    assert rules_found(two) == []
    assert rules_found([*two, window(start=4, **slow)]) == ["latency"]


def test_a_window_that_is_not_over_does_not_count() -> None:
    slow = [window(start=n, ms=9.0) for n in range(3)]
    assert decide(slow, [window()], [], now_s=2.5 * WINDOW_S) == []
    assert decide(slow, [window()], [], now_s=3 * WINDOW_S)[0].rule == "latency"


def test_windows_of_few_requests_and_differences_below_a_millisecond_are_noise() -> None:
    assert rules_found([window(20, start=n, ms=90) for n in range(5)]) == []
    fast = window(ms=0.2)
    assert rules_found([window(start=n, ms=0.9) for n in range(5)], fast) == []


def test_drift_is_for_a_person_to_look_at() -> None:
    (finding,) = decide([window(size=5000)], [window(size=200)], [])
    assert (finding.rule, finding.is_bad) == ("drift", False)


def test_what_takes_back_comes_before_what_is_looked_at() -> None:
    found = decide([window(1000, 500, size=5000)], [window()], [golden("b")])
    assert [one.is_bad for one in found] == [True, True, False]


def test_the_limits_are_the_rules_own() -> None:
    assert decide([window(50, 50)], [window()], [], LiveRules(min_requests=50))


def test_windows_of_replicas_add_up_and_survive_json() -> None:
    parts = joined([window(10, 1, start=1), window(5, start=0), window(20, 2, start=1, ms=80)])
    assert [(one.start_s, one.num_requests) for one in parts] == [(0.0, 5), (WINDOW_S, 30)]
    assert window_from_json(window_to_json(parts[1])) == parts[1]
    whole = merged(parts)
    assert (whole.num_requests, whole.num_errors) == (35, 3)
    assert quantile_ms(whole.latency, 0.4) == pytest.approx(5.0, rel=0.1)
    assert quantile_ms(whole.latency, 0.99) == pytest.approx(80.0, rel=0.1)
    assert math.isnan(quantile_ms({}, 0.5))


def test_stability_of_the_same_shape_is_nought() -> None:
    assert population_stability({1: 100, 2: 300}, {1: 1000, 2: 3000}) == pytest.approx(0, abs=1e-3)
    assert population_stability({1: 100}, {2: 100}) > 1
