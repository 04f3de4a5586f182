"""What a replica loads of a series' model: record -> WindowReader -> SeriesRuntime -> scores, map.

No torch here.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answering import Cautions
from spt_core.artifacts import FACTS, GRAPH, ModelArtifact
from spt_core.data.series import windows_of
from spt_core.errors import InputError
from spt_core.families.onnx import INPUT, open_session
from spt_core.families.series.config import SeriesConfig, SeriesCopying
from spt_core.families.series.reading import (
    EncodedWindow,
    WindowReader,
    filled,
    num_silent,
    record_of,
)
from spt_core.heads.base import Floats, Prediction, Reasons, Scores
from spt_core.judgement import Reason, Silence, Stretch
from spt_core.signature import Field, SequenceShape, Signature

OUTPUTS = ("scores", "map")
ROWS_AT_ONCE = 256
NUM_LAGS = 3  # stretches of the readings of what is forecast
LEAST_SILENT = 3  # gaps in a row at a window's end, from which on a channel may count as silent
MARGIN = 0.1  # of a channel's span in training, by which a reading may lie beyond it
Windows = NDArray[np.float32]


class SeriesRuntime(Protocol):
    """Runs windows. Thread-safe, holds the weights."""

    def explain(self, windows: Windows) -> tuple[Windows, Windows]:
        """Scores [B, K] of windows [B, T, C], and the map [B, E, T, C] of the first E of them.

        Those of forecasts are [B, H * Q], and have no map.
        """
        ...


class OnnxSeriesRuntime:
    """One graph: scores and their map. Thread-safe."""

    def __init__(self, graph: bytes) -> None:
        self._session = open_session(graph)

    def explain(self, windows: Windows) -> tuple[Windows, Windows]:
        """Scores and map, as SeriesRuntime says."""
        scores, *parts = cast(list[Any], self._session.run(None, {INPUT: windows}))
        no_map = np.empty((len(windows), 0, *windows.shape[1:]), np.float32)
        return scores, parts[0] if parts else no_map


class Occlusion(NamedTuple):
    """A part of a window that is made as usual, to see what it does: its rows and columns."""

    name: str
    rows: slice
    columns: tuple[int, ...]
    of_calendar: bool = False


class SeriesPredictor:
    """The Predictor of series."""

    def __init__(
        self, signature: Signature, runtime: SeriesRuntime, facts: Mapping[str, Any]
    ) -> None:
        self.runtime, self.facts = runtime, facts
        self.classes: tuple[str, ...] = tuple(facts["classes"])
        self._is_whole = facts["head"] == "forecasts" and facts["is_whole"]
        self._num_items = int(facts["horizon"]) if facts["head"] == "forecasts" else 1
        self.field = _sequence(signature)
        assert self.field.shape is not None
        self._shape = self.field.shape
        self._channels = self._shape.channels
        self._reader = WindowReader(signature)
        seen = np.array(self._shape.seen or [(-np.inf, np.inf)] * len(self._channels), np.float64)
        span = MARGIN * (seen[:, 1] - seen[:, 0])
        self._least, self._greatest = seen[:, 0] - span, seen[:, 1] + span
        self._center = np.array(facts["center"], np.float32)
        is_forecast = facts["head"] == "forecasts"
        self._occlusions = occlusions(self._shape, int(facts["target"])) if is_forecast else None
        self._usual_gaps = np.array(self._shape.gaps or [0] * len(self._channels))
        # Versions of before it was kept do not know it.
        self._greatest_value: float | None = facts.get("value_greatest")
        self._moves = np.array(facts["moves"][: len(self._channels)], bool)

    def read(self, record: Mapping[str, Any]) -> EncodedWindow:
        """A request's window; InputError where what is to be foretold has no reading in it."""
        row = self.window(record)
        if self.facts["head"] == "forecasts":
            target = int(self.facts["target"])
            if row.num_silent[target] >= self._shape.length:
                raise InputError(
                    f"a forecast must have a reading of {self._channels[target]!r} in its window, "
                    f"however: all {self._shape.length} are missing"
                )
        return row

    def window(self, record: Mapping[str, Any]) -> EncodedWindow:
        """Any window that the network can take, as probes are."""
        return self._reader.record(record)

    def encode(self, table: pa.Table) -> list[EncodedWindow]:
        """The windows of typed rows."""
        windows = windows_of(table[self.field.name], self._shape)
        silent = num_silent(windows[:, : self._shape.length, : len(self._channels)])
        return [
            EncodedWindow(record_of(self.field.name, own, self._shape), values, gaps)
            for own, values, gaps in zip(windows, filled(windows), silent, strict=True)
        ]

    def predict(self, rows: Sequence[EncodedWindow]) -> list[Scores]:
        """The scores of each window."""
        return [Scores(values) for _, values, _ in self._run(rows)]

    def explain(self, rows: Sequence[EncodedWindow]) -> Iterator[Prediction]:
        """The same with the stretches of readings that they rest on."""
        for row, values, parts in self._run(rows):
            outside = functools.partial(self._outside, row.values)
            yield Prediction(
                row.record,
                Scores(values),
                self._reasons(row, parts),
                outside,
                silent=functools.partial(self._silent, row),
                moments=row.moments,
                greatest=self._greatest_value,
            )

    def cautions(self, rows: Sequence[EncodedWindow]) -> Cautions:
        """Channels that are silent, and those beyond all of training or that stand still."""
        missing: dict[str, None] = {}
        outside: dict[str, None] = {}
        for row in rows:
            missing |= dict.fromkeys(silence.channel for silence in self._silent(row))
            outside |= dict.fromkeys(self._outside(row.values))
        return Cautions(missing=tuple(missing), outside=tuple(outside))

    def _silent(self, row: EncodedWindow) -> tuple[Silence, ...]:
        """Channels without any reading in the window, and those that have stopped.

        One has stopped that ends with at least LEAST_SILENT gaps in a row, and with more of them
        than 99 of 100 training windows: a sensor that reports every tenth step is not lost.
        """
        steps, length = row.num_silent, self._shape.length
        has_stopped = (steps >= LEAST_SILENT) & (steps > self._usual_gaps)
        lost = np.flatnonzero((steps >= length) | has_stopped).tolist()
        return tuple(Silence(self._channels[i], int(steps[i]), length) for i in lost)

    def _outside(self, values: Windows) -> tuple[str, ...]:
        """Channels that read beyond all training rows, or stand still and never did there."""
        values = values[:, : len(self._channels)]
        beyond = (values.min(0) < self._least) | (values.max(0) > self._greatest)
        readings = values[: self._shape.length]
        still = self._moves & (readings.min(0) == readings.max(0))
        return tuple(
            name
            for name, is_beyond, is_still in zip(self._channels, beyond, still, strict=True)
            if is_beyond or is_still
        )

    def _run(
        self, rows: Sequence[EncodedWindow]
    ) -> Iterator[tuple[EncodedWindow, Floats, Windows]]:
        for start in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[start : start + ROWS_AT_ONCE]
            scores, parts = self.runtime.explain(np.stack([row.values for row in some]))
            for row, values, own in zip(some, scores.astype(np.float64), parts, strict=True):
                items = values.reshape(self._num_items, -1)
                yield row, np.round(items) if self._is_whole else items, own

    def _drivers(
        self, occlusions: Sequence[Occlusion], values: Windows, direction: Floats
    ) -> tuple[Stretch, ...]:
        """What each part of a window does to the sum of a forecast's steps, strongest first.

        That is how far the sum falls where the part is as usual (Zeiler and Fergus, ECCV 2014): of
        what is forecast, as the window's other readings are; of another channel and of the
        calendar, as in training. `direction` [Q] takes a step's quantiles to its mean.
        """
        windows = np.repeat(values[None], len(occlusions) + 1, 0)
        for window, part in zip(windows[1:], occlusions, strict=True):
            window[part.rows, part.columns] = self._usual(values, part)
        scores, _ = self.runtime.explain(windows)
        totals = scores.reshape(len(windows), self._num_items, -1).sum(1) @ direction
        stretches = (
            Stretch(
                part.name,
                part.rows.start,
                part.rows.stop,
                None if part.of_calendar else _reading(values[part.rows.stop - 1, part.columns[0]]),
                float(totals[0] - total),
                part.of_calendar or part.rows.start >= self._shape.length,
            )
            for part, total in zip(occlusions, totals[1:], strict=True)
        )
        return tuple(sorted(stretches, key=lambda stretch: -abs(stretch.effect)))

    def _usual(self, values: Windows, part: Occlusion) -> Windows | np.float32:
        target = int(self.facts["target"])
        if part.columns != (target,):
            return self._center[list(part.columns)]
        others = np.delete(values[: self._shape.length, target], part.rows)
        return np.float32(others.mean())

    def _reasons(self, row: EncodedWindow, parts: Windows) -> Reasons:
        def reasons(item: int, direction: Floats) -> tuple[Reason, ...]:
            del item  # a window is one
            if self._occlusions is not None:
                return self._drivers(self._occlusions, row.values, direction)
            if not len(parts):
                return ()
            along = direction[: len(parts)].astype(np.float32)
            effects = np.tensordot(along, parts, 1)
            return stretches(effects, row.values, self._channels)

        return reasons


