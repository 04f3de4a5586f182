"""What several releases about the same rows tell together, by Opacus's accountant of Renyi DP.

releases -> epsilon at a delta; a budget -> the noise that spends it

Each release is a Gaussian mechanism of a noise multiplier, on rows sampled with a rate (Abadi et
al., "Deep Learning with Differential Privacy", 2016; Mironov, "Renyi Differential Privacy", 2017;
Mironov, Talwar and Zhang, "Renyi Differential Privacy of the Sampled Gaussian Mechanism", 2019).
What is rho-zCDP (Bun and Steinke, "Concentrated Differential Privacy", 2016) has the same Renyi
divergences as a Gaussian mechanism of noise 1 / sqrt(2 rho), and is counted as that.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

from opacus.accountants import RDPAccountant

from spt_core.errors import InputError
from spt_core.fitting.privacy import PrivateSteps, Release

ACCOUNTANT = "Renyi DP"
# Orders at which divergences are bounded; whole ones, whose formula is exact and quick.
ORDERS = (*range(2, 65), 72, 80, 96, 128, 192, 256, 384, 512)
MAX_NOISE = 1e5
_PRECISION = 1e-3  # of a noise multiplier, which is rounded up


def spent(releases: Sequence[Release], delta: float) -> float:
    """Epsilon of all releases together at a delta; 0 of none."""
    accountant = RDPAccountant()
    accountant.history = list(releases)
    with warnings.catch_warnings():  # an order at the end of the range is a bound as well
        warnings.filterwarnings("ignore", "Optimal order is the")
        return float(accountant.get_epsilon(delta, alphas=list(ORDERS)))


def noise_for(
    epsilon: float, delta: float, releases: Callable[[float], Sequence[Release]]
) -> float:
    """The least noise multiplier, within a thousandth, whose `releases` spend at most epsilon.

    InputError where none is enough.
    """
    low, high = 0.0, 1.0
    while spent(releases(high), delta) > epsilon:
        low, high = high, 2 * high
        if high > MAX_NOISE:
            raise InputError(
                f"privacy.epsilon must leave something to learn at delta {delta:g}, however: "
                f"{epsilon:g} does not, with any noise"
            )
    while high - low > _PRECISION * high:
        middle = (low + high) / 2
        if spent(releases(middle), delta) > epsilon:
            low = middle
        else:
            high = middle
    return high


def rho_of(noise: float) -> float:
    """The zCDP of a Gaussian mechanism of that noise multiplier."""
    return 1 / (2 * noise**2)


def release_of(rho: float) -> Release:
    """What is rho-zCDP, as the accountant counts it."""
    return 1 / math.sqrt(2 * rho), 1.0, 1


def private_steps(
    epsilon: float,
    delta: float,
    *,
    num_rows: int,
    batch_size: int,
    num_epochs: int,
    max_grad_norm: float,
    released: tuple[Release, ...] = (),
) -> PrivateSteps:
    """The training that spends what `released` left of the budget, by the least noise."""
    steps_per_epoch = math.ceil(num_rows / batch_size)
    steps, rate = num_epochs * steps_per_epoch, min(batch_size / num_rows, 1.0)
    noise = noise_for(epsilon, delta, lambda noise: (*released, (noise, rate, steps)))
    return PrivateSteps(
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        sampling_rate=rate,
        noise_multiplier=noise,
        max_grad_norm=max_grad_norm,
        released=released,
    )
