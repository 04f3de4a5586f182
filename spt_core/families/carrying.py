"""What a family carries over from a model of another task: names of layers, and first weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from spt_core.artifacts import ModelArtifact
from spt_core.data.splits import Splits
from spt_core.errors import InputError
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import TrainingRun

EMBEDDING, ENCODER, HEAD = "embedding", "encoder", "head"


class ColumnMatch(NamedTuple):
    """A column of the target, its counterpart in the source or None, and what tells so."""

    target: str
    source: str | None
    reason: str


class Begun(NamedTuple):
    """What a target's network begins with.

    `weights` are all of its own, `given` masks (broadcast to their shapes) of the entries of
    parameters that the source gave; a parameter that is not there begins as without a source.
    `taken` and `fresh` say in words what came from it and what did not; `columns` of tables alone.
    """

    weights: Mapping[str, Tensor]
    given: Mapping[str, Tensor]
    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    columns: tuple[ColumnMatch, ...] = ()


class Transferring(Protocol):
    """How a family's teachers begin with another one's. Stateless; torch, on the driver."""

    def layers(self, network: nn.Module) -> Mapping[str, Sequence[str]]:
        """The network's layers by their stable names, from the input on: names of parameters.

        They are `embedding`, `encoder.0`, `encoder.1`, ... and `head`; each parameter is in one.
        """
        ...

    def configured(
        self, source: ModelArtifact, config: TrainingConfig
    ) -> tuple[TrainingConfig, tuple[str, ...]]:
        """The configuration whose networks can take the source's weights, and what that changed."""
        ...

    def begun(
        self,
        source: ModelArtifact,
        run: TrainingRun,
        network: Any,
        splits: Splits,
        columns: Mapping[str, str | None],
    ) -> Begun:
        """What a network of a run on the splits begins with.

        `columns` are matches of columns that somebody made; InputError where the family has none.
        """
        ...


def require_no_columns(columns: Mapping[str, str | None], family: str) -> None:
    """Refuse matches of columns where records have none."""
    if columns:
        raise InputError(
            f"columns are matched where records are rows of a table, however: the {family} family "
            f"is given {', '.join(columns)}"
        )


def whole() -> Tensor:
    """The mask of a parameter that came over whole."""
    return torch.ones(1)


def class_rows(source: Sequence[str], target: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs (row of the source, row of the target) of the classes that both tell apart."""
    places = {name: row for row, name in enumerate(source)}
    return [(places[name], row) for row, name in enumerate(target) if name in places]


def put_rows(
    weights: dict[str, Tensor],
    given: dict[str, Tensor],
    name: str,
    values: Tensor,
    rows: Sequence[tuple[int, int]],
) -> None:
    """Give some rows of a parameter those of the source's."""
    if not rows:
        return
    theirs, mine = (list(places) for places in zip(*rows, strict=True))
    weights[name][mine] = values[theirs]
    mask = torch.zeros(len(weights[name]), *[1] * (weights[name].ndim - 1))
    mask[mine] = 1.0
    given[name] = torch.maximum(given[name], mask) if name in given else mask
