"""A teacher of a table that begins with one of another table: column by column, then the rest.

source's network + matches of columns -> the target's first weights

A number means what its rank in its own table says: the target's piecewise-linear embedding is drawn
through the source's at equal ranks, so that a premium in euro begins with what an instalment in
dollars taught. Columns of one name mean their values as they are, unless these lie so far apart
that they are of other units (cents and euro). Category values begin with those of equal text.
Forests and the linear model are not carried over: the target's are its own, and are blended beside.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights
from torch import Tensor, nn

from spt_core.artifacts import FACTS, WEIGHTS, ModelArtifact, has_manifest
from spt_core.data.splits import Splits, load_splits
from spt_core.errors import InputError
from spt_core.families.carrying import (
    EMBEDDING,
    ENCODER,
    HEAD,
    Begun,
    ColumnMatch,
    put_rows,
    whole,
)
from spt_core.families.tabular.matching import matched, plain_values
from spt_core.families.tabular.outputs import target_from_json
from spt_core.families.tabular.rows import encoded_arrays
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.plan import TrainingRun
from spt_core.signature import STATES, Column, Signature
from spt_core.task import find

SIZES = ("teacher_members", "teacher_blocks", "teacher_width", "teacher_embedding")
RANK_ROWS = 100_000  # of a table, that ranks are taken from
FIRST = "backbone.blocks.0.0"  # its inputs are the columns' embeddings, side by side
_BLOCK = re.compile(r"backbone\.blocks\.(\d+)\.")

Values = NDArray[np.float64]


class TableTransferring:
    """The Transferring of tables."""

    def layers(self, network: nn.Module) -> Mapping[str, Sequence[str]]:
        """Embeddings of columns, blocks of the backbone, and the outputs."""
        names: dict[str, list[str]] = {}
        for name, _ in network.named_parameters():
            block = _BLOCK.match(name)
            layer = HEAD if name.startswith("output.") else EMBEDDING
            names.setdefault(f"{ENCODER}.{block[1]}" if block else layer, []).append(name)
        return names

    def configured(
        self, source: ModelArtifact, config: TrainingConfig
    ) -> tuple[TrainingConfig, tuple[str, ...]]:
        """Networks of the source's sizes."""
        own = {name: source.config["network"][name] for name in SIZES}
        changed = [
            f"{name} is {size}, as in the source's network"
            for name, size in own.items()
            if getattr(config.network, name) != size
        ]
        network = dataclasses.replace(config.network, **own)
        return dataclasses.replace(config, network=network), tuple(changed)

    def begun(
        self,
        source: ModelArtifact,
        run: TrainingRun,
        network: Any,
        splits: Splits,
        columns: Mapping[str, str | None],
    ) -> Begun:
        """Embeddings and first weights of the matched columns, later blocks, outputs of one kind.

        Ranks are taken from training rows of both: the source's must still be there.
        """
        tasks = find(source.task), find(splits.task)
        matches = matched(source.signature, tasks[0], run.signature, tasks[1], columns)
        carry = _Carry(source, run, network, splits)
        matches = tuple(
            match._replace(reason=f"{match.reason}, but another scale: by rank")
            if carry.is_of_another_scale(match)
            else match
            for match in matches
        )
        taken = [f"the column {m.target} from {m.source}" for m in matches if carry.column(m)]
        carry.upper_layers()
        taken += [f"encoder.{number}" for number in range(1, run.config.network.teacher_blocks)]
        fresh = ["the forests and the linear model, which are the target's own"]
        (taken if carry.head() else fresh).append("the head")
        lost = [m.target for m in matches if m.source is None]
        fresh += [f"columns without a counterpart: {', '.join(lost)}"] if lost else []
        return Begun(carry.weights, carry.given, tuple(taken), tuple(fresh), matches)


class _Side(NamedTuple):
    """A Signature, the number of each of its columns, and where the rows of categories begin."""

    signature: Signature
    columns: Mapping[Column, int]
    offsets: Mapping[Column, int]


