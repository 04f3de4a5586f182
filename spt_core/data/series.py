"""Long tables of readings -> windows of them: every reading is the end of one.

A window has T steps, the last of which is a reading. Each step takes the last reading within half a
step of it, and none that came after the window's end: readings that come at odd moments are
resampled so, and a step without a reading is a gap (null). Where steps are calendar months, each
month takes its last reading. What is kept of a reading beside its channels (label, unit, time) is
that of the window's end. Where something is known in advance, a window goes on over the horizon: it
holds those channels there, and nothing of the others.

No window ends at a reading that has less than T - 1 steps of its unit before it, whose window is
mostly gaps, whose label, or what is to be known in advance, is not there for the whole horizon, or
that lies between two strides; nor at one that holds nothing but what was known in advance, or, of
forecasts, no reading of what is to be foretold.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spt_core.calendar import CYCLES_S, CalendarPart, later, months, phases
from spt_core.data.corpus import EVENTS, FROM, INSTANT, UNTIL
from spt_core.signature import SequenceShape
from spt_core.task import Head

NO_WINDOW = "no window of readings ends there"
WINDOWS = pa.list_(pa.list_(pa.float32()))
ROWS_AT_ONCE = 16_384
BYTES_AT_ONCE = 64 << 20  # of windows, and of what finds their steps
# Of windows that are so long that a stretch of them has fewer than their steps: parts hold what
# goes before each stretch again.
MAX_BYTES_AT_ONCE = 512 << 20
FINDING_BYTES = 48  # of a step: where it is due, where it is, and whether it is there
MAX_GAPS = 0.5  # of a window's steps
USUAL_SHARE = 0.2  # of the distances, from which on the most frequent one is the step
STEP_TOLERANCE = 0.01
TELLING = 0.9999  # a correlation with the label that no sensor has
MIN_TOLD = 20
MICROS = 1e6
SHORTEST_MONTH_S = 28 * 86_400.0
MEAN_MONTH_S = 365.25 / 12 * 86_400.0
MONTH_TOLERANCE_S = 4 * 86_400.0
EVEN_SHARE = 0.9  # of equal distances, from which on steps are no months
NUM_CYCLES = 2  # of a part of the calendar that training rows must go through, to learn from it
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Pace(NamedTuple):
    """How far apart readings are: the step, and the share of distances that are another.

    `repeated` is the share of readings that come at the very moment of another of their unit.
    `in_months` says that steps are calendar months; `span_s` is the time from the first reading to
    the last, 0 where the clock counts.
    """

    step: float
    uneven: float
    repeated: float
    in_months: bool = False
    span_s: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Cutting:
    """How windows are cut of readings; `name` is the field that holds them.

    With a `label` windows without one are left out. Of forecasts it names a channel, and becomes
    the list of its values over the horizon.
    """

    name: str
    shape: SequenceShape
    head: Head
    label: str | None = None
    stride: int = 1


def pace(table: pa.Table, time: str, unit: str | None, *, share: float = 1.0) -> Pace | None:
    """How far apart the sampled readings of each unit are; None where no two differ in time.

    The step is the most frequent distance; where none is frequent, the lower quartile. Of a sample
    that holds a `share` of the readings, most distances are several steps: the step is the least of
    those that are about as frequent as any. Distances that are months are counted in months.
    """
    times, units = moments(table[time]), unit_numbers(table, unit)
    order = np.lexsort((times, units))
    same = np.diff(units[order]) == 0
    gaps = np.diff(times[order])[same]
    repeated = int((gaps == 0).sum())
    is_time = pa.types.is_timestamp(table[time].type)
    in_months = is_time and _are_months(gaps[gaps > 0])
    if in_months:
        gaps = np.diff(months(times[order]))[same]
    gaps = gaps[np.isfinite(gaps) & (gaps > 0)]
    if not len(gaps):
        return None
    values, counts = np.unique(gaps.round(6), return_counts=True)
    place = int(counts.argmax())
    if share < 1.0:
        place = int(np.flatnonzero(2 * counts >= counts.max())[0])
    is_usual = counts[place] >= USUAL_SHARE * share * len(gaps)
    step = float(values[place]) if is_usual else float(np.quantile(gaps, 0.25))
    uneven = float(np.mean(np.abs(gaps / step - 1.0) > STEP_TOLERANCE))
    span_s = float(times.max() - times.min()) if is_time else 0.0
    return Pace(step, uneven, repeated / len(times), in_months, span_s)


def _are_months(gaps_s: Floats) -> bool:
    if not len(gaps_s) or gaps_s.min() < SHORTEST_MONTH_S:
        return False
    if np.unique(gaps_s, return_counts=True)[1].max() >= EVEN_SHARE * len(gaps_s):
        return False
    apart = np.abs(gaps_s - np.rint(gaps_s / MEAN_MONTH_S) * MEAN_MONTH_S)
    return bool(np.quantile(apart, 0.99) <= MONTH_TOLERANCE_S)


def calendar_of(shape: SequenceShape, span_s: float) -> tuple[CalendarPart, ...]:
    """What of the calendar a forecast may rest on, by the time that its training targets cover.

    A part whose cycle is not longer than a step says nothing, and one of which there are fewer than
    NUM_CYCLES cannot be told from chance.
    """
    if shape.in_readings:
        return ()  # when the next ones will be is not said
    step_s = shape.step * (SHORTEST_MONTH_S if shape.in_months else 1.0)
    covered = span_s - (shape.length - 1) * step_s
    return tuple(
        part
        for part, cycle in CYCLES_S.items()
        if cycle >= 2 * step_s and covered >= NUM_CYCLES * cycle
    )


def telling_channels(table: pa.Table, cutting: Cutting) -> list[str]:
    """The channels whose last reading alone tells the label, but for a factor and a shift.

    Of numbers, where they are below their greatest: labels are often capped there.
    """
    if cutting.head not in ("regression", "anomalies") or cutting.label is None:
        return []
    labels = _numbers(table, cutting.label)
    kept = labels < labels.max() if cutting.head == "regression" else np.isfinite(labels)
    if kept.sum() < MIN_TOLD or labels[kept].std() == 0:
        return []
    last = windows_of(table[cutting.name], cutting.shape)[kept, -1].astype(np.float64)
    own = labels[kept]
    telling: list[str] = []
    for name, values in zip(cutting.shape.channels, last.T, strict=True):
        there = np.isfinite(values)
        if there.sum() < MIN_TOLD or values[there].std() == 0 or own[there].std() == 0:
            continue
        if abs(np.corrcoef(values[there], own[there])[0, 1]) >= TELLING:
            telling.append(name)
    return telling


def cut(table: pa.Table, cutting: Cutting) -> pa.Table:
    """One row for each reading [N], sorted by unit and time; its window is null where it has none.

    Every reading of a unit must be in the table.
    """
    return pa.concat_tables(list(cuts(table, cutting)))


def cuts(table: pa.Table, cutting: Cutting) -> Iterator[pa.Table]:
    """The rows that `cut` returns, some at a time."""
    shape, label = cutting.shape, cutting.label
    units, clock_s = unit_numbers(table, shape.unit), _clock_s(table, shape)
    rows = np.lexsort((clock_s, units))
    table, units, clock_s = table.take(pa.array(rows)), units[rows], clock_s[rows]
    times = moments(table[shape.time])
    kept = [n for n in table.column_names if n not in shape.channels or n == label]
    columns = {name: table[name] for name in kept}
    timeline = _Timeline(_steps_of(clock_s, shape), units, shape)
    values = np.column_stack([_numbers(table, name) for name in shape.channels])
    values = values.astype(np.float32)
    target = None
    if cutting.head == "forecasts" and label is not None:
        target = shape.channels.index(label)
    if INSTANT in table.column_names:
        # What a forecast looks back on was known by then: its label alone reaches over a cut.
        back = 0 if cutting.head == "forecasts" else 1 - shape.length
        columns[FROM] = _moved(table[INSTANT], back, timeline)
        columns[UNTIL] = _moved(table[INSTANT], shape.horizon, timeline)
    events = None
    if cutting.head == "anomalies" and label is not None:
        events = np.nan_to_num(_numbers(table, label), nan=1.0)  # unlabelled, it may be one
    followed = None if target is None or label is None else _numbers(table, label)
    rest = pa.table(columns)
    for start in range(0, max(len(times), 1), _rows_at_once(shape)):
        some = np.arange(start, min(start + _rows_at_once(shape), len(times)))
        windows = _windows(timeline, values, times, some, cutting.stride, target)
        own = rest.slice(start, len(some))
        if label is not None:
            known, is_known = _labels(own[label], followed, timeline, some)
            own = own.set_column(own.column_names.index(label), label, known)
            windows = pc.if_else(pa.array(is_known), windows, pa.scalar(None, WINDOWS))
        if events is not None:
            is_there = np.asarray(windows.is_valid())
            sums = np.zeros(len(some), np.int32)
            sums[is_there] = timeline.sums(events, some[is_there])
            own = own.append_column(EVENTS, pa.array(sums))
        yield own.append_column(cutting.name, windows)


def _rows_at_once(shape: SequenceShape) -> int:
    row_bytes = shape.num_rows * (4 * shape.num_columns + FINDING_BYTES)
    at_once = min(BYTES_AT_ONCE // row_bytes, ROWS_AT_ONCE)
    return max(at_once, min(shape.num_rows, MAX_BYTES_AT_ONCE // row_bytes), 1)


def moments(column: pa.ChunkedArray) -> Floats:
    """When each reading was: seconds since 1970 of times, numbers as they are."""
    if pa.types.is_timestamp(column.type):
        micros = column.cast(pa.timestamp("us")).cast(pa.int64())
        return np.asarray(pc.fill_null(micros, 0), np.float64) / MICROS
    return np.asarray(pc.fill_null(column.cast(pa.float64()), np.nan), np.float64)


def _clock_s(table: pa.Table, shape: SequenceShape) -> Floats:
    """What puts readings [N] in order: instants, as a wall clock has an hour twice in autumn.

    Months begin by the wall clock.
    """
    if INSTANT in table.column_names and not shape.in_months:
        return np.asarray(table[INSTANT], np.float64) / MICROS
    return moments(table[shape.time])


def _steps_of(times_s: Floats, shape: SequenceShape) -> Floats:
    """The clock that steps are counted by, of readings [N] sorted by unit and time."""
    if shape.in_readings:
        return np.arange(len(times_s), dtype=np.float64)
    return months(times_s) if shape.in_months else times_s


def _moved(instants: pa.ChunkedArray, steps: int, timeline: _Timeline) -> pa.Array | Any:
    """Instants in microseconds, so many steps later; of counted readings, within their unit."""
    shape = timeline.shape
    if shape.in_readings:
        return instants.take(pa.array(timeline.beside(steps)))
    if not shape.in_months:
        return pc.add(instants, pa.scalar(round(steps * shape.step * MICROS), pa.int64()))
    seconds = np.asarray(instants, np.float64) / MICROS
    moved = later(seconds, np.full(len(seconds), steps), shape.step, in_months=True)
    return pa.array(np.rint(moved * MICROS).astype(np.int64))


def unit_numbers(table: pa.Table, unit: str | None) -> Ints:
    """A number for each reading's unit [N]."""
    if unit is None:
        return np.zeros(table.num_rows, np.int64)
    codes = table[unit].combine_chunks().dictionary_encode().indices
    return np.asarray(pc.fill_null(codes, -1)).astype(np.int64)


