import numpy as np
import pytest
from scipy.special import expit

from spt_core.heads.beta import IDENTITY, apply_calibration, fit_calibration


def cases(num_rows, distort=lambda odds: odds, seed=0):
    """Logits that a model would give, and labels drawn at the true odds."""
    draw = np.random.default_rng(seed)
    odds = draw.normal(-1.0, 2.0, num_rows)
    return distort(odds), (draw.random(num_rows) < expit(odds)).astype(float)


def test_the_identity_changes_nothing():
    logits = np.linspace(-20, 20, 41)
    np.testing.assert_allclose(apply_calibration(logits, IDENTITY), logits, atol=1e-12)


def test_the_formula_is_that_of_beta_calibration():
    logits, (a, b, c) = np.linspace(-5, 5, 11), (0.7, 1.3, 0.4)
    p = expit(logits)
    expected = a * np.log(p) - b * np.log(1 - p) + c
    np.testing.assert_allclose(apply_calibration(logits, (a, b, c)), expected)


def test_calibrated_logits_stay_as_they_are():
    assert fit_calibration(*cases(50_000)) == pytest.approx(IDENTITY, abs=0.05)


def test_a_known_distortion_is_undone():
    found = fit_calibration(*cases(50_000, lambda odds: 2.0 * odds + 1.0))
    assert found[:2] == pytest.approx((0.5, 0.5), abs=0.04)
    assert found[2] == pytest.approx(-0.5, abs=0.06)


def test_few_rows_stay_near_the_identity():
    logits, labels = cases(6)
    a, b, _ = fit_calibration(logits, labels)
    assert 0.2 < a < 5
    assert 0.2 < b < 5


def test_the_order_of_cases_never_changes():
    logits, labels = cases(500, lambda odds: odds**3)
    fitted = apply_calibration(np.sort(logits), fit_calibration(logits, labels))
    assert (np.diff(fitted) >= 0).all()


def test_only_one_class_gives_finite_numbers():
    parameters = fit_calibration(np.linspace(-3, 3, 50), np.zeros(50))
    assert np.isfinite(parameters).all()
