"""When a version that serves is taken back, and when a person only looks. Pure.

windows of candidate and champion + answers to golden records -> findings

| rule | what follows |
|---|---|
| a golden record is answered surely and wrongly, with an error, or too many are wrong | back |
| error rate above max(2 x champion's, + 1 point), 200 requests or more, p < 0.01 | back |
| p99 above 1.5 x champion's in three windows running | back |
| sizes of requests drifted from the champion's, PSI above 0.25 | a person looks |
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from spt_core.traffic import WINDOW_S, Window, merged, quantile_ms
from spt_core.validation import validated

Rule = Literal["golden_probe", "error_rate", "latency", "drift"]


class ProbeAnswer(NamedTuple):
    """What a replica said of a golden record: the labels given, the likeliest's probability."""

    wanted: tuple[str, ...]
    given: tuple[str, ...]
    probability: float
    error: str = ""


class Finding(NamedTuple):
    """What a rule found; `is_bad` takes the version back."""

    rule: Rule
    is_bad: bool
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LiveRules:
    """The limits. A p99 that is worse by less than `min_slower_ms` is noise of the machine.

    Without `takes_back` what is wrong is told, and a person takes the version back.
    """

    sure: float = 0.9
    max_golden_misses: float = 0.1
    min_requests: int = 200
    error_ratio: float = 2.0
    error_points: float = 0.01
    p_value: float = 0.01
    latency_ratio: float = 1.5
    num_slow_windows: int = 3
    min_window_requests: int = 50
    min_slower_ms: float = 1.0
    max_psi: float = 0.25
    takes_back: bool = True


def live_rules(content: Mapping[str, Any], usual: LiveRules) -> LiveRules:
    """The rules that a bucket's `live_rules` object holds; what it does not say is as usual."""
    return validated(LiveRules, {**dataclasses.asdict(usual), **content}, "a bucket's live_rules")


def decide(
    candidate: Sequence[Window],
    champion: Sequence[Window],
    answers: Sequence[ProbeAnswer],
    rules: LiveRules | None = None,
    *,
    now_s: float = math.inf,
) -> list[Finding]:
    """What is wrong, the reasons to go back first; windows that are not over count no latency."""
    rules = rules or LiveRules()
    over = [window for window in candidate if window.start_s + WINDOW_S <= now_s]
    findings = [
        _probe(answers, rules),
        _errors(merged(candidate), merged(champion), rules),
        _latency(over, merged(champion), rules),
        _drift(merged(candidate), merged(champion), rules),
    ]
    kept = [one for one in findings if one is not None]
    if not rules.takes_back:
        kept = [one._replace(is_bad=False) for one in kept]
    return sorted(kept, key=lambda one: not one.is_bad)


def population_stability(expected: Mapping[int, int], actual: Mapping[int, int]) -> float:
    """The population stability index of two histograms; half a count stands for an empty bin."""
    bins = sorted(set(expected) | set(actual))
    totals = sum(expected.values()) + len(bins) / 2, sum(actual.values()) + len(bins) / 2
    index = 0.0
    for name in bins:
        was, now = (
            (h.get(name, 0) + 0.5) / n for h, n in zip((expected, actual), totals, strict=True)
        )
        index += (now - was) * math.log(now / was)
    return index


def _probe(answers: Sequence[ProbeAnswer], rules: LiveRules) -> Finding | None:
    failed = [answer for answer in answers if answer.error]
    if failed:
        reason = f"{len(failed)} golden records raise errors: {failed[0].error[:200]}"
        return Finding("golden_probe", True, reason)
    wrong = [answer for answer in answers if set(answer.given) != set(answer.wanted)]
    sure = [answer for answer in wrong if answer.probability >= rules.sure]
    if sure:
        one = sure[0]
        return Finding(
            "golden_probe",
            True,
            f"{len(sure)} golden records are answered surely and wrongly, such as "
            f"{list(one.given)} with {one.probability:.2f} for {list(one.wanted)}",
        )
    if answers and len(wrong) / len(answers) > rules.max_golden_misses:
        reason = f"{len(wrong)} of {len(answers)} golden records are answered wrongly"
        return Finding("golden_probe", True, reason)
    return None


def _errors(candidate: Window, champion: Window, rules: LiveRules) -> Finding | None:
    if candidate.num_requests < rules.min_requests:
        return None
    rate = candidate.num_errors / candidate.num_requests
    before = champion.num_errors / champion.num_requests if champion.num_requests else 0.0
    limit = max(rules.error_ratio * before, before + rules.error_points)
    if rate <= limit:
        return None
    from scipy.stats import binomtest, fisher_exact  # takes a second, and is seldom needed

    if champion.num_requests:
        table = [
            [candidate.num_errors, candidate.num_requests - candidate.num_errors],
            [champion.num_errors, champion.num_requests - champion.num_errors],
        ]
        result: Any = fisher_exact(table, alternative="greater")  # scipy's types do not know it
        p_value = float(result.pvalue)
    else:  # nothing to compare with: against the limit itself
        p_value = float(
            binomtest(
                candidate.num_errors, candidate.num_requests, limit, alternative="greater"
            ).pvalue
        )
    if p_value >= rules.p_value:
        return None
    return Finding(
        "error_rate",
        True,
        f"{rate:.1%} of {candidate.num_requests:,} requests failed, the champion's {before:.1%} of "
        f"{champion.num_requests:,} (p = {p_value:.1g})",
    )


def _latency(windows: Sequence[Window], champion: Window, rules: LiveRules) -> Finding | None:
    full = [one for one in windows if one.num_requests >= rules.min_window_requests]
    last = full[-rules.num_slow_windows :]
    before = quantile_ms(champion.latency, 0.99)
    if len(last) < rules.num_slow_windows or champion.num_requests < rules.min_window_requests:
        return None
    limit = max(rules.latency_ratio * before, before + rules.min_slower_ms)
    latencies = [quantile_ms(window.latency, 0.99) for window in last]
    if min(latencies) <= limit:
        return None
    shown = ", ".join(f"{value:.1f}" for value in latencies)
    return Finding(
        "latency",
        True,
        f"p99 was {shown} ms in windows of {WINDOW_S:g} s, the champion's {before:.1f}",
    )


def _drift(candidate: Window, champion: Window, rules: LiveRules) -> Finding | None:
    if min(candidate.num_requests, champion.num_requests) < rules.min_requests:
        return None
    index = population_stability(champion.sizes, candidate.sizes)
    if index <= rules.max_psi:
        return None
    reason = f"the sizes of requests have drifted (PSI {index:.2f}); look at what is asked"
    return Finding("drift", False, reason)
