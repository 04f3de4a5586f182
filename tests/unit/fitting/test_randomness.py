"""Noise of the operating system: distributed as it should be, and never the same again."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import kstest

from spt_core.fitting.randomness import drawn, gaussian, uniform


def test_numbers_are_as_the_distribution_asks():
    assert kstest(gaussian(20_000), "norm").pvalue > 1e-6
    assert kstest(uniform(20_000), "uniform").pvalue > 1e-6
    assert 0 < uniform(100_000).min() < uniform(100_000).max() < 1


def test_no_seed_brings_a_noise_back():
    draws = []
    for _ in range(2):
        np.random.seed(0)
        torch.manual_seed(0)
        draws.append(gaussian(5))
    assert not np.array_equal(*draws)


def test_each_row_is_drawn_by_itself():
    sizes = [len(drawn(1000, 0.1)) for _ in range(50)]
    assert 90 < np.mean(sizes) < 110
    assert np.std(sizes) > 3
    assert len(drawn(1000, 1.0)) == 1000
