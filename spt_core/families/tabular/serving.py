"""What a replica loads of a table's model: record -> Encoder -> Runtime -> scores, field effects.

No torch here: it would cost seconds and 300 MB that a replica never uses.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answering import Cautions
from spt_core.artifacts import GRAPH, WEIGHTS, ModelArtifact
from spt_core.families.onnx import INPUT, open_session
from spt_core.families.tabular.config import TabularConfig, TabularCopying
from spt_core.families.tabular.reading import Encoder
from spt_core.families.tabular.settings import (
    REFERENCE,
    Reference,
    recommended,
    reference_from_bytes,
)
from spt_core.heads.base import Floats, Prediction, Scores
from spt_core.judgement import FieldEffect, Reason, Settings, UnseenTerm
from spt_core.notation import gaps_for
from spt_core.policy import IntervalPolicy
from spt_core.records import flatten
from spt_core.signature import Field, Signature
from spt_core.task import all_tasks
from spt_core.terms import ABSENT, nearest_term, terms_of

if TYPE_CHECKING:
    from spt_core.families.tabular.runtimes import Runtime

EXPLAIN_GRAPH = "explain.onnx"
_NO_CAUTIONS = Cautions()
# Of a tuple, past the constructor in Python, which costs an answer a microsecond.
_field_effect = cast(
    "Callable[[tuple[str, Any, float]], FieldEffect]",
    functools.partial(tuple.__new__, FieldEffect),
)
_scores = cast("Callable[[tuple[Any, ...]], Scores]", functools.partial(tuple.__new__, Scores))
_prediction = cast(
    "Callable[[tuple[Any, ...]], Prediction]", functools.partial(tuple.__new__, Prediction)
)


_NO_CATEGORY = 0.0  # the code of one that is missing, or that training never saw


class TableRow(NamedTuple):
    """One record, flat, and its encoding [1, F]."""

    record: Mapping[str, Any]
    features: NDArray[np.float32]


class TableRows(Sequence[TableRow]):
    """Many records in one array [B, F]; what they hold is looked up when it is asked for."""

    def __init__(self, features: NDArray[np.float32], table: pa.Table) -> None:
        self.features, self._table = features, table

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.features)

    @overload
    def __getitem__(self, index: int) -> TableRow: ...
    @overload
    def __getitem__(self, index: slice) -> TableRows: ...
    def __getitem__(self, index: int | slice) -> TableRow | TableRows:
        """A row, or some of them."""
        if isinstance(index, slice):
            places = range(*index.indices(len(self)))
            return TableRows(self.features[index], self._table.take(list(places)))
        (record,) = self._table.slice(index, 1).to_pylist()
        return TableRow(record, self.features[index : index + 1])

    def records(self) -> list[dict[str, Any]]:
        """What all rows hold."""
        return self._table.to_pylist()


class OnnxRuntime:
    """Two graphs of one model: scores alone, and with effects. Thread-safe."""

    def __init__(self, score_graph: bytes, explain_graph: bytes) -> None:
        self._score, self._explain = open_session(score_graph), open_session(explain_graph)

    def score(self, features: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Calibrated probabilities [B], or scores [B, K]."""
        return cast(list[Any], self._score.run(None, {INPUT: features}))[0]

    def explain(
        self, features: NDArray[np.float32]
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """The same and effects [B, F], or [B, K, F]."""
        probabilities, effects = cast(list[Any], self._explain.run(None, {INPUT: features}))
        return probabilities, effects


class TablePredictor:
    """The Predictor of tables; fields `beside` the model's are checked, and told to the task."""

    def __init__(
        self,
        signature: Signature,
        runtime: Runtime,
        classes: tuple[str, ...] = (),
        reference: Reference | None = None,
        beside: Signature | None = None,
    ) -> None:
        self.classes, self.runtime = classes, runtime
        self._signature, self._reference = signature, reference
        self._encoder, self._has_goal = Encoder(signature), signature.goal is not None
        names = list(dict.fromkeys(column.field for column in signature.columns))
        places = {
            name: [i for i, c in enumerate(signature.columns) if c.field == name] for name in names
        }
        self._terms = [f for f in signature.fields if f.kind == "terms"]
        self._vocabulary = {field.name: field.categories for field in self._terms}
        self._places = {field.name: places.pop(field.name, []) for field in self._terms}
        self._fields = [(name, at[0] if len(at) == 1 else at) for name, at in places.items()]
        self._columns = [column.field for column in signature.columns]
        self._num_numbers = len(signature.numbers)
        self._categories = [f.name for f in signature.fields if f.kind == "category"]
        self._codes = slice(self._num_numbers, self._num_numbers + len(self._categories))
        seen = [signature.field(name).seen or (-np.inf, np.inf) for name in self._columns]
        least, greatest = np.array(seen, np.float32).reshape(-1, 2).T
        self._seen = least.tolist(), greatest.tolist()
        least[self._num_numbers :] = _NO_CATEGORY + 1.0
        self._usual = least.tolist(), greatest.tolist()
        # A weekday may be missing where the hour is not: of a time, its first column counts.
        self._must_be = [
            signature.field(name).complete and self._columns.index(name) == place
            for place, name in enumerate(self._columns)
        ]
        self._gaps = gaps_for("category", frozenset(signature.gaps))
        fields = () if beside is None else beside.fields
        self._beside = {field.name: Encoder(Signature(fields=(field,))) for field in fields}

    def read(self, record: Mapping[str, Any]) -> TableRow:
        """One request, flat and encoded."""
        flat = flatten(record)
        if not self._beside or self._beside.keys().isdisjoint(flat):
            return TableRow(flat, self._encoder.record(flat))
        for name, encoder in self._beside.items():
            if name in flat:
                encoder.record({name: flat[name]})
        own = {name: value for name, value in flat.items() if name not in self._beside}
        return TableRow(flat, self._encoder.record(own))

    def encode(self, table: pa.Table) -> TableRows:
        """Typed rows; a column that is absent counts as missing."""
        own = [*(name for name, _ in self._fields), *self._places, *self._beside]
        names = [name for name in own if name in table.column_names]
        return TableRows(self._encoder.table(table), table.select(names))

    def predict(self, rows: Sequence[TableRow]) -> list[Scores]:
        """Scores [1, K] of each row, scored as one batch."""
        return [Scores(values[None]) for values in self._scores(_features(rows))]

    def explain(self, rows: Sequence[TableRow]) -> list[Prediction]:
        """The same with the fields' effects."""
        features = _features(rows)
        outputs, effects = self.runtime.explain(features)
        if len(rows) == 1:
            return [self._prediction(rows[0].record, features, outputs.reshape(1, -1), effects, 0)]
        values = outputs.astype(np.float64).reshape(len(rows), 1, -1)
        records = rows.records() if type(rows) is TableRows else [row.record for row in rows]
        return [
            self._prediction(record, features, values[i], effects, i)
            for i, record in enumerate(records)
        ]

    def cautions(self, rows: Sequence[TableRow]) -> Cautions:
        """Fields that are missing though no training row lacked them, beyond all, or unseen."""
        features = _features(rows)
        cells = self._unusual(features)
        if not cells and not self._terms:
            return _NO_CAUTIONS
        absent: dict[str, None] = {}
        unseen: dict[str, None] = {}
        outside: set[int] = set()
        for row, column in cells:
            name, value = self._columns[column], features[row, column]
            is_category = column >= self._num_numbers and value == _NO_CATEGORY
            if is_category and not self._is_gap(rows[row].record.get(name)):
                unseen[name] = None
            elif not is_category and not math.isnan(value):
                outside.add(column)
            elif self._must_be[column]:
                absent[name] = None
        if self._terms:
            unseen |= dict.fromkeys(e.field for row in rows for e in self._unseen(row.record))
        beyond = dict.fromkeys(self._columns[column] for column in sorted(outside))
        return Cautions(tuple(absent), tuple(beyond), tuple(unseen))

    def _unusual(self, features: NDArray[np.float32]) -> list[tuple[int, int]]:
        """The cells (row, column) that are missing, beyond all training rows, or unseen there.

        Of a single row without arrays, whose every step would cost more than all of it does.
        """
        if len(features) == 1:
            bounds = enumerate(zip(features[0].tolist(), *self._usual, strict=True))
            return [(0, i) for i, (value, least, most) in bounds if not least <= value <= most]
        usual = (features >= self._usual[0]) & (features <= self._usual[1])
        return list(zip(*(place.tolist() for place in np.nonzero(~usual)), strict=True))

    def _is_gap(self, value: Any) -> bool:
        return value is None or (isinstance(value, str) and value.strip() in self._gaps)

    def _prediction(
        self,
        record: Mapping[str, Any],
        features: NDArray[np.float32],
        values: NDArray[np.floating[Any]],
        effects: NDArray[np.floating[Any]],
        row: int,
    ) -> Prediction:
        """Scores [1, K] of one of the rows [B, F], and what can be asked of it."""
        settings = None
        if self._has_goal:
            settings = functools.partial(self._settings, features[row : row + 1])
        return _prediction(
            (
                record,
                _scores((values, (), ())),
                functools.partial(self._reasons, record, effects, row),
                functools.partial(self._outside, features, row),
                settings,
                functools.partial(self._unseen, record) if self._terms else tuple,
                tuple,  # a table has no channels that could be silent
                (),
                None,
                self._vocabulary,
                functools.partial(self._novel, record, features, row)
                if self._categories
                else tuple,
            )
        )

    def _settings(self, row: NDArray[np.float32], policy: IntervalPolicy) -> Settings:
        """The settings that the model would choose for a row [1, F]."""
        return recommended(row, self._reference, self._signature, self._scores, policy)

    def _scores(self, features: NDArray[np.float32]) -> Floats:
        return self.runtime.score(features).astype(np.float64).reshape(len(features), -1)

    def _outside(self, features: NDArray[np.float32], row: int) -> tuple[str, ...]:
        """The fields whose number in a row of features [B, F] lies beyond all training rows."""
        bounds = zip(self._columns, features[row].tolist(), *self._seen, strict=True)
        return tuple(name for name, value, least, most in bounds if value < least or value > most)

    def _novel(
        self, record: Mapping[str, Any], features: NDArray[np.float32], row: int
    ) -> tuple[str, ...]:
        """The fields whose category in a row of features [B, F] no training row had."""
        codes = features[row, self._codes].tolist()
        if _NO_CATEGORY not in codes:
            return ()
        return tuple(
            name
            for name, code in zip(self._categories, codes, strict=True)
            if code == _NO_CATEGORY and not self._is_gap(record.get(name))
        )

    def _reasons(
        self,
        record: Mapping[str, Any],
        effects: NDArray[np.floating[Any]],
        row: int,
        item: int,
        direction: Floats,
    ) -> tuple[Reason, ...]:
        """All fields' effects, of a row's [B, F] or [B, K, F], along a direction [K]."""
        del item  # a row is one
        if effects.ndim > 2:
            along = (direction @ effects[row]).tolist()
        else:  # products of arrays of one number would cost a single row a microsecond
            along, scale = effects[row].tolist(), float(direction[0])
            if scale != 1.0:
                along = [scale * effect for effect in along]
        field_effects = [
            _field_effect((name, record.get(name), along[at]))
            if isinstance(at, int)
            else _field_effect((name, record.get(name), sum(along[i] for i in at)))
            for name, at in self._fields
        ]
        for field in self._terms:
            field_effects += self._term_effects(record.get(field.name), field, along)
        field_effects.sort(key=_strength, reverse=True)
        return tuple(field_effects)

    def _term_effects(self, value: Any, field: Field, along: list[float]) -> list[FieldEffect]:
        """Each term that a record has by itself, and together those that it lacks."""
        effects = [along[i] for i in self._places[field.name]]
        if self._is_gap(value):
            return [FieldEffect(field.name, None, sum(effects))]
        by_term = dict(zip(field.categories, effects, strict=True))
        terms = [term for term in terms_of(value, field.name) if term in by_term]
        of_terms = [FieldEffect(field.name, term, by_term.pop(term)) for term in terms]
        return [*of_terms, FieldEffect(field.name, ABSENT, sum(by_term.values()))]

    def _unseen(self, record: Mapping[str, Any]) -> tuple[UnseenTerm, ...]:
        """The terms of a record that are in no vocabulary, each with the nearest that is."""
        return tuple(
            UnseenTerm(field.name, term, nearest_term(term, field.categories))
            for field in self._terms
            if not self._is_gap(value := record.get(field.name))
            for term in terms_of(value, field.name)
            if term not in field.categories
        )


class TabularServing:
    """What a replica, and whoever asks a model, needs of the family."""

    config = TabularConfig
    copying = TabularCopying

    def open(self, artifact: ModelArtifact, read: Callable[[str], bytes]) -> TablePredictor:
        """The predictor of an export's files."""
        # Numba, which texts do without.
        from spt_core.families.tabular.blend import TREES, blend_from_bytes
        from spt_core.families.tabular.kernel import KERNEL, kernel_from_bytes
        from spt_core.families.tabular.runtimes import BlendRuntime, KernelRuntime

        if artifact.role == "blend":
            kernel = kernel_from_bytes(read(KERNEL)) if WEIGHTS in artifact.files else None
            blend = blend_from_bytes(read(TREES))
            runtime: Runtime = BlendRuntime(blend, kernel, len(artifact.signature.columns))
        else:
            batches = OnnxRuntime(read(GRAPH), read(EXPLAIN_GRAPH))
            runtime = KernelRuntime(kernel_from_bytes(read(KERNEL)), batches)
        return _predictor(artifact, runtime, read)

    def open_checkpoint(self, artifact: ModelArtifact) -> TablePredictor:
        """The predictor of a checkpoint, teacher or student."""
        from spt_core.families.tabular.checkpoint import open_runtime  # torch

        return _predictor(artifact, open_runtime(artifact), artifact.read)

    def probe_gap(self, predictor: TablePredictor, probes: Mapping[str, Any]) -> float:
        """How far the answers here, alone and in a batch, are from those where they were made."""
        runtime = predictor.runtime
        rows = [[np.nan if v is None else v for v in row] for row in probes["features"]]
        features = np.array(rows, np.float32)
        expected = np.array(probes["probabilities"])
        alone = [runtime.explain(row[None])[0] for row in features]
        answers = (runtime.score(features), runtime.explain(features)[0], np.concatenate(alone))
        return max(float(np.max(np.abs(part - expected))) for part in answers)


def _predictor(
    artifact: ModelArtifact, runtime: Runtime, read: Callable[[str], bytes]
) -> TablePredictor:
    reference = None
    if REFERENCE in artifact.files:
        reference = reference_from_bytes(read(REFERENCE))
    task = all_tasks().get(artifact.task)  # a checkpoint can be run without its task
    beside = Signature(fields=()) if task is None else task.beside(artifact.signature)
    return TablePredictor(artifact.signature, runtime, artifact.classes, reference, beside)


def _features(rows: Sequence[TableRow]) -> NDArray[np.float32]:
    if type(rows) is TableRows:  # isinstance asks an abstract class, which a single row feels
        return rows.features
    return rows[0].features if len(rows) == 1 else np.concatenate([row.features for row in rows])


def _strength(reason: FieldEffect) -> float:
    return abs(reason.effect)