def occlusions(shape: SequenceShape, target: int) -> list[Occlusion]:
    """The parts of a window that a forecast may rest on.

    Those of the target are thirds of its readings; each other channel's readings are one, as are
    what is known in advance of it and each part of the calendar.
    """
    parts: list[Occlusion] = []
    cuts = np.linspace(0, shape.length, min(NUM_LAGS, shape.length) + 1).round().astype(int)
    for column, name in enumerate(shape.channels):
        rows = [slice(0, shape.length)]
        if column == target:
            rows = [slice(int(a), int(b)) for a, b in itertools.pairwise(cuts)]
        if name in shape.in_advance:
            rows.append(slice(shape.length, shape.num_rows))
        parts += [Occlusion(name, each, (column,)) for each in rows]
    whole, first = slice(0, shape.num_rows), len(shape.channels)
    for number, name in enumerate(shape.calendar):
        columns = (first + 2 * number, first + 2 * number + 1)
        parts.append(Occlusion(name.replace("_", " "), whole, columns, of_calendar=True))
    return parts


def _reading(value: Any) -> float | None:
    """As it was sent: the fewest digits that give the same number of 32 bits."""
    return None if np.isnan(value) else float(str(np.float32(value)))


def stretches(effects: Windows, values: Windows, channels: Sequence[str]) -> tuple[Stretch, ...]:
    """Each channel's effect, strongest first, and the stretch of readings that has most of it.

    `effects` are those of readings [T, C]; a stretch is the one of greatest sum in the direction of
    the whole (Kadane's method). Where none is negative, as of errors, it is of what is above the
    channel's mean.
    """
    totals = effects.sum(0)
    signed = effects * np.where(totals < 0, -1.0, 1.0)
    if (effects >= 0).all():
        signed = effects - effects.mean(0)
    best = np.full(len(channels), -np.inf)
    sums, starts = np.zeros(len(channels)), np.zeros(len(channels), int)
    first, behind = np.zeros(len(channels), int), np.zeros(len(channels), int)
    for step, own in enumerate(signed):
        fresh = sums <= 0
        sums, starts = np.where(fresh, own, sums + own), np.where(fresh, step, starts)
        better = sums > best
        best = np.where(better, sums, best)
        first, behind = np.where(better, starts, first), np.where(better, step + 1, behind)
    last = values[-1]
    order: list[int] = np.argsort(-np.abs(totals), kind="stable").tolist()
    return tuple(
        Stretch(
            channels[i],
            int(first[i]),
            int(behind[i]),
            _reading(last[i]),
            float(totals[i]),
        )
        for i in order
    )


