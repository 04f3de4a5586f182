"""What releases cost together, by hand and by Opacus, and the noise that a budget asks for."""

from __future__ import annotations

import math

import pytest

from spt_core.errors import InputError
from spt_core.fitting.accounting import (
    ORDERS,
    noise_for,
    private_steps,
    release_of,
    rho_of,
    spent,
)

DELTA = 1e-5


def by_hand(rho: float, delta: float = DELTA) -> float:
    """Epsilon of what is rho-zCDP: Balle et al. 2020, Theorem 21, at the best of the orders."""
    return min(
        rho * a + math.log((a - 1) / a) - (math.log(delta) + math.log(a)) / (a - 1) for a in ORDERS
    )


def test_steps_on_all_rows_cost_what_gaussian_mechanisms_do():
    noise, steps = 8.0, 10  # each has an order-a divergence of a / (2 * 64)
    assert spent([(noise, 1.0, steps)], DELTA) == pytest.approx(by_hand(steps / 128), rel=1e-12)
    # At order 12: 12 * 10 / 128 + ln(11 / 12) + (ln(1e5) - ln(12)) / 11.
    assert spent([(noise, 1.0, steps)], DELTA) == pytest.approx(1.6712, abs=1e-4)


def test_what_is_released_of_encodings_and_network_adds_up_in_zcdp():
    encodings, network = release_of(0.02), release_of(0.05)
    assert spent([encodings, network], DELTA) == pytest.approx(by_hand(0.07), rel=1e-9)
    assert rho_of(encodings[0]) == pytest.approx(0.02)
    assert spent([], DELTA) == 0


def test_a_row_that_is_seldom_drawn_costs_less():
    assert spent([(2.0, 0.05, 100)], DELTA) < spent([(2.0, 1.0, 100)], DELTA) / 5


@pytest.mark.parametrize("epsilon", [0.3, 3.0, 20.0])
def test_no_more_is_spent_than_was_asked_and_hardly_less(epsilon):
    noise = noise_for(epsilon / 4, DELTA, lambda noise: [(noise, 1.0, 1)])
    steps = private_steps(
        epsilon,
        DELTA,
        num_rows=1000,
        batch_size=100,
        num_epochs=3,
        max_grad_norm=1.0,
        released=((noise, 1.0, 1),),
    )
    assert (steps.steps, steps.steps_per_epoch, steps.sampling_rate) == (30, 10, 0.1)
    assert 0.98 * epsilon < spent(steps.history, DELTA) <= epsilon


def test_a_budget_that_no_noise_keeps_is_refused():
    with pytest.raises(InputError, match=r"must leave something to learn at delta 1e-05"):
        noise_for(0.001, DELTA, lambda noise: [(noise, 0.1, 100)])
