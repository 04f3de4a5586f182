import dataclasses
import functools
import math
from typing import get_args

import numpy as np
import pytest

from spt_core.errors import InputError
from spt_core.heads import HEADS, LOWER_IS_BETTER, metric_of
from spt_core.heads.binary import YES, cost_metric
from spt_core.heads.forecasts import LEVELS
from spt_core.heads.metrics import (
    average_precision,
    calibration_error,
    class_figures,
    log_score,
    macro_f1,
    recall_at_fpr,
    roc_auc,
)
from spt_core.heads.outcomes import OutcomeMetric, interval, outcomes, values_of
from spt_core.policy import Costs, DecisionPolicy
from spt_core.task import Head
from tests.tiny_models import text_task

LABELS = np.array([1.0, 0.0, 1.0, 0.0])
SCORES = np.array([0.9, 0.8, 0.7, 0.1])


def noisy(num_rows, seed=0):
    draw = np.random.default_rng(seed)
    probabilities = draw.random(num_rows)
    return (draw.random(num_rows) < probabilities).astype(float), probabilities


def decisions(labels, probabilities, groups=None):
    """Outcomes of yes and no, as the metrics of decisions take them."""
    given = probabilities[:, None] > 0.5
    return outcomes((YES,), labels[:, None], probabilities[:, None], given, groups=groups)


RANKING = HEADS["binary"].metrics["roc_auc"]


def test_average_precision_by_hand():
    assert average_precision(LABELS, SCORES) == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_roc_auc_by_hand():
    assert roc_auc(LABELS, SCORES) == pytest.approx(3 / 4)


def test_recall_at_fpr_by_hand():
    assert recall_at_fpr(LABELS, SCORES, fpr=0.0) == pytest.approx(0.5)
    assert recall_at_fpr(LABELS, SCORES, fpr=0.5) == pytest.approx(1.0)


def test_tied_scores_cannot_be_separated():
    assert recall_at_fpr(np.array([1.0, 0.0]), np.array([0.5, 0.5]), fpr=0.01) == 0.0


def test_log_loss_by_hand():
    expected = -(math.log(0.9) + math.log(0.2) + math.log(0.7) + math.log(0.9)) / 4
    assert log_score(LABELS, SCORES) == pytest.approx(expected)


def test_log_loss_of_certainty_is_finite():
    assert math.isfinite(log_score(np.array([1.0, 0.0]), np.array([0.0, 1.0])))


def test_calibration_error_by_hand():
    expected = (2 * abs(0.5 - 0.4) + 2 * abs(0.5 - 0.85)) / 4
    assert calibration_error(LABELS, SCORES, num_bins=2) == pytest.approx(expected)


def test_calibrated_probabilities_have_a_small_error_and_shifted_ones_a_large_one():
    labels, probabilities = noisy(20_000)
    assert calibration_error(labels, probabilities) < 0.02
    assert calibration_error(labels, probabilities**2) > 0.1


@pytest.mark.parametrize("name", sorted(HEADS["binary"].metrics))
def test_the_interval_holds_the_value_and_is_repeatable(name):
    metric, of = HEADS["binary"].metrics[name], decisions(*noisy(500))
    low, high = interval(metric, of, num_resamples=40)
    assert low < high
    assert (low, high) == interval(metric, of, num_resamples=40)
    if name != "calibration_error":  # biased upwards by resampling
        assert low <= metric(of) <= high


def test_the_metrics_of_decisions_are_those_of_labels_and_probabilities():
    of, found = decisions(LABELS, SCORES), HEADS["binary"].metrics
    assert found["average_precision"](of) == average_precision(LABELS, SCORES)
    assert found["roc_auc"](of) == roc_auc(LABELS, SCORES)
    assert found["recall_at_fpr_1pct"](of) == recall_at_fpr(LABELS, SCORES)
    assert found["calibration_error"](of) == calibration_error(LABELS, SCORES)
    assert found["log_loss"](of) == log_score(LABELS, SCORES)


@pytest.mark.parametrize("name", sorted(HEADS["binary"].metrics))
def test_decisions_of_one_class_have_no_figure(name):
    metric = HEADS["binary"].metrics[name]
    assert math.isnan(metric(decisions(np.ones(4), SCORES)))
    assert math.isnan(metric(decisions(np.zeros(4), SCORES)))


