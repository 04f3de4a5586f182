"""What a watcher does beside polling and jobs, in each of his passes: judge, roll out, look after.

`ContinuousTrainingPipeline(..., steps=after_training(registry, ServeLive(registry, actor=...)))`
"""

from __future__ import annotations

import time
from collections.abc import Callable

from spt_core.continuous.leading import Step
from spt_core.continuous.ledger import Fence, Ledger
from spt_core.continuous.live_rules import LiveRules
from spt_core.continuous.options import WatchOptions
from spt_core.continuous.rollouts import Live, drive_rollouts
from spt_core.continuous.serving import ServeLive
from spt_core.continuous.verdicts import drive_verdicts
from spt_core.errors import SptError
from spt_core.registry import Registry


class StepError(SptError):
    """Parts of a pass went wrong; the rest was done, and the next pass tries again."""


def after_training(
    registry: Registry,
    live: Live | None,
    *,
    rules: LiveRules | None = None,
    clock: Callable[[], float] = time.time,
) -> tuple[Step, ...]:
    """The steps in their order; without a service nothing is rolled out, and effects wait."""

    def judge_candidates(ledger: Ledger, fence: Fence) -> None:
        _tell(drive_verdicts(ledger, fence, registry, now_s=clock()).errors)

    def roll_out(ledger: Ledger, fence: Fence) -> None:
        assert live is not None, "it is no step otherwise"
        outcome = drive_rollouts(ledger, fence, registry, live, now_s=clock(), rules=rules)
        _tell(outcome.errors)

    return (judge_candidates,) if live is None else (judge_candidates, roll_out)


def on_cluster(options: WatchOptions) -> tuple[Step, ...]:
    """All steps, beside the service of the Ray cluster that this process belongs to."""
    registry = Registry(options.database_url)
    return after_training(registry, ServeLive(registry, actor=options.actor))


def _tell(errors: tuple[str, ...]) -> None:
    if errors:
        raise StepError("; ".join(errors))
