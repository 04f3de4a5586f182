import math

import numpy as np
import pytest

from spt_core.metrics import (
    METRICS,
    average_precision,
    bootstrap_interval,
    calibration_error,
    log_score,
    recall_at_fpr,
    roc_auc,
)

LABELS = np.array([1.0, 0.0, 1.0, 0.0])
SCORES = np.array([0.9, 0.8, 0.7, 0.1])


def noisy(num_rows, seed=0):
    draw = np.random.default_rng(seed)
    probabilities = draw.random(num_rows)
    return (draw.random(num_rows) < probabilities).astype(float), probabilities


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


@pytest.mark.parametrize("name", sorted(METRICS))
def test_the_interval_holds_the_value_and_is_repeatable(name):
    labels, probabilities = noisy(500)
    low, high = bootstrap_interval(METRICS[name], labels, probabilities, num_resamples=40)
    assert low < high
    assert (low, high) == bootstrap_interval(METRICS[name], labels, probabilities, num_resamples=40)
    if name != "calibration_error":  # biased upwards by resampling
        assert low <= METRICS[name](labels, probabilities) <= high


def test_groups_of_equal_rows_widen_the_interval():
    labels, probabilities = noisy(60)
    groups = np.repeat(np.arange(60), 10)
    labels, probabilities = np.repeat(labels, 10), np.repeat(probabilities, 10)

    def width(interval):
        return interval[1] - interval[0]

    apart = width(bootstrap_interval(roc_auc, labels, probabilities))
    together = width(
        bootstrap_interval(roc_auc, labels, probabilities, groups=groups, num_resamples=40)
    )
    assert together > 2 * apart


def test_groups_of_one_row_each_are_no_groups():
    labels, probabilities = noisy(100)
    alone = bootstrap_interval(
        roc_auc, labels, probabilities, groups=np.arange(100), num_resamples=40
    )
    assert alone == bootstrap_interval(roc_auc, labels, probabilities, num_resamples=40)


def test_a_rare_class_is_drawn_again_until_it_is_there():
    labels = np.zeros(50)
    labels[0] = 1.0
    low, high = bootstrap_interval(roc_auc, labels, np.linspace(1, 0, 50), num_resamples=20)
    assert (low, high) == pytest.approx((1.0, 1.0))
