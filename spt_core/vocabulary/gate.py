"""Whether an extension is kept: never at the price of what the base could do."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from spt_core.heads import LOWER_IS_BETTER
from spt_core.vocabulary.config import GateConfig


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether an extension is kept, and every reason against it."""

    kept: bool
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object of the same facts."""
        return dataclasses.asdict(self)


def keep_extension(
    bits: tuple[float, float],
    score: tuple[float, float],
    metric: str,
    config: GateConfig | None = None,
) -> Verdict:
    """The verdict on (before, after) of held-out bits per byte and of the task's metric."""
    config = config or GateConfig()
    reasons: list[str] = []
    if not all(math.isfinite(value) for value in (*bits, *score)):
        reasons.append(f"figures must be numbers, however: {bits=}, {metric} {score}")
    if bits[1] - bits[0] > config.max_bits_rise:
        reasons.append(
            f"bits per byte may rise by {config.max_bits_rise}, however: {bits[0]:.4f} -> "
            f"{bits[1]:.4f}"
        )
    before, after = score
    margin = config.max_score_drop
    if metric in LOWER_IS_BETTER and after - before > margin * before:
        reasons.append(f"{metric} may rise by {margin:.1%}, however: {before:.4f} -> {after:.4f}")
    if metric not in LOWER_IS_BETTER and before - after > margin:
        reasons.append(f"{metric} may fall by {margin}, however: {before:.4f} -> {after:.4f}")
    return Verdict(kept=not reasons, reasons=tuple(reasons))
