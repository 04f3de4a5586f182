"""Rows with a weight count as so many rows: figures, policies and calibration of decisions."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from spt_core.benchmark.decisions import decision_facts
from spt_core.benchmark.subgroups import subgroup_figures
from spt_core.data.corpus import Roles
from spt_core.data.infer import infer_columns
from spt_core.data.sources import open_corpus
from spt_core.errors import InputError
from spt_core.heads.beta import fit_calibration
from spt_core.heads.binary import Binary, decided, fit_policy
from spt_core.policy import Costs, DecisionPolicy
from spt_core.task import find
from tests.unit.data.examples import TASK, rows

HEAD = Binary()
POLICY = DecisionPolicy(
    costs=Costs(missed_positive=100.0, false_alarm=10.0, review=1.0),
    review_threshold=0.3,
    decline_threshold=0.7,
)


@pytest.fixture(scope="module")
def sampled():
    """Outcomes of rows, of which every third stands for four, and of all the rows meant."""
    draw = np.random.default_rng(0)
    labels = (draw.random(600) < 0.2).astype(float)
    probabilities = np.clip(0.2 + 0.3 * labels + draw.normal(0, 0.15, 600), 0.01, 0.99)
    weights = np.where(np.arange(600) % 3 == 0, 4.0, 1.0)
    few = decided(labels[:, None], probabilities[:, None], POLICY)
    all_rows = few.take(np.repeat(np.arange(600), weights.astype(int)))
    return few._replace(weights=weights), all_rows


@pytest.mark.parametrize("name", HEAD.metrics_under(POLICY))
def test_a_figure_of_weighted_rows_is_that_of_the_rows_they_stand_for(sampled, name):
    metric = HEAD.metrics_under(POLICY)[name]
    few, all_rows = sampled
    tolerance = 5e-3 if name == "calibration_error" else 1e-9  # its bins may cut within a row
    assert metric(few) == pytest.approx(metric(all_rows), abs=tolerance)
    assert metric(few) != pytest.approx(metric(few._replace(weights=None)), abs=1e-6)


def test_a_policy_s_queue_holds_as_many_cases_as_there_are_hands_for(sampled):
    few, all_rows = sampled
    capacity = {"daily_review_capacity": 20, "daily_volume": 100}
    of_few, of_all, unweighted = (
        fit_policy(POLICY.costs, of.probabilities[:, 0], of.weights, **capacity)
        for of in (few, all_rows, few._replace(weights=None))
    )
    waiting = few.probabilities[:, 0] >= of_few.review_threshold
    waiting &= few.probabilities[:, 0] < of_few.decline_threshold
    assert few.weights[waiting].sum() <= 0.2 * few.weights.sum()
    assert of_few.review_threshold == pytest.approx(of_all.review_threshold, abs=0.01)
    assert of_few.review_threshold != unweighted.review_threshold


def test_calibration_brings_back_the_rate_before_negatives_were_left_out():
    draw = np.random.default_rng(1)
    labels = (draw.random(20_000) < 0.02).astype(float)
    logits = 2.0 * labels + draw.normal(0, 1, 20_000)
    kept = (labels == 1) | (draw.random(20_000) < 0.1)
    weights = np.where(labels[kept] == 1, 1.0, 10.0)
    a, b, c = fit_calibration(logits[kept], labels[kept], weights)
    odds = a * logits + (b - a) * np.logaddexp(0, logits) + c
    assert (1 / (1 + np.exp(-odds))).mean() == pytest.approx(labels.mean(), rel=0.1)


def test_counts_and_groups_obey(sampled):
    few, all_rows = sampled
    facts, expected = (decision_facts({"own": of}, POLICY) for of in (few, all_rows))
    assert facts["own"]["actions"] == expected["own"]["actions"]
    assert facts["own"]["cost_per_case"] == pytest.approx(expected["own"]["cost_per_case"])
    table = pa.table({"sex": ["f", "m"] * 300})
    (first, _) = subgroup_figures(table, ("sex",), few, POLICY, "recall")["sex"]
    mass = few.weights[np.array(table["sex"].to_pylist()) == first["group"]]
    assert first["num_rows"] == 300
    assert mass.sum() == 600.0
    is_first = np.array(table["sex"].to_pylist()) == first["group"]
    is_ill = is_first & (few.labels[:, 0] == 1)
    is_found = few.probabilities[:, 0] >= POLICY.review_threshold
    expected = np.average(is_found[is_ill], weights=few.weights[is_ill])
    assert first["recall"] == pytest.approx(expected)


def test_the_weight_is_a_role_of_a_table_s_decisions(tmp_path):
    table = rows(300).append_column("w", pa.array([1.0, 10.0, 5.0] * 100))
    corpus = open_corpus(TASK, table, storage=str(tmp_path), roles=Roles(weight="w"))
    columns = infer_columns(corpus, TASK)
    assert "w" not in {field.name for field in columns.features}
    assert "w" in {field.name for field in columns.carried}
    with pytest.raises(InputError, match="no column 'v'"):
        open_corpus(TASK, table, storage=str(tmp_path), roles=Roles(weight="v"))
    quality = find("manufacturing/quality_control")
    with pytest.raises(InputError, match="where a table's decisions are learned, .* single_label"):
        open_corpus(
            dataclasses.replace(quality, label="y"),
            table,
            storage=str(tmp_path),
            roles=Roles(weight="w"),
        )