class _Timeline:
    """Readings sorted by unit and time [N], and which of them each window's steps take."""

    def __init__(self, times: Floats, units: Ints, shape: SequenceShape) -> None:
        self.shape, self._times = shape, times
        starts = np.flatnonzero(np.diff(units, prepend=-2))
        sizes = np.diff(np.append(starts, len(units)))
        self._first = np.repeat(starts, sizes)
        self._last = np.repeat(starts + sizes - 1, sizes)
        # Another reading of the same step follows: that one counts.
        follows = np.diff(times, append=np.inf) <= shape.step / 2
        self._is_corrected = follows & (np.arange(len(times)) < self._last)

    def __len__(self) -> int:
        return len(self._times)

    def beside(self, steps: int) -> Ints:
        """The reading [N] so many readings after each, or the unit's last or first one."""
        return np.clip(np.arange(len(self)) + steps, self._first, self._last)

    def steps(self, rows: Ints, first: int, behind: int) -> Ints:
        """The reading that each of the steps [first, behind) from a row on takes; -1 is a gap."""
        step, times = self.shape.step, self._times
        offsets = np.arange(first, behind)
        plain = rows[:, None] + offsets
        inside = (plain >= self._first[rows][:, None]) & (plain <= self._last[rows][:, None])
        plain = np.where(inside, plain, rows[:, None])
        due = times[rows][:, None] + offsets * step
        is_even = np.abs(times[plain] - due) <= STEP_TOLERANCE * step
        is_even &= ~self._is_corrected[plain] | (plain == rows[:, None])
        places = np.where(inside & is_even, plain, -1)
        uneven = np.flatnonzero((~is_even & inside).any(1))
        for row in uneven:
            places[row] = self._nearest(int(rows[row]), due[row], ahead=first > 0)
        return places

    def _nearest(self, row: int, due: Floats, *, ahead: bool) -> Ints:
        start, half = self._first[row], self.shape.step / 2
        own = self._times[start : (self._last[row] if ahead else row) + 1]
        places = np.searchsorted(own, due + half, side="right") - 1
        is_near = (places >= 0) & (own[np.maximum(places, 0)] > due - half)
        if not ahead:
            places[-1], is_near[-1] = row - start, True
        return np.where(is_near, places + start, -1)

    def has_history(self, rows: Ints) -> NDArray[np.bool_]:
        """Whether a whole window of the unit's own time lies before each row."""
        span = (self.shape.length - 1.5) * self.shape.step
        return self._times[rows] - self._times[self._first[rows]] >= span

    def is_strided(self, rows: Ints, stride: int) -> NDArray[np.bool_]:
        """Whether a window ends at each row; one always ends at a unit's last reading."""
        return (self._last[rows] - rows) % stride == 0

    def sums(self, values: Floats, rows: Ints) -> Floats:
        """The sums of the windows that end at rows [n], of the readings that they take."""
        steps = self.steps(rows, 1 - self.shape.length, 1)
        return np.where(steps >= 0, values[steps], 0.0).sum(1)


