import numpy as np
import pyarrow as pa
import pytest

from spt_core.benchmark.subgroups import subgroup_figures, subgroup_metrics
from spt_core.heads import HEADS
from spt_core.heads.binary import decided
from spt_core.heads.outcomes import outcomes
from spt_core.policy import Costs, DecisionPolicy

POLICY = DecisionPolicy(
    costs=Costs(missed_positive=10.0, false_alarm=1.0, review=0.5),
    review_threshold=0.5,
    decline_threshold=0.9,
)


def figures(column, values, probabilities, labels=None, compared="approval_rate"):
    labels = np.arange(len(values)) % 2 * 1.0 if labels is None else labels
    table = pa.table({column: values})
    of = decided(labels[:, None], np.asarray(probabilities)[:, None], POLICY)
    return subgroup_figures(table, (column, "absent"), of, POLICY, compared)


def groups(rows):
    return {row["group"]: row for row in rows}


def test_the_impact_ratio_is_the_approval_rate_over_the_best_group_s():
    values = ["a"] * 100 + ["b"] * 100
    probabilities = [0.1] * 80 + [0.6] * 20 + [0.1] * 40 + [0.95] * 60
    found = groups(figures("sex", values, probabilities)["sex"])
    assert found["a"]["approval_rate"] == pytest.approx(0.8)
    assert found["a"]["impact_ratio"] == 1.0
    assert found["b"]["impact_ratio"] == pytest.approx(0.5)


def test_where_approval_is_no_benefit_groups_are_compared_by_the_positives_that_are_found():
    """Men are ill thrice as often and tested thrice as often; of the ill as many are found."""
    values = ["man"] * 200 + ["woman"] * 200
    probabilities = [0.95] * 120 + [0.1] * 80 + [0.95] * 45 + [0.1] * 155
    labels = np.array([1.0] * 108 + [0] * 12 + [1] * 12 + [0] * 68, float)
    labels = np.concatenate([labels, [1.0] * 45 + [1] * 15 + [0] * 140])
    found = groups(figures("sex", values, probabilities, labels, "recall")["sex"])
    assert found["man"]["recall"] == pytest.approx(0.9)
    assert found["woman"]["recall"] == pytest.approx(0.75)
    assert found["man"]["impact_ratio"] == 1.0
    assert found["woman"]["impact_ratio"] == pytest.approx(0.75 / 0.9)
    by_approval = groups(figures("sex", values, probabilities, labels)["sex"])
    assert by_approval["man"]["impact_ratio"] == pytest.approx(0.4 / 0.775)


def test_of_many_groups_one_is_behind_beyond_chance_only_where_the_gap_is_large():
    values = np.repeat([f"g{number}" for number in range(8)], 100).tolist()

    def behind(*approved):
        """The groups of 100 rows that are behind others, of so many approved."""
        rows = [0.1 if row < count else 0.95 for count in approved for row in range(100)]
        found = groups(figures("sex", values, rows)["sex"])
        return {name for name, row in found.items() if row["beyond_chance"]}, found

    by_chance, found = behind(67, 53, 60, 60, 60, 60, 60, 60)
    assert found["g1"]["impact_ratio"] == pytest.approx(53 / 67)  # below four fifths
    assert by_chance == set()
    assert behind(60, 25, 60, 60, 60, 60, 60, 60)[0] == {"g1"}


def test_a_recall_of_few_positives_is_told_and_not_compared():
    values, labels = ["a"] * 100 + ["b"] * 100, np.zeros(200)
    labels[:60], labels[100:149] = 1.0, 1.0
    found = groups(figures("sex", values, [0.95] * 200, labels, "recall")["sex"])
    assert found["b"]["recall"] == 1.0
    assert found["a"]["impact_ratio"] is found["b"]["impact_ratio"] is None


def test_a_column_that_is_not_there_has_no_figures():
    assert set(figures("sex", ["a"] * 60, [0.1] * 60)) == {"sex"}


def test_a_group_of_few_rows_is_left_out():
    assert set(groups(figures("sex", ["a"] * 60 + ["b"] * 49, [0.1] * 109)["sex"])) == {"a"}


def test_missing_values_are_a_group():
    assert set(groups(figures("sex", ["a"] * 60 + [None] * 60, [0.1] * 120)["sex"])) == {
        "a",
        "missing",
    }


def test_ages_are_cut_where_the_regulation_cuts_them():
    ages = np.tile(np.arange(20, 80), 10)
    found = groups(figures("age", ages, np.full(600, 0.1))["age"])
    assert len(found) == 4
    assert sum(row["num_rows"] for row in found.values()) == 600
    assert any("62" in name for name in found)


def test_a_group_of_one_class_has_no_auc():
    found = figures("sex", ["a"] * 60, [0.1] * 60, labels=np.zeros(60))["sex"]
    assert found[0]["roc_auc"] is None
    assert found[0]["base_rate"] == 0.0


def test_a_group_by_itself_has_no_ratio():
    assert figures("sex", ["a"] * 60 + ["b"] * 49, [0.1] * 109)["sex"][0]["impact_ratio"] is None


def test_without_any_approval_there_is_no_ratio():
    assert figures("sex", ["a", "b"] * 60, [0.99] * 120)["sex"][0]["impact_ratio"] is None


def test_classes_have_the_metrics_of_their_head_in_each_group():
    labels = np.eye(3)[np.arange(120) % 3]
    wrong = np.roll(labels, 1, axis=1)
    answers = np.concatenate([labels[:60], wrong[60:]])
    of = outcomes(("a", "b", "c"), labels, answers, answers)
    table = pa.table({"shift": ["day"] * 60 + ["night"] * 60})
    figures = groups(
        subgroup_metrics(table, ("shift", "absent"), of, HEADS["single_label"].metrics)["shift"]
    )
    assert (figures["day"]["num_rows"], figures["day"]["accuracy"]) == (60, 1.0)
    assert figures["night"]["accuracy"] == 0.0


def test_a_metric_that_a_group_does_not_define_is_none():
    labels = np.zeros((60, 1))
    of = outcomes((), labels, labels + 1, np.array([[-1.0, 1.0]] * 60))
    table = pa.table({"shift": ["day"] * 60})
    (row,) = subgroup_metrics(table, ("shift",), of, HEADS["regression"].metrics)["shift"]
    assert row["rmse"] == 1.0
    assert row["r2"] is None