def test_a_policy_s_costs_are_a_metric():
    policy = DecisionPolicy(
        costs=Costs(missed_positive=10.0, false_alarm=4.0, review=1.0),
        review_threshold=0.2,
        decline_threshold=0.75,
    )
    metric = HEADS["binary"].metrics_under(policy)["cost_per_case_USD"]
    assert metric.lower_is_better
    assert metric(decisions(LABELS, SCORES)) == pytest.approx((0 + 4 + 1 + 0) / 4)
    assert cost_metric(policy)(decisions(np.ones(1), np.zeros(1))) == 10.0


def test_groups_of_equal_rows_widen_the_interval():
    labels, probabilities = noisy(60)
    groups = np.repeat(np.arange(60), 10)
    labels, probabilities = np.repeat(labels, 10), np.repeat(probabilities, 10)

    def width(of):
        low, high = interval(RANKING, of, num_resamples=40)
        return high - low

    apart = width(decisions(labels, probabilities))
    together = width(decisions(labels, probabilities, groups))
    assert together > 2 * apart


def test_groups_of_one_row_each_are_no_groups():
    labels, probabilities = noisy(100)
    alone = interval(
        RANKING, decisions(labels, probabilities, np.arange(100)[::-1]), num_resamples=40
    )
    assert alone == interval(RANKING, decisions(labels, probabilities), num_resamples=40)


def test_a_rare_class_is_drawn_again_until_it_is_there():
    labels = np.zeros(50)
    labels[0] = 1.0
    of = decisions(labels, np.linspace(1, 0, 50))
    assert interval(RANKING, of, num_resamples=20) == pytest.approx((1.0, 1.0))


CLASSES = ("none", "a", "b")
TRUE = np.eye(3)[[0, 0, 1, 1, 2, 2]]
GIVEN = np.eye(3)[[0, 1, 1, 1, 2, 0]]  # a: 2 of 3 right; b: 1 of 2 found


def six(**changes):
    return outcomes(CLASSES, TRUE, 0.8 * GIVEN + 0.2 / 3, GIVEN, **changes)


def value(head, name, of):
    return HEADS[head].metrics[name](of)


def test_every_head_has_metrics():
    assert set(HEADS) == set(get_args(Head))
    assert all(head.metrics for head in HEADS.values())


def test_a_task_is_measured_by_a_metric_of_its_head():
    task = text_task("ordinal")
    assert metric_of(task) is HEADS["ordinal"].metrics["micro_f1"]
    with pytest.raises(InputError, match="one of mean_rank_error, .* names 'rmse'"):
        metric_of(dataclasses.replace(task, metric="rmse"))


def test_f1_of_labels_by_hand():
    of = six(negative_class="none")
    assert value("pair", "micro_f1", of) == pytest.approx(2 * 3 / (4 + 4))
    assert value("pair", "macro_f1", of) == pytest.approx((2 * 2 / 5 + 2 * 1 / 3) / 2)
    assert value("pair", "any_label_f1", of) == pytest.approx(2 * 3 / (4 + 4))
    assert value("single_label", "accuracy", of) == pytest.approx(4 / 6)
    assert value("single_label", "micro_f1", six()) == pytest.approx(4 / 6)


def test_rare_classes_can_be_left_out_of_the_mean():
    of = outcomes(CLASSES, TRUE[:5], GIVEN[:5], GIVEN[:5])
    assert macro_f1(of, min_support=2) == pytest.approx((2 * 1 / 3 + 2 * 2 / 5) / 2)
    assert math.isnan(value("single_label", "macro_f1_frequent", of))
    assert set(values_of(HEADS["single_label"].metrics, of)) == {
        "macro_f1",
        "micro_f1",
        "accuracy",
        "log_loss",
    }


def test_ranks_and_values_by_hand():
    assert value("ordinal", "mean_rank_error", six()) == pytest.approx((1 + 2) / 6)
    true, found = np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [2.0], [5.0]])
    of = outcomes(("value",), true, found, np.hstack([found - 1.0, found + 1.0]))
    assert value("regression", "rmse", of) == pytest.approx(math.sqrt(4 / 3))
    assert value("regression", "mae", of) == pytest.approx(2 / 3)
    assert value("regression", "r2", of) == pytest.approx(1 - 4 / 2)
    assert value("regression", "interval_coverage", of) == pytest.approx(2 / 3)
    assert value("regression", "interval_width", of) == 2.0


