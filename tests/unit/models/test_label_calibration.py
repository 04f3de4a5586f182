import numpy as np
import pytest
from scipy.special import expit, log_softmax

from spt_core.models.label_calibration import fit_label_calibration

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


@pytest.mark.parametrize("head", ["regression", "pair"])
def test_what_cannot_be_calibrated_stays_as_it_is(head):
    scale, shift = fit_label_calibration(head, np.zeros((5, 2)), np.zeros((5, 2)))
    assert scale.tolist() == [1.0, 1.0]
    assert shift.tolist() == [0.0, 0.0]
