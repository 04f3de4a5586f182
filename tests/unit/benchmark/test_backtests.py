"""Which models a report holds against totals and limits, and which it does not."""

import dataclasses
import json

import numpy as np
import pyarrow as pa

from spt_core.benchmark.backtests import limit_facts, total_facts
from spt_core.heads import ITEM_HEADS
from spt_core.heads.base import Truth
from spt_core.heads.forecasts import LEVELS
from spt_core.policy import IntervalPolicy
from spt_core.task import find
from tests.tiny_models import series_task

MAINTENANCE = find("manufacturing/predictive_maintenance")


def forecasts_of(num_steps):
    head, task = ITEM_HEADS["forecasts"], series_task("forecasts")
    came = np.ones((40, num_steps))
    labels = pa.table({"label": [json.dumps(row) for row in came.tolist()]})
    told = np.ones((40, num_steps, len(LEVELS)))
    usual = head.default_policy(task, ())
    return head.decided(task, (), Truth(labels, "label", np.arange(40)), told, usual)


def lives():
    head, table = ITEM_HEADS["regression"], pa.table({"label": np.arange(60.0)})
    truth = Truth(table, "label", np.arange(60))
    policy = IntervalPolicy(coverage=0.8, margin=5.0)
    return head.decided(MAINTENANCE, (), truth, np.arange(60.0)[:, None], policy), policy


def test_forecasts_of_several_steps_are_held_against_their_totals():
    facts = total_facts({"a": forecasts_of(3), "b": forecasts_of(1)}, series_task("forecasts"))
    assert list(facts) == ["a"]
    assert [row["steps"] for row in facts["a"]] == [1, 3]
    assert all(share == 1.0 for row in facts["a"] for share in row["held"].values())
    own, _ = lives()
    assert total_facts({"a": own}, MAINTENANCE) == {}


def test_lives_are_held_against_the_task_s_horizon_under_the_model_s_coverage():
    own, policy = lives()
    (facts,) = limit_facts(own, MAINTENANCE, policy)
    assert facts["limit"] == 30.0
    assert facts["share"] == 31 / 60
    wider = limit_facts(own, MAINTENANCE, dataclasses.replace(policy, coverage=0.99))[0]
    assert wider["brier"] < facts["brier"]  # the same interval, said to hold more, is sharper
    assert limit_facts(own, series_task("regression"), policy) == []