def _windows(
    timeline: _Timeline,
    values: NDArray[np.float32],
    times: Floats,
    rows: Ints,
    stride: int,
    target: int | None,
) -> pa.Array:
    shape = timeline.shape
    chosen = timeline.has_history(rows) & timeline.is_strided(rows, stride)
    is_ahead = np.isin(shape.channels, shape.in_advance)
    if shape.in_advance:
        chosen &= np.isfinite(values[rows][:, ~is_ahead]).any(1)
    steps = timeline.steps(rows[chosen], 1 - shape.length, 1)
    enough = (steps < 0).mean(1) <= MAX_GAPS if len(steps) else np.zeros(0, bool)
    chosen[chosen], steps = enough, steps[enough]
    windows = np.where((steps >= 0)[..., None], values[steps], np.float32(np.nan))
    if target is not None:
        enough = np.isfinite(windows[:, :, target]).any(1)
        chosen[chosen], windows = enough, windows[enough]
    if not shape.num_ahead:
        return as_column(windows, chosen)
    steps = timeline.steps(rows[chosen], 1, shape.horizon + 1)
    is_there = (steps >= 0)[..., None] & is_ahead
    ahead = np.where(is_there, values[steps], np.float32(np.nan))
    enough = np.isfinite(ahead[:, :, is_ahead]).all((1, 2))
    chosen[chosen] = enough
    windows = with_horizon(windows[enough], ahead[enough], times[rows[chosen]], shape)
    return as_column(windows, chosen)