class _Carry:
    """The target's weights as they become, and which of their entries the source gave."""

    def __init__(
        self, source: ModelArtifact, run: TrainingRun, network: nn.Module, splits: Splits
    ) -> None:
        self._source, self._run, self._splits = source, run, splits
        self._theirs = load_weights(source.read(WEIGHTS))
        self._size = run.config.network.teacher_embedding
        self._sides = _side(source.signature), _side(run.signature)
        self._rows: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        self.weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        self.given: dict[str, Tensor] = {}

    def column(self, match: ColumnMatch) -> bool:
        """Carry a column over; whether there was anything."""
        if match.source is None:
            return False
        theirs, mine = self._sides
        field, other = mine.signature.field(match.target), theirs.signature.field(match.source)
        is_ranked = "number" in (field.kind, other.kind) and (
            match.source != match.target or self.is_of_another_scale(match)
        )
        pairs = [
            (column._replace(field=match.source), column)
            for column in mine.columns
            if column.field == match.target
        ]
        pairs = [pair for pair in pairs if pair[0] in theirs.columns]  # a term may be new
        for pair in pairs:
            places = theirs.columns[pair[0]], mine.columns[pair[1]]
            if pair[1].part in ("index", "term"):
                self._values(*pair)
            elif not self._number(*places, is_ranked=is_ranked):
                return False
            self._first(*places)
        return bool(pairs)

    def is_of_another_scale(self, match: ColumnMatch) -> bool:
        """Whether numbers of one name are of different units: their middle halves lie apart."""
        theirs, mine = self._sides
        if match.source != match.target or mine.signature.field(match.target).kind != "number":
            return False
        column = next(column for column in mine.columns if column.field == match.target)
        if column not in theirs.columns:
            return False
        sides = (self._theirs, theirs.columns[column]), (self.weights, mine.columns[column])
        (low, high), (own_low, own_high) = (
            np.quantile(_edges(weights, place)[1], (0.25, 0.75)) for weights, place in sides
        )
        return own_low > high or own_high < low

    def upper_layers(self) -> None:
        """Carry over what comes behind the columns."""
        for name, values in self._theirs.items():
            block = _BLOCK.match(name)
            if block and (block[1] != "0" or not name.endswith((".weight", ".r"))):
                self.weights[name], self.given[name] = values, whole()

    def head(self) -> bool:
        """Carry the outputs over if both say the same kind of thing of the same classes."""
        own = target_from_json(json.loads(self._source.read(FACTS)))
        target = target_from_json(self._run.facts)
        if (own.head, own.classes) != (target.head, target.classes):
            return False
        for name in ("output.weight", "output.bias"):
            self.weights[name], self.given[name] = self._theirs[name], whole()
        return True

    def _values(self, source: Column, target: Column) -> None:
        """The embeddings of equal values, and of what is missing or unseen; of a term, its own."""
        theirs, mine = self._sides
        start, at = theirs.offsets[source], mine.offsets[target]
        if target.part == "term":
            rows = [(start + state, at + state) for state in range(STATES)]
        else:
            own = plain_values(theirs.signature.field(source.field).categories)
            values = plain_values(mine.signature.field(target.field).categories)
            rows = [(start, at)]
            rows += [(start + own[text], at + row) for text, row in values.items() if text in own]
        put_rows(
            self.weights, self.given, "categories.weight", self._theirs["categories.weight"], rows
        )

    def _number(self, source: int, target: int, *, is_ranked: bool) -> bool:
        """Draw the target's embedding through the source's, at equal ranks or at equal values."""
        used, edges = _edges(self.weights, target)
        if is_ranked:
            of_source, of_target = (
                rows[:, i] for rows, i in zip(self._ranked(), (source, target), strict=True)
            )
            of_source, of_target = (
                v[np.isfinite(v)].astype(np.float64) for v in (of_source, of_target)
            )
            if not len(of_source) or not len(of_target):
                return False
            edges = _at_equal_ranks(edges, of_target, of_source)
        drawn = self._embedding(source, edges)
        steps = torch.zeros_like(self.weights["number_weight"][target])
        steps[-1] = drawn[0]  # of a number that is there, at the lowest edge
        steps[torch.from_numpy(used)] = drawn[1:] - drawn[:-1]
        values = self.weights["number_weight"].clone()
        values[target] = steps
        put_rows(self.weights, self.given, "number_weight", values, [(target, target)])
        return True

    def _embedding(self, column: int, values: Values) -> Tensor:
        """The source's embedding [E, size] of a column at E values."""
        left, inverse = (self._theirs[f"encoding.{name}"][column].double() for name in _EDGES)
        at = torch.from_numpy(values)[:, None]
        encoded = torch.clamp((at - left) * inverse, 0.0, 1.0)
        return (encoded @ self._theirs["number_weight"][column].double()).float()

    def _first(self, source: int, target: int) -> None:
        """The first layer's weights of a column's embedding."""
        theirs, mine = (slice(i * self._size, (i + 1) * self._size) for i in (source, target))
        for name in (f"{FIRST}.weight", f"{FIRST}.r"):
            self.weights[name][:, mine] = self._theirs[name][:, theirs]
            mask = self.given.setdefault(name, torch.zeros(1, self.weights[name].shape[1]))
            mask[:, mine] = 1.0

    def _ranked(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Training rows of source and target."""
        if self._rows is None:
            if not has_manifest(self._source.splits):
                raise InputError(
                    "training rows of the source must be there, as a number is carried over by its "
                    f"rank among them, however: {self._source.splits} is gone"
                )
            own = load_splits(self._source.splits)
            facts = json.loads(self._source.read(FACTS))
            theirs, _ = encoded_arrays(
                own, "train", self._source.signature, target_from_json(facts), limit=RANK_ROWS
            )
            mine, _ = encoded_arrays(
                self._splits,
                "train",
                self._run.signature,
                target_from_json(self._run.facts),
                limit=RANK_ROWS,
            )
            self._rows = theirs, mine
        return self._rows


_EDGES = ("left", "inverse_width")


def _edges(weights: Mapping[str, Tensor], column: int) -> tuple[NDArray[np.intp], Values]:
    """The bins of a column that are used, and their edges, which are quantiles of its values."""
    left, inverse = (weights[f"encoding.{name}"][column].double().numpy() for name in _EDGES)
    used = np.flatnonzero(inverse[:-1] > 0)
    edges = np.append(left[used], left[used[-1:]] + 1 / inverse[used[-1:]])
    return used, edges if len(edges) else np.zeros(1)


def _side(signature: Signature) -> _Side:
    columns = {column: number for number, column in enumerate(signature.columns)}
    ends = np.cumsum([0, *signature.cardinalities]).tolist()
    return _Side(signature, columns, dict(zip(signature.categories, ends[:-1], strict=True)))


def _at_equal_ranks(values: Values, among: Values, others: Values) -> Values:
    """The others' values at the ranks that values have among their own."""
    ordered = np.sort(among)
    below, up_to = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return np.quantile(others, (below + up_to) / (2 * len(ordered)))
