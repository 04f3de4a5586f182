"""What a good engineer would try first, tuned, as a benchmark takes it from a family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from spt_core.data.splits import Splits
from spt_core.errors import SptError
from spt_core.heads.outcomes import Outcomes
from spt_core.policy import Policy
from spt_core.signature import Signature
from spt_core.task import Task

OnTrial = Callable[[str, int, int], None]  # a baseline's name, the number of a trial, of how many


class UnfitError(SptError):
    """A baseline cannot learn from the training rows."""


class BaselineWork(NamedTuple):
    """What baselines are tuned for, and on what: training rows, chosen on validation rows.

    `policy` is the model's: where it comes from stated costs, baselines are judged by it too.
    """

    task: Task
    signature: Signature
    classes: Sequence[str]
    splits: Splits
    policy: Policy
    num_trials: int
    max_rows: int
    seed: int
    on_trial: OnTrial | None = None

    def tell(self, name: str, trial: int, num_trials: int) -> None:
        """Report a trial that is over."""
        if self.on_trial is not None:
            self.on_trial(name, trial, num_trials)


class Baseline(NamedTuple):
    """A tuned model: what it says of labelled rows, its single calls, and what tuning chose.

    `outcomes` takes a table, its label column and the column of its groups; `inputs` makes of a
    table what `call` is timed with.
    """

    name: str
    outcomes: Callable[[pa.Table, str, str | None], Outcomes]
    inputs: Callable[[pa.Table], list[Any]]
    call: Callable[[Any], Any]
    parameters: Mapping[str, Any]


class Baselines(NamedTuple):
    """Those that were fitted, and why each other one could not be."""

    fitted: list[Baseline]
    left_out: dict[str, str]