def with_horizon(
    readings: NDArray[np.float32],
    ahead: NDArray[np.float32],
    last_s: Floats,
    shape: SequenceShape,
) -> NDArray[np.float32]:
    """Windows [N, T + H, C + 2 * parts] of readings [N, T, C] and what is known ahead [N, H, C].

    `last_s` [N] says when each window's last reading was, in seconds since 1970.
    """
    windows = np.concatenate([readings, ahead], 1)
    if not shape.calendar:
        return windows
    steps = np.arange(1 - shape.length, shape.horizon + 1)
    moments_s = later(last_s[:, None], steps[None], shape.step, in_months=shape.in_months)
    return np.concatenate([windows, phases(moments_s, shape.calendar)], 2)


def as_column(
    windows: NDArray[np.float32], present: NDArray[np.bool_] | None = None
) -> pa.ListArray:
    """Windows [n, T, C] as a column [N], null where none is `present`; gaps are null."""
    num, length, width = windows.shape
    present = np.ones(num, bool) if present is None else present
    values = np.ascontiguousarray(windows).ravel()
    cells = pa.array(values, pa.float32(), mask=np.isnan(values))
    readings = pa.ListArray.from_arrays(
        pa.array(np.arange(num * length + 1, dtype=np.int32) * np.int32(width)), cells
    )
    offsets = np.concatenate([[0], np.cumsum(present * length)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), readings, mask=pa.array(~present))


def windows_of(column: pa.ChunkedArray, shape: SequenceShape) -> NDArray[np.float32]:
    """The windows [N, T, C] of a column without nulls; gaps are NaN."""
    size = (-1, shape.num_rows, shape.num_columns)
    arrays = [
        np.asarray(pc.fill_null(chunk.flatten().flatten().cast(pa.float32()), np.nan)).reshape(size)
        for chunk in column.chunks
        if len(chunk)
    ]
    return np.concatenate(arrays) if arrays else np.empty((0, *size[1:]), np.float32)


def _labels(
    column: pa.ChunkedArray, values: Floats | None, timeline: _Timeline, rows: Ints
) -> tuple[pa.Array | pa.ChunkedArray, NDArray[np.bool_]]:
    """The labels of the windows that end at rows [n], and which are known.

    With `values` [N], those of all readings, they are what follows over the horizon.
    """
    if values is None:
        return column, np.asarray(column.is_valid())
    steps = timeline.steps(rows, 1, timeline.shape.horizon + 1)
    ahead = np.where(steps >= 0, values[steps], np.nan)
    texts = [json.dumps(r.tolist()) if np.isfinite(r).all() else None for r in ahead]
    is_present = np.array([text is not None for text in texts], bool)
    return pa.array(texts, pa.large_string()), is_present


def _numbers(table: pa.Table, name: str) -> Floats:
    return np.asarray(pc.fill_null(table[name].cast(pa.float64()), np.nan), np.float64)
