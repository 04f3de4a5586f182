"""What is fitted, as data, and the two halves of a family that fitting asks for it.

FitPlan (driver) -> TrainingRun + rows -> Learner (worker) -> weights -> FitPlan.finish -> Trained
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from spt_core.artifacts import Role
from spt_core.data.read import Dataset
from spt_core.errors import InputError, nearest
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.privacy import PrivateSteps
from spt_core.fitting.shards import Batch, Shard
from spt_core.signature import Signature
from spt_core.task import Head

Read = Callable[[], Iterable[Any]]
READ_BYTES, MAX_READ_ROWS = 64 << 20, 16_384


class Learner(Protocol):
    """What a worker asks of a family. Stateless; travels in the TrainingRun."""

    def network(self, run: TrainingRun, *, is_start: bool = False) -> nn.Module:
        """The network of a run: random, or as training starts, with what it begins from."""
        ...

    def rate(self, name: str, run: TrainingRun) -> float:
        """The learning rate of the parameter `name`, as a multiple of the run's."""
        ...

    def loss(self, model: Any, batch: Batch, run: TrainingRun) -> Tensor:
        """The mean loss to train on of a batch that lies on the model's device."""
        ...

    def stopping_loss(self, model: Any, batch: Batch, run: TrainingRun) -> Tensor:
        """The mean loss to stop by."""
        ...

    def shard(self, read: Read, run: TrainingRun, num_rows: int | None) -> Shard:
        """A worker's rows, of which `read` gives batches of numpy arrays; `num_rows` stream."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """What a transferred network begins with, and from which epoch on each part of it is trained.

    `folder` holds the whole weights and which of their entries a source gave (starting.py), `files`
    their sha256. `first_epochs` are the epochs, counted from 0, from which parameters are trained;
    of those that it lacks nothing that the source gave ever is. `l2_sp` is how strongly what the
    source gave is held where it was: alpha of Li, Grandvalet and Davoine, "Explicit Inductive Bias
    for Transfer Learning with Convolutional Networks" (ICML 2018).
    """

    folder: str
    files: Mapping[str, str]
    first_epochs: Mapping[str, int]
    l2_sp: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRun:
    """Everything that a worker needs to know; `facts` are the family's, from training rows.

    `row_bytes` is about what a row takes in a shard, `scoring_rows` how many are scored at a time
    for early stopping. A student's logits are divided by `temperature`, as those in its soft
    targets were, and `state_weight` is that of its distance from its teacher's states. With
    `private` steps the network is trained by DP-SGD (private_loop.py).
    """

    learner: Learner
    signature: Signature
    role: Role
    config: TrainingConfig
    facts: Mapping[str, Any]
    num_rows: int
    row_bytes: int
    scoring_rows: int
    head: Head = "binary"
    temperature: float = 1.0
    state_weight: float = 0.0
    start: Start | None = None
    private: PrivateSteps | None = None

    def __post_init__(self) -> None:
        """Refuse layers that the network lacks: on the driver, and not once more in each worker."""
        if self.config.specialized_layers is not None:
            _check_layers(self, self.config.specialized_layers)

    @property
    def streamed_rows(self) -> int | None:
        """The training rows of one worker, where they are too many to be held in memory."""
        num_rows = self.num_rows // self.config.num_workers
        return num_rows if num_rows * self.row_bytes > self.config.cache_bytes else None

    @property
    def rows_at_once(self) -> int:
        """How many rows are read at a time: as many as READ_BYTES hold."""
        return min(max(READ_BYTES // max(self.row_bytes, 1), 1), MAX_READ_ROWS)


class Fitted(NamedTuple):
    """Weights (safetensors), the epoch that they are of, and where trackers show the training."""

    weights: bytes
    num_epochs: int
    runs: tuple[str, ...] = ()


class Trained(NamedTuple):
    """A model's files, its figures on validation rows, and licences of data beside the splits'.

    `notes` are what whoever trains it should know, a sentence each; `privacy` is what they may know
    of its training rows (spt_core/artifacts.py).
    """

    files: Mapping[str, bytes]
    metrics: Mapping[str, float]
    licences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    privacy: Mapping[str, Any] = MappingProxyType({})


class FitPlan(Protocol):
    """One network to be fitted, on the driver; used once, its methods in this order.

    `identity` is what decides the result beside configuration, splits and code; `scratch` are
    folders of its own that go when the model is written, or is to be made afresh.
    """

    role: Role
    identity: Sequence[Any]
    scratch: Sequence[str]

    def prepare(self, name: str) -> TrainingRun:
        """The run of that name; begins what goes on beside it."""
        ...

    def rows(self, part: Literal["train", "validation"]) -> Dataset:
        """Encoded rows."""
        ...

    def finish(self, weights: bytes) -> Trained:
        """Everything else of the model; waits for what went on beside."""
        ...


class StudentPlan(FitPlan, Protocol):
    """A FitPlan whose network can be had before its rows are."""

    def draft(self) -> TrainingRun:
        """The run that `prepare` returns; `finish` may follow without any rows."""
        ...


def _check_layers(run: TrainingRun, layers: list[str]) -> None:
    with torch.device("meta"):  # names alone: no weights are made
        model = run.learner.network(run)
    modules = [name for name, _ in model.named_modules() if name]
    for name in layers:
        if name not in modules:
            raise InputError(
                f"specialized_layers must name modules of the model, however: {name!r} is none; "
                f"{nearest(name, modules)}"
            )