class SeriesServing:
    """What a replica, and whoever asks a model, needs of the family."""

    config = SeriesConfig
    copying = SeriesCopying

    def open(self, artifact: ModelArtifact, read: Callable[[str], bytes]) -> SeriesPredictor:
        """The predictor of an export's files."""
        facts = json.loads(read(FACTS))
        return SeriesPredictor(artifact.signature, OnnxSeriesRuntime(read(GRAPH)), facts)

    def open_checkpoint(self, artifact: ModelArtifact) -> SeriesPredictor:
        """The predictor of a checkpoint, teacher or student."""
        from spt_core.families.series.checkpoint import open_runtime  # torch

        facts = json.loads(artifact.read(FACTS))
        return SeriesPredictor(artifact.signature, open_runtime(artifact), facts)

    def probe_gap(self, predictor: SeriesPredictor, probes: Mapping[str, Any]) -> float:
        """How far the files' answers here are from those where they were made.

        In a typical answer, or in the one asked for where that is larger, as floats are.
        """
        gaps: list[float] = []
        for record, scores in zip(probes["records"], probes["scores"], strict=True):
            (actual,) = predictor.predict([predictor.window(record)])
            expected = np.array(scores) / probes["unit"]
            gap = np.abs(actual.values.ravel() / probes["unit"] - expected).max(initial=0.0)
            gaps.append(float(gap) / max(1.0, np.abs(expected).max(initial=0.0)))
        return max(gaps)


def _sequence(signature: Signature) -> Field:
    return next(field for field in signature.fields if field.kind == "sequence")
