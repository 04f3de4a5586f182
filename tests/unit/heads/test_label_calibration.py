import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

from spt_core.heads.label_calibration import fit_label_calibration

DRAW = np.random.default_rng(0)


def one_hot(chosen, size):
    return np.eye(size)[chosen]


def test_a_softmax_that_is_too_sure_is_cooled():
    logits = DRAW.normal(size=(4000, 3))
    spread = np.exp(log_softmax(logits, axis=1))
    chosen = np.array([DRAW.choice(3, p=p) for p in spread])
    scale, shift = fit_label_calibration("single_label", 3.0 * logits, one_hot(chosen, 3))
    assert scale == pytest.approx([1 / 3] * 3, rel=0.1)
    assert not shift.any()


def test_each_label_gets_its_own_base_rate_back():
    logits = DRAW.normal(size=(4000, 2))
    labels = (DRAW.random((4000, 2)) < expit(logits + [-2.0, 1.0])).astype(float)
    scale, shift = fit_label_calibration("multi_label", logits, labels)
    assert scale == pytest.approx([1.0, 1.0], rel=0.1)
    assert shift == pytest.approx([-2.0, 1.0], abs=0.2)


def test_a_label_without_positives_moves_little():
    logits = DRAW.normal(size=(200, 2)) - 3
    labels = np.column_stack([DRAW.random(200) < expit(logits[:, 0]), np.zeros(200)])
    _, shift = fit_label_calibration("multi_label", logits, labels)
    assert -3 < shift[1] < 0


WEIGHTS = np.array([0.4, 2.0, 10.0])


def weighted(num_rows):
    """(logits, targets, probabilities) of a network that learned under WEIGHTS; it is too sure."""
    truth = DRAW.normal(size=(num_rows, 3)) + [3.0, 1.0, -1.0]
    spread = softmax(truth, axis=1)
    chosen = np.array([DRAW.choice(3, p=p) for p in spread])
    return 1.5 * (truth + np.log(WEIGHTS)), one_hot(chosen, 3), spread


def test_weights_of_classes_are_taken_back():
    logits, targets, spread = weighted(4000)
    scale, shift = fit_label_calibration("single_label", logits, targets, WEIGHTS)
    given = softmax(logits * scale + shift, axis=1)
    assert given.mean(0) == pytest.approx(targets.mean(0), abs=0.01)
    assert np.abs(given - spread).mean() < 0.02


def test_few_rows_leave_to_the_weights_what_is_taken_back():
    logits, targets, _ = weighted(10)
    _, shift = fit_label_calibration("pair", logits, targets, WEIGHTS)
    assert shift == pytest.approx(-np.log(WEIGHTS), abs=1.0)
    _, untold = fit_label_calibration("pair", logits, 0.0 * targets, WEIGHTS)
    assert untold == pytest.approx(-np.log(WEIGHTS))


@pytest.mark.parametrize("head", ["regression", "pair"])
def test_what_cannot_be_calibrated_stays_as_it_is(head):
    scale, shift = fit_label_calibration(head, np.zeros((5, 2)), np.zeros((5, 2)))
    assert scale.tolist() == [1.0, 1.0]
    assert shift.tolist() == [0.0, 0.0]
