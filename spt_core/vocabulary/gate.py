"""Whether an extension is kept: never at the price of what the base could do."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from spt_core.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GateConfig:
    """By how much an extension may be worse: bits per byte may rise, the score may fall."""

    max_bits_rise: float = 0.02
    max_score_drop: float = 0.01

    def __post_init__(self) -> None:
        """Refuse margins below 0."""
        if self.max_bits_rise < 0 or self.max_score_drop < 0:
            raise InputError(f"margins must be at least 0, however: {self}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether an extension is kept, and every reason against it."""

    kept: bool
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object of the same facts."""
        return dataclasses.asdict(self)


def keep_extension(
    bits: tuple[float, float], score: tuple[float, float], config: GateConfig | None = None
) -> Verdict:
    """The verdict on (before, after) of held-out bits per byte and of the task's score."""
    config = config or GateConfig()
    reasons: list[str] = []
    if not all(math.isfinite(value) for value in (*bits, *score)):
        reasons.append(f"figures must be numbers, however: {bits=}, {score=}")
    if bits[1] - bits[0] > config.max_bits_rise:
        reasons.append(
            f"bits per byte may rise by {config.max_bits_rise}, however: {bits[0]:.4f} -> "
            f"{bits[1]:.4f}"
        )
    if score[0] - score[1] > config.max_score_drop:
        reasons.append(
            f"the score may fall by {config.max_score_drop}, however: {score[0]:.4f} -> "
            f"{score[1]:.4f}"
        )
    return Verdict(kept=not reasons, reasons=tuple(reasons))
