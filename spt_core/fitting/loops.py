"""Which loop a worker runs: the common one, or that of differential privacy, which needs Opacus."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from spt_core.fitting.loop import Report, fit
from spt_core.fitting.plan import TrainingRun
from spt_core.fitting.shards import Shard


class Loop(Protocol):
    """Trains a run to its end, from a checkpoint folder if there is one: see `loop.fit`."""

    def __call__(
        self,
        run: TrainingRun,
        train: Shard,
        validation: Shard | None,
        *,
        report: Report,
        resume: Path | None,
    ) -> None:
        """Train to the end."""
        ...


def loop_of(run: TrainingRun) -> Loop:
    """The loop of a run."""
    if run.private is None:
        return fit
    from spt_core.fitting.private_loop import fit_privately  # Opacus is an extra

    return fit_privately
