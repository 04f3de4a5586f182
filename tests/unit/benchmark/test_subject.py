"""Shares of random draws that a figure is above."""

import numpy as np
import pytest

from spt_core.benchmark.subject import beaten_shares


def test_a_figure_beats_the_draws_below_it_and_half_of_those_that_are_alike():
    own, drawn = np.array([2.0, 0.0, 1.0]), np.array([[1.0, 0.0, 2.0], [2.0, 0.0, 3.0]])
    assert beaten_shares(own, drawn).tolist() == [0.75, 0.5, 0.0]


@pytest.mark.parametrize("of", ["uniform", "exponential", "lognormal", "pareto", "rare"])
def test_reasons_named_at_random_score_a_half_however_answers_move(of):
    draw = np.random.default_rng(0)
    figures = {
        "uniform": lambda size: draw.random(size),
        "exponential": lambda size: draw.exponential(size=size),
        "lognormal": lambda size: draw.lognormal(0.0, 2.0, size),
        "pareto": lambda size: draw.pareto(1.0, size),
        "rare": lambda size: (draw.random(size) < 0.1) * draw.random(size),
    }[of]((6, 20_000))
    # Ranks among six have a standard deviation of 0.34: a standard error of 0.0024.
    assert beaten_shares(figures[0], figures[1:]).mean() == pytest.approx(0.5, abs=0.01)
    is_above_mean = (figures[0] > figures[1:].mean(0)).mean()
    assert of == "uniform" or is_above_mean < 0.45