def test_log_losses_by_hand():
    of = outcomes(("a", "b"), np.array([[1.0, 0.0]]), np.array([[0.8, 0.2]]), np.array([[1, 0]]))
    assert value("single_label", "log_loss", of) == pytest.approx(-math.log(0.8))
    assert value("multi_label", "log_loss", of) == pytest.approx(-math.log(0.8))


def test_each_class_has_its_figures():
    none, a, b = class_figures(six())
    assert (none["support"], a["support"], b["support"]) == (2, 2, 2)
    assert (a["precision"], a["recall"]) == pytest.approx((2 / 3, 1.0))
    assert (b["precision"], b["recall"]) == pytest.approx((1.0, 0.5))
    empty = class_figures(outcomes(("a",), np.zeros((2, 1)), np.zeros((2, 1)), np.zeros((2, 1))))
    assert empty == [{"label": "a", "support": 0, "precision": None, "recall": None, "f1": None}]


def noisy_outcomes(num_items=300, **changes):
    draw = np.random.default_rng(0)
    true = np.eye(3)[draw.integers(0, 3, num_items)]
    wrong = np.eye(3)[draw.integers(0, 3, num_items)]
    given = np.where(draw.random((num_items, 1)) < 0.7, true, wrong)
    return outcomes(CLASSES, true, 0.8 * given + 0.2 / 3, given, **changes)


def noisy_values(num_items=300):
    draw = np.random.default_rng(0)
    true, noise = draw.normal(size=(num_items, 1)), draw.normal(size=(num_items, 1))
    found, wide = true + noise / 2, draw.random((num_items, 1))
    return outcomes(("value",), true, found, np.hstack([found - wide, found + wide]))


def noisy_readings(num_items=900):
    """Three units' scores, of which one in five readings is anomalous, in stretches of ten."""
    draw, flags = np.random.default_rng(0), np.tile(np.arange(50) < 10, num_items // 50)
    true, scores = flags[:, None].astype(float), draw.random((num_items, 1))
    scores = scores + true * draw.random((num_items, 1))
    of = outcomes(("anomaly",), true, scores, scores > 0.98, groups=np.repeat(np.arange(3), 300))
    return of._replace(times=60.0 * np.tile(np.arange(300), 3))


def noisy_forecasts(num_items=300):
    """What came in two steps, and quantiles of it that are too low by a little."""
    draw = np.random.default_rng(0)
    true = draw.poisson(4.0, (num_items, 2)).astype(float)
    levels = np.quantile(draw.poisson(4.0, 10_000), LEVELS) - 0.5
    given = np.tile(levels, (num_items, 2))
    return outcomes(("1", "2"), true, np.full((num_items, 2), 3.5), given)


NOISY = {
    "regression": noisy_values,
    "anomalies": noisy_readings,
    "forecasts": noisy_forecasts,
}


@pytest.mark.parametrize("head", [head for head in HEADS if head != "binary"])
def test_every_metric_lies_in_its_repeatable_interval(head):
    usual = functools.partial(noisy_outcomes, negative_class="none")
    of = NOISY.get(head, usual)()
    for name, metric in HEADS[head].metrics.items():
        low, high = interval(metric, of, num_resamples=60)
        assert low <= metric(of) <= high, name
        assert (low, high) == interval(metric, of, num_resamples=60)


def test_documents_are_resampled_whole():
    of = noisy_outcomes(num_items=100)
    together = of.take(np.repeat(np.arange(100), 8))

    def width(of):
        low, high = interval(OutcomeMetric(macro_f1), of, num_resamples=60)
        return high - low

    assert width(together) == pytest.approx(width(of), rel=0.3)  # eight copies tell nothing new
    assert width(together) > 2 * width(together._replace(groups=np.arange(800)))


def test_what_is_lower_when_better_is_named():
    of_decisions = {"calibration_error", "log_loss"}
    of_values = {"rmse", "mae", "interval_width"}
    of_alarms = {"false_alarms_per_day", "detection_delay_readings"}
    of_forecasts = {"quantile_loss", "scaled_quantile_loss", "service_shortfall"}
    of_others = {"mean_rank_error", *of_alarms, *of_forecasts}
    assert of_decisions | of_values | of_others == LOWER_IS_BETTER
