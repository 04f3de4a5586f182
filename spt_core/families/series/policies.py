"""The policy of a baseline, fitted as the served model's is: by the same calibration rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from spt_core.families.baseline import BaselineWork
from spt_core.families.series.facts import sequence_field
from spt_core.families.series.rows import filled_windows
from spt_core.heads import ITEM_HEADS
from spt_core.heads.base import Floats, Truth
from spt_core.heads.outcomes import groups_of
from spt_core.policy import Policy


def fitted_policy(work: BaselineWork, outputs: Callable[[NDArray[np.float32]], Floats]) -> Policy:
    """What the calibration rows ask of outputs of windows [N, T, C].

    A model whose quantiles, interval or threshold these rows have moved is no better than a
    baseline for that alone. InputError where they are too few, as it is of the model.
    """
    task, splits, head = work.task, work.splits, ITEM_HEADS[work.task.head]
    table = splits.table("calibration", task.facts.policy_rows)
    windows = filled_windows(table, sequence_field(work.signature))
    truth = Truth(table, splits.label, groups_of(table, splits.corpus.group or task.group))
    usual = head.default_policy(task, work.classes)
    return head.policy(task, head.decided(task, work.classes, truth, outputs(windows), usual))
