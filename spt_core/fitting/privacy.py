"""What differential privacy is asked of a training, and what was released: no torch, no opacus.

PrivacyConfig + training rows -> PrivateSteps (how the network is trained)

Differential privacy: Dwork and Roth, "The Algorithmic Foundations of Differential Privacy" (2014).
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Mapping

from spt_core.errors import InputError, MissingPackageError

USUAL_DELTA = 0.1  # of 1 / training rows: to give whole rows away at random has a delta of 1 / rows
REASONABLE_EPSILON = 10.0  # the most that Ponomareva et al. call a reasonable guarantee
# Noise multiplier, sampling rate, how many times, as Opacus keeps them.
Release = tuple[float, float, int]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PrivacyConfig:
    """How much a model may tell of one training row (families/tabular/private_teaching.py).

    Attributes:
        epsilon: the whole budget, of encodings and network together; None trains without privacy.
        delta: chance that epsilon does not hold; None takes a tenth of 1 / training rows.
        max_grad_norm: the L2 norm that each row's gradient is clipped to.
        encoding_share: share of epsilon that the encodings spend, were nothing else released; the
            network has more than the rest, as budgets compose better than they add up.
        ranges: `FIELD:LEAST:GREATEST`, what is public of a number; one whose task states a minimum
            and a maximum needs none. A range spends no budget: tables of few rows need them.
    """

    epsilon: float | None = None
    delta: float | None = None
    max_grad_norm: float = 1.0
    encoding_share: float = 0.25
    ranges: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no budget, and settings of privacy without one."""
        if self.epsilon is None:
            _refuse_without_budget(self)
            return
        if not (0 < self.epsilon < math.inf and 0 < self.max_grad_norm < math.inf):
            raise InputError(
                "privacy.epsilon and privacy.max_grad_norm must be above 0 and finite, however: "
                f"{self.epsilon=}, {self.max_grad_norm=}"
            )
        if self.delta is not None and not 0 < self.delta < 1:
            raise InputError(f"privacy.delta must be in (0, 1), however: it is {self.delta}")
        if not 0 < self.encoding_share < 1:
            raise InputError(
                f"privacy.encoding_share must be in (0, 1), however: it is {self.encoding_share}"
            )
        self.public_ranges()
        if importlib.util.find_spec("opacus") is None:
            raise MissingPackageError(
                "privacy needs Opacus: pip install -c constraints.txt '.[privacy]'"
            )

    @property
    def caution(self) -> str:
        """What to say of a budget that protects hardly anybody; "" of a smaller one."""
        if self.epsilon is None or self.epsilon <= REASONABLE_EPSILON:
            return ""
        return (
            f"a budget of epsilon {self.epsilon:g} promises little or nothing: above "
            f'{REASONABLE_EPSILON:g} a guarantee is weak to none (Ponomareva et al., "How to DP-fy '
            'ML", 2023)'
        )

    def public_ranges(self) -> Mapping[str, tuple[float, float]]:
        """The least and the greatest value of numbers that are public, by field."""
        return dict(_range(text) for text in self.ranges)

    def delta_of(self, num_rows: int) -> float:
        """Delta for that many training rows; InputError for one that lets a whole row out."""
        if self.delta is None:
            return USUAL_DELTA / num_rows
        if self.delta >= 1 / num_rows:
            raise InputError(
                "privacy.delta must be below 1 / training rows, or a model may give a row away, "
                f"however: it is {self.delta:g}, of {num_rows:,} rows"
            )
        return self.delta


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PrivateSteps:
    """How a network is trained by DP-SGD, and what was released of its rows before.

    In each of `steps` every row is drawn by itself with `sampling_rate`, the gradients of the drawn
    are clipped to `max_grad_norm`, and noise of `noise_multiplier` times that norm joins their sum.
    """

    steps: int
    steps_per_epoch: int
    sampling_rate: float
    noise_multiplier: float
    max_grad_norm: float
    released: tuple[Release, ...] = ()

    @property
    def history(self) -> tuple[Release, ...]:
        """All that is released once training is over."""
        return (*self.released, (self.noise_multiplier, self.sampling_rate, self.steps))


def _refuse_without_budget(config: PrivacyConfig) -> None:
    for field in dataclasses.fields(config):
        if getattr(config, field.name) != field.default:
            raise InputError(
                f"privacy.epsilon must be set where privacy.{field.name} is, however: it is None"
            )


def _range(text: str) -> tuple[str, tuple[float, float]]:
    name, *ends = text.rsplit(":", 2)
    try:
        least, greatest = (float(end) for end in ends)
    except ValueError:
        least, greatest = math.nan, math.nan
    if not (name and -math.inf < least < greatest < math.inf):
        raise InputError(
            "privacy.ranges must read FIELD:LEAST:GREATEST, such as age:0:120, however: "
            f"{text!r} does not"
        )
    return name, (least, greatest)
