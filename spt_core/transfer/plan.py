"""Transfer as a plan: a family's teaching that starts from another artifact.

source + splits -> the target's network with what carries over -> Ray Train, like any training
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from spt_core.artifacts import ModelArtifact, Role, as_uri, lineage
from spt_core.data.read import Dataset
from spt_core.data.splits import Splits
from spt_core.errors import InputError
from spt_core.families.carrying import Begun
from spt_core.families.training import TRAINING
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import Trained, TrainingRun
from spt_core.fitting.starting import write_start
from spt_core.transfer.config import TransferConfig
from spt_core.transfer.schedule import Schedule, scheduled

TRANSFER = "transfer.json"  # what came over from where, among a model's files
_START = "start"


class TransferPlan:
    """The FitPlan of a teacher that begins with one of another task; train it with `config`."""

    role: Role = "teacher"

    def __init__(
        self,
        source: ModelArtifact,
        splits: Splits,
        config: TrainingConfig,
        transfer: TransferConfig,
    ) -> None:
        _check(source, config, transfer)
        family = TRAINING[config.family]
        self._transferring = family.transferring
        self.config, self._changes = self._transferring.configured(source, config)
        self._inner = family.teach(splits, self.config, None)
        self._source, self._splits, self._transfer = source, splits, transfer
        self.identity: Sequence[Any] = [
            *self._inner.identity,
            [source.uri, source.files, transfer.identity()],
        ]
        self.scratch: Sequence[str] = (_START, *self._inner.scratch)

    def prepare(self, name: str) -> TrainingRun:
        """The run of the target's own facts, and its first weights."""
        run = self._inner.prepare(name)
        network = _begin(run)
        begun = self._transferring.begun(
            self._source, run, network, self._splits, self._transfer.matches
        )
        layers = self._transferring.layers(network)
        schedule = scheduled(self._transfer, layers, begun.given, run.config.num_epochs)
        start = write_start(
            f"{as_uri(run.config.output_dir)}/runs/{name}-{_START}",
            begun.weights,
            begun.given,
            first_epochs=schedule.first_epochs,
            l2_sp=self._transfer.l2_sp if self._transfer.strategy == "l2_sp" else 0.0,
        )
        self._facts = self._described(begun, schedule, layers)
        return dataclasses.replace(run, start=start)

    def rows(self, part: Literal["train", "validation"]) -> Dataset:
        """The target's own."""
        return self._inner.rows(part)

    def finish(self, weights: bytes) -> Trained:
        """As without a source, with what came from it."""
        trained = self._inner.finish(weights)
        files = {**trained.files, TRANSFER: json.dumps(self._facts, indent=1).encode()}
        notes = (*trained.notes, *self._changes, *self._facts["notes"])
        return trained._replace(files=files, notes=notes)

    def _described(
        self, begun: Begun, schedule: Schedule, layers: Mapping[str, Sequence[str]]
    ) -> dict[str, Any]:
        return {
            "source": self._source.uri,
            "source_task": self._source.task,
            "source_licences": list(self._source.licences),
            "config": self._transfer.identity(),
            "layers": list(layers),
            "taken": list(begun.taken),
            "fresh": list(begun.fresh),
            "columns": [match._asdict() for match in begun.columns],
            "notes": list(schedule.notes),
        }


def teacher_of(source: ModelArtifact) -> ModelArtifact:
    """The teacher behind a model: it is what a target begins with."""
    for artifact in lineage(source):
        if artifact.role == "teacher":
            return artifact
    raise InputError(
        f"a transfer must start from a teacher or what was made of one, however: {source.uri} "
        "has none behind it"
    )


def _begin(run: TrainingRun) -> nn.Module:
    """The network as training without a source would begin, a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.config.seed)
        return run.learner.network(run, is_start=True)


def _check(source: ModelArtifact, config: TrainingConfig, transfer: TransferConfig) -> None:
    if source.family != config.family:
        raise InputError(
            f"source and target must be of one family, however: {source.task} is {source.family}, "
            f"the target {config.family}"
        )
    if config.specialized_layers is not None:
        raise InputError(
            "specialized_layers must be None where a transfer says what is trained (strategy, "
            f"freeze_layers), however: {config.specialized_layers}"
        )
    if transfer.strategy == "progressive_unfreezing" and config.strategy != "data_parallel":
        raise InputError(
            "progressive_unfreezing must train with the strategy data_parallel, as shards are of "
            f"what is trained from the beginning, however: {config.strategy}"
        )
    if transfer.strategy == "l2_sp" and config.strategy == "zero3":
        raise InputError(
            "l2_sp must train with whole weights on each worker, however: zero3 has shards of them"
        )
