"""Numbers and the intervals that cover them."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from spt_core.errors import InputError
from spt_core.heads import ITEM_HEADS
from spt_core.heads.base import Prediction, Scores, Truth
from spt_core.policy import IntervalPolicy
from tests.tiny_models import text_task

HEAD, TASK = ITEM_HEADS["regression"], text_task("regression")


def said(num_rows, seed=0):
    """Outcomes of values that miss the truth by a normal error, under the default policy."""
    draw = np.random.default_rng(seed)
    true = draw.normal(size=num_rows)
    truth = Truth(pa.table({"label": true}), "label", np.arange(num_rows))
    found = (true + draw.normal(size=num_rows))[:, None]
    return HEAD.decided(TASK, (), truth, found, HEAD.default_policy(TASK, ())), truth, found


def test_the_interval_covers_its_share_of_rows_that_it_was_not_fitted_on():
    of, *_ = said(2000)
    policy = HEAD.policy(TASK, of)
    assert policy.coverage == 0.9
    assert policy.margin == pytest.approx(1.645, abs=0.1)  # of a normal error of 1
    _, truth, found = said(2000, seed=1)
    covered = HEAD.metrics["interval_coverage"](HEAD.decided(TASK, (), truth, found, policy))
    assert covered == pytest.approx(0.9, abs=0.03)


def test_too_few_rows_promise_no_interval():
    assert HEAD.policy(TASK, said(9)[0]).margin > 0
    with pytest.raises(InputError, match="needs 9 rows .* there are 8"):
        HEAD.policy(TASK, said(8)[0])


def test_rows_of_one_group_count_as_one():
    of, *_ = said(300)
    alone = HEAD.policy(TASK, of)
    repeated = of.take(np.repeat(np.arange(300), 5))  # each row is a group of five alike
    assert HEAD.policy(TASK, repeated) == alone
    with pytest.raises(InputError, match="needs 9 groups of rows .* there are 8"):
        HEAD.policy(TASK, of.take(np.repeat(np.arange(8), 5)))


def test_an_edited_coverage_gets_a_margin_of_its_own_and_an_edited_margin_stays():
    of, *_ = said(500)
    before = HEAD.policy(TASK, of)
    wider = HEAD.refitted(dataclasses.replace(before, coverage=0.99), before, lambda: of)
    assert wider.margin > before.margin
    stated = IntervalPolicy(coverage=0.9, margin=7.0)
    assert HEAD.refitted(stated, before, lambda: pytest.fail("it was scored")) == stated


def test_a_judgement_is_the_value_in_its_interval():
    def reasons(item, direction):
        asked.append((item, direction.tolist()))
        return ()

    asked = []
    prediction = Prediction({"text": "a"}, Scores(np.array([[2.0, 3.5, 1.0]])), reasons)
    found = HEAD.judgement(TASK, (), prediction, IntervalPolicy(coverage=0.9, margin=0.5))
    assert (found.value, found.low, found.high) == (2.0, 0.5, 4.0)  # quantiles may cross
    assert asked == [(0, [1.0, 0.0, 0.0])]
    assert found.greatest is None
    known = HEAD.judgement(TASK, (), prediction._replace(greatest=9.0), found.policy)
    assert known.greatest == 9.0
    assert HEAD.summary(found).labels == ("2",)
