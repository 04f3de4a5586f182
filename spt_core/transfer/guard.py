"""Is the transferred model not worse than one from scratch? Judged on the same validation rows.

Both have chosen their epochs and blends by these rows, alike; test rows stay untouched.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import pyarrow as pa

from spt_core.benchmark.comparison import paired
from spt_core.data.splits import Splits
from spt_core.heads import HEADS, metric_of
from spt_core.heads.outcomes import OutcomeMetric, Outcomes
from spt_core.model import SpecializedModel
from spt_core.task import Task, find

MAX_ROWS = 20_000
NUM_RESAMPLES = 500
WITHOUT_NETWORK = ", as neither blend has a share for its network, which alone is carried over"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What was kept, and why; where both answer alike, that is the one from scratch.

    `gain` is by how much the mean `loss` of the transferred model is lower on the validation rows,
    with `low` and `high` of its paired 95 % bootstrap interval (whole groups are resampled);
    `transferred` and `scratch` are the models' figures there, by the task's `metric` too. Of
    `num_train_rows`, a transferred model is as good with `rows_needed` as one from scratch with
    all; None where that was not tried, or nothing was transferred. `why_alike` is known where both
    answer alike, and a reason is.
    """

    kept: Literal["transferred", "scratch"]
    loss: str
    metric: str
    gain: float
    low: float
    high: float
    margin: float
    num_rows: int
    transferred: dict[str, float]
    scratch: dict[str, float]
    num_train_rows: int = 0
    rows_needed: int | None = None
    why_alike: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON object with all fields."""
        return dataclasses.asdict(self)

    def sentence(self) -> str:
        """What a person is told."""
        what = "the transferred model" if self.kept == "transferred" else "the model from scratch"
        is_alike = self.gain == self.low == self.high == 0
        alike = f"; both answer alike{self.why_alike}" if is_alike else ""
        return (
            f"{what} is kept: {self.loss.replace('_', ' ')} on {self.num_rows:,} validation rows "
            f"{self.transferred[self.loss]:.4f} transferred, {self.scratch[self.loss]:.4f} from "
            f"scratch; gain {self.gain:+.4f} [{self.low:+.4f}, {self.high:+.4f}], kept from "
            f"{0.0 - self.margin:g} on{alike}"
        )

    def saved(self) -> str:
        """How many labels were saved, where that was tried."""
        if self.kept == "scratch":
            return "labels saved: none, as the model from scratch is kept"
        if self.rows_needed is None:
            return "labels saved: not measured (--set transfer.shares=0.5,0.25 does)"
        few, all_rows = self.rows_needed, self.num_train_rows
        return (
            f"labels saved: {all_rows - few:,}; begun with the source, {few:,} training rows are "
            f"as good on validation rows as {all_rows:,} from scratch"
        )


def judged(
    transferred: SpecializedModel, scratch: SpecializedModel, splits: Splits, margin: float
) -> Verdict:
    """Which of two models of the same splits is kept: a paired comparison on validation rows."""
    task = find(splits.task)
    name, loss = loss_of(task)
    table = splits.table("validation", limit=MAX_ROWS)
    models = (scratch, transferred)
    before, after = (outcomes_of(model, table, splits) for model in models)
    difference = paired(loss, before, after, num_resamples=NUM_RESAMPLES)["difference"]
    sign = loss.sign
    # A zero is added so that none is said with a minus.
    low, high = sorted(sign * difference[end] + 0.0 for end in ("low", "high"))
    gain = sign * difference["value"] + 0.0
    is_alike = gain == low == high == 0  # and one from scratch owes nothing to the source
    figures = [{name: loss(of), task.metric: metric_of(task)(of)} for of in (after, before)]
    return Verdict(
        kept="transferred" if gain >= -margin and not is_alike else "scratch",
        loss=name,
        metric=task.metric,
        gain=gain,
        low=low,
        high=high,
        margin=margin,
        num_rows=table.num_rows,
        transferred=figures[0],
        scratch=figures[1],
        num_train_rows=splits.num_rows["train"],
        why_alike=WITHOUT_NETWORK if is_alike and not any(map(_has_network, models)) else "",
    )


def _has_network(model: SpecializedModel) -> bool:
    """Whether a model's network, which alone is carried over, has a part in its answers."""
    return model.artifact.metrics.get("network_weight", 1.0) > 0


def is_as_good(model: SpecializedModel, verdict: Verdict, splits: Splits) -> bool:
    """Whether a model's loss on validation rows is at most that of the one from scratch."""
    _, loss = loss_of(find(splits.task))
    of = outcomes_of(model, splits.table("validation", limit=MAX_ROWS), splits)
    return loss.sign * (loss(of) - verdict.scratch[verdict.loss]) >= 0


def outcomes_of(model: SpecializedModel, table: pa.Table, splits: Splits) -> Outcomes:
    """What a model says of some rows of the splits."""
    corpus = splits.corpus
    return model.open().outcomes(table, splits.label, group=corpus.group, weight=corpus.weight)


def loss_of(task: Task) -> tuple[str, OutcomeMetric]:
    """What is compared: a proper score where the head has one, else the task's metric."""
    metrics = HEADS[task.head].metrics
    name = next((n for n in ("log_loss", "rmse") if n in metrics), task.metric)
    return name, metrics[name]
