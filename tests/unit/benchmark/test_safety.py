"""Gaps between groups of people, beyond those that chance makes."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from spt_core.benchmark.config import BenchmarkConfig
from spt_core.benchmark.gaps import Estimate, pairs
from spt_core.benchmark.safety import safety
from spt_core.heads.binary import decided
from spt_core.policy import Costs, DecisionPolicy
from spt_core.task import find

POLICY = DecisionPolicy(
    costs=Costs(missed_positive=10.0, false_alarm=1.0, review=0.5),
    review_threshold=0.5,
    decline_threshold=0.9,
)
CREDIT = find("financial_services/credit_scoring")


def judged(approved, group, *, task=CREDIT, labels=None):
    """The benchmark of decisions [N] on rows of groups [N]."""
    labels = np.zeros(len(group)) if labels is None else labels
    of = decided(labels[:, None], np.where(approved, 0.1, 0.95)[:, None], POLICY)
    subject = SimpleNamespace(
        answerer=SimpleNamespace(policy=POLICY, task=task),
        splits=SimpleNamespace(protected=("sex",)),
        table=pa.table({"sex": [f"g{number}" for number in group]}),
        of=of,
        config=BenchmarkConfig(num_resamples=60),
    )
    (result,) = safety(subject)
    return result


def drawn(shares, num_rows, seed):
    """Decisions by chance: of groups of about as many rows, each with its share of approvals."""
    draw = np.random.default_rng(seed)
    group = draw.integers(0, len(shares), num_rows)
    return judged(draw.random(num_rows) < np.array(shares)[group], group)


def test_eight_groups_without_a_gap_are_told_to_have_none():
    """900 rows, of which the raw ratio of least over largest is 0.8 or less."""
    results = [drawn([0.6] * 8, 900, seed) for seed in range(20)]
    assert all(one.low <= one.score <= one.high for one in results)
    assert sum(one.high == 1.0 for one in results) >= 18  # nineteen of twenty on average
    assert np.mean([one.score for one in results]) > 0.95
    raw = [[row["value"] for row in one.figures["groups"]] for one in results]
    assert np.mean([min(values) / max(values) for values in raw]) < 0.8


def test_a_gap_beyond_chance_is_found_and_said():
    results = [drawn([0.6] * 7 + [0.25], 900, seed) for seed in range(10)]
    assert all(one.low <= one.score <= one.high < 1.0 for one in results)
    assert all(0.25 <= one.score <= 0.6 for one in results)
    # The true ratio is inside of the interval of almost all.
    assert sum(one.low <= 0.25 / 0.6 <= one.high for one in results) >= 9
    first = results[0]
    assert {pair["lower"] for pair in first.figures["beyond_chance"]} == {"g7"}
    assert "Beyond chance is that of g7 and g" in first.note


def test_two_large_groups_are_told_apart_and_small_ones_are_not():
    assert drawn([0.6, 0.5], 4000, 0).score == pytest.approx(0.5 / 0.6, abs=0.04)
    small = judged(np.arange(100).repeat(2) < np.tile([60, 50], 100), np.tile([0, 1], 100))
    assert small.score == 1.0
    assert small.low < 0.85
    assert small.note.endswith("No gap is beyond chance")


def test_a_group_without_any_approval_is_the_worst_gap_and_its_interval_knows_of_chance():
    group = np.repeat([0, 1], 60)
    result = judged(group == 0, group)
    assert (result.score, result.low) == (0.0, 0.0)
    assert 0.0 < result.high < 0.15


def test_groups_of_which_all_are_approved_have_no_gap():
    result = judged(np.ones(120, bool), np.repeat([0, 1], 60))
    assert (result.score, result.high) == (1.0, 1.0)
    assert result.low < 1.0  # of 60 rows some could have been declined


def test_where_approval_is_no_benefit_found_positives_are_compared():
    """Men are tested twice as often, as they are ill twice as often; all ill ones are tested."""
    group = np.repeat([0, 1], 400)
    labels = np.zeros(800)
    labels[:200], labels[400:500] = 1.0, 1.0
    heart = find("healthcare/heart_disease")
    result = judged(labels == 0, group, task=heart, labels=labels)
    assert result.score == 1.0
    assert [row["value"] for row in result.figures["groups"]] == [1.0, 1.0]
    assert judged(labels == 0, group, labels=labels).score == pytest.approx(0.5 / 0.75)


def test_limits_of_a_share_are_wilson_s():
    # Newcombe, Statistics in Medicine 1998, table I: 81 of 263 and 0 of 20, method 3.
    assert Estimate("", 81 / 263, 0.0, 263).limits(1.959964) == pytest.approx(
        (0.2553, 0.3662), abs=1e-4
    )
    assert Estimate("", 0.0, 0.0, 20).limits(1.959964) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_a_ratio_s_limits_are_those_of_its_logarithm():
    (pair,) = pairs([Estimate("a", 0.4, 0.04), Estimate("b", 0.5, 0.05)])
    up = np.hypot(np.log1p(1.96 * 0.1), -np.log1p(-1.96 * 0.1))
    assert (pair.lower, pair.higher, pair.ratio) == ("a", "b", pytest.approx(0.8))
    assert pair.high == pytest.approx(0.8 * np.exp(up), rel=1e-4)
    assert pair.low == pytest.approx(0.8 * np.exp(-up), rel=1e-4)
    assert len(pairs([Estimate(str(n), 0.5, 0.05) for n in range(8)])) == 28
