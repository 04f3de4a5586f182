"""Windows of readings -> numbers [T, C]: the one encoder of training, scoring and serving.

A gap is filled with the channel's last reading before it, at a window's beginning with the first
one after it; a channel without any stays NaN, and counts as usual in the network.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from spt_core.calendar import later, months
from spt_core.data.series import MAX_GAPS, STEP_TOLERANCE, with_horizon
from spt_core.errors import InputError, nearest, shown
from spt_core.families.series.horizon import read_horizon
from spt_core.notation import FLOAT32_MAX
from spt_core.records import parse_zoned, wrong_value
from spt_core.signature import (
    KNOWN_IN_ADVANCE,
    MAX_READINGS,
    SequenceShape,
    Signature,
    step_unit,
)
from spt_core.task import example_moments

Window = NDArray[np.float32]
_PLAIN = {int, float, type(None)}
OTHER_PACE = 3.0  # times the usual distance, or a third: weeks instead of days, hours of them
_EPOCH = datetime.datetime(1970, 1, 1)


class EncodedWindow(NamedTuple):
    """A window as it was sent, in `record`, and as the network takes it [T, C].

    `num_silent` [C] is how many gaps in a row each channel's readings end with. `moments` [T] are
    when its steps were, as the client writes times: that of the reading that a step took, and of a
    step without one the time at which it was due; empty where the client does not say.
    """

    record: Mapping[str, Any]
    values: Window
    num_silent: NDArray[np.int64]
    moments: tuple[Any, ...] = ()


class _Readings(NamedTuple):
    """A request's readings [N, C], when they were, and the moment of the last one."""

    values: Window
    moments: Sequence[Any] = ()
    last: float | None = None


class WindowReader:
    """Reads the windows of requests. Thread-safe.

    A window is a list of readings, oldest first, each an object of channels (a number; null is a
    gap) and, if the client says so of all, when it was; an object of lists, one for each channel;
    or a list of lists in the channels' order. Of more readings than the model's window has the last
    ones count. What is known in advance of the horizon is an object of lists beside it, or a list
    of objects.
    """

    def __init__(self, signature: Signature) -> None:
        field = next(field for field in signature.fields if field.kind == "sequence")
        assert field.shape is not None, "a sequence has a shape"
        self._terms = {term.name: term for term in signature.fields if term is not field}
        self._name, self._shape = field.name, field.shape
        self._channels = field.shape.channels
        self._own = frozenset(self._channels)
        extra = {field.shape.time, field.shape.unit} - {None}
        self._unit = unit = step_unit(field.shape)
        self._step = (
            f"{field.shape.step:g}{unit.removesuffix('s') if field.shape.step == 1 else unit}"
        )
        self._extra = cast(frozenset[str], frozenset(extra)) - self._own

    def record(self, record: Mapping[str, Any]) -> EncodedWindow:
        """A request's window; InputError with one sentence about the first bad reading."""
        for name, value in record.items():
            if name != self._name and not (self._shape.in_advance and name == KNOWN_IN_ADVANCE):
                self._check_term(name, value)
        given = record.get(self._name)
        if given is None:
            raise InputError(f"the field {self._name!r} is required, however: it is missing")
        stored = self._stored(given) if self._shape.num_ahead else None
        if stored is not None and KNOWN_IN_ADVANCE not in record:
            silent = num_silent(stored[: self._shape.length, : len(self._channels)])
            return EncodedWindow(record, filled(stored), silent)
        readings, moments, last = self._values(given)
        silent = num_silent(readings)
        if self._shape.num_ahead:
            ahead = read_horizon(record.get(KNOWN_IN_ADVANCE), self._shape)
            last_s = np.array([self._moment_of_last(last)])
            readings = with_horizon(readings[None], ahead[None], last_s, self._shape)[0]
        return EncodedWindow(record, filled(readings), silent, tuple(moments))

    def _stored(self, given: object) -> Window | None:
        """A window as a corpus of the model's has it, its horizon with it; None of another one."""
        shape = self._shape
        rows = cast(list[Any], given if isinstance(given, list) else [])
        if len(rows) != shape.num_rows or not all(
            isinstance(row, list) and len(cast(Any, row)) == shape.num_columns for row in rows
        ):
            return None
        others = [n for n, name in enumerate(self._channels) if name not in shape.in_advance]
        if any(row[place] is not None for row in rows[shape.length :] for place in others):
            return None
        names = [*self._channels, *shape.calendar, *shape.calendar]
        return self._numbers(rows, names)

    def _moment_of_last(self, last: float | None) -> float:
        if last is None and self._shape.calendar:
            raise InputError(
                f"a reading must say when it was, by which the model knows the season, however: "
                f"{self._shape.time!r} is missing"
            )
        return last or 0.0

    def _check_term(self, name: str, value: object) -> None:
        """InputError unless it is a number that the task asks for beside the readings."""
        if name not in self._terms:
            raise InputError(
                f"a record may hold only the model's fields, however: {shown(name)} is none of "
                f"them; {nearest(name, [self._name, *self._terms])}"
            )
        if value is None:
            return
        term = self._terms[name]
        least, greatest = term.minimum or 0.0, FLOAT32_MAX if term.maximum is None else term.maximum
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not least <= cast(float, value) <= greatest:
            top = "upwards" if term.maximum is None else f"to {greatest:g}"
            raise wrong_value(name, f"a number from {least:g} {top}", value)

    def _values(self, given: object) -> _Readings:
        """The readings [T, C] of a window, and when they were, if the client says so."""
        if isinstance(given, Mapping):
            values, moments, last = self._of_channels(cast(Mapping[str, Any], given))
        elif isinstance(given, list) and given:
            self._check_size(len(cast(list[Any], given)))
            is_named = isinstance(given[0], Mapping)
            read = self._of_readings(given) if is_named else _Readings(self._of_rows(given))
            values, moments, last = read
        else:
            fact = "it is empty" if given == [] else shown(given)
            raise InputError(
                f"the field {self._name!r} must be a list of readings, however: {fact}"
            )
        length = self._shape.length
        if len(values) < length:
            raise InputError(
                f"a window must have {length} readings, however: {self._name!r} has {len(values)}"
            )
        values = values[-length:]
        num_gaps = int(np.isnan(values).all(1).sum())
        if num_gaps > MAX_GAPS * length:
            raise InputError(
                f"at most {MAX_GAPS:.0%} of a window's steps may be gaps, however: {num_gaps} of "
                f"{length} are"
            )
        return _Readings(values, moments[-length:], last)

    def _check_size(self, size: int) -> None:
        if size > MAX_READINGS:
            raise InputError(
                f"a window takes at most {MAX_READINGS:,} readings, however: there are {size:,}"
            )

    def _of_rows(self, rows: Sequence[Any]) -> Window:
        """Readings as lists of numbers."""
        width = len(self._channels)
        for number, row in enumerate(rows):
            if row is not None and not (isinstance(row, list) and len(cast(Any, row)) == width):
                raise InputError(
                    f"a reading must be a list of {width} numbers or an object of channels, "
                    f"however: reading {number} is {shown(row)}"
                )
        missing = [None] * width
        return self._numbers([missing if row is None else row for row in rows])

    def _of_channels(self, channels: Mapping[str, Any]) -> _Readings:
        """A list for each channel."""
        self._check_names(channels.keys(), "")
        columns = [channels[name] for name in self._channels]
        for name, column in zip(self._channels, columns, strict=True):
            if not isinstance(column, list) or len(cast(Any, column)) != len(columns[0]):
                raise InputError(
                    f"every channel must be a list of as many numbers, however: {name!r} is not"
                )
        self._check_size(len(columns[0]))
        values = self._numbers([list(row) for row in zip(*columns, strict=True)])
        if self._shape.unit in self._extra:
            units = channels.get(self._shape.unit)
            self._check_unit(cast(list[Any], units if isinstance(units, list) else [units]))
        clock = channels.get(self._shape.time)
        if self._shape.time not in self._extra or clock is None:
            return _Readings(values)
        if not isinstance(clock, list) or len(cast(Any, clock)) != len(values):
            raise InputError(f"{self._shape.time!r} must be a list of as many times as readings")
        return self._on_steps(values, cast(list[Any], clock))

    def _check_unit(self, units: Sequence[Any]) -> None:
        """InputError if readings say that they are of several."""
        several = {str(unit) for unit in units if unit is not None}
        if len(several) > 1:
            raise InputError(
                f"a window is of one {self._shape.unit}, however: its readings are of "
                f"{', '.join(sorted(several)[:3])}"
            )

    def _of_readings(self, readings: Sequence[Any]) -> _Readings:
        """Readings as objects."""
        names, rows = self._channels, list[list[Any]]()
        for number, reading in enumerate(readings):
            if not isinstance(reading, Mapping):
                raise InputError(
                    f"a reading must be an object of channels as the first one is, however: "
                    f"reading {number} is {shown(reading)}"
                )
            names_of = cast(Mapping[str, Any], reading).keys()
            if len(names_of) != len(names) or not self._own.issuperset(names_of):
                self._check_names(names_of, f" in reading {number}")
            rows.append([reading[name] for name in names])
        values = self._numbers(rows)
        if self._shape.unit in self._extra:
            self._check_unit([reading.get(self._shape.unit) for reading in readings])
        time = self._shape.time
        if time not in self._extra or not any(time in reading for reading in readings):
            return _Readings(values)
        for number, reading in enumerate(readings):
            if time not in reading:
                raise InputError(
                    f"all readings must say when they were, or none, however: {time!r} is missing "
                    f"in reading {number}"
                )
        return self._on_steps(values, [reading[time] for reading in readings])

    def _check_names(self, names: Any, where: str) -> None:
        missing = [name for name in self._channels if name not in names]
        if missing:
            raise InputError(
                f"a reading must have each of the model's channels (null where there is none), "
                f"however: {missing[0]!r} is missing{where}"
            )
        for name in names:
            if name not in self._own and name not in self._extra:
                raise InputError(
                    f"a reading may have the model's channels alone, however: {shown(name)} is "
                    f"none of them{where}; {nearest(str(name), self._own)}"
                )

    def _numbers(self, rows: list[list[Any]], names: Sequence[str] = ()) -> Window:
        """Readings [N, C]; InputError unless they are numbers or null."""
        if not {type(value) for row in rows for value in row} <= _PLAIN:
            self._refuse(rows, names or self._channels)
        try:
            values = np.array(rows, np.float64)
        except OverflowError:  # an integer beyond the range of a float
            values = np.full((1, 1), np.inf)
        num_gaps = int(np.isnan(values).sum())
        has_nan = num_gaps > 0 and num_gaps > sum(row.count(None) for row in rows)
        if has_nan or (np.abs(values) > FLOAT32_MAX).any():
            self._refuse(rows, names or self._channels)
        return values.astype(np.float32)

    def _refuse(self, rows: list[list[Any]], names: Sequence[str]) -> None:
        """InputError that names the reading and the channel that is no number, if there is one."""
        for number, row in enumerate(rows):
            for name, value in zip(names, row, strict=True):
                if value is not None and not _is_finite(value):
                    raise InputError(
                        f"a reading must hold finite numbers or null, however: {name!r} of reading "
                        f"{number} is {shown(value)}"
                    )

    def _on_steps(self, values: Window, clock: Sequence[Any]) -> _Readings:
        """Readings on the model's steps back from the last one; a step without any is a gap.

        Times with several offsets from UTC, as where summer time ends, are told by the last one's.
        """
        zoned = [self._moment(at, number) for number, at in enumerate(clock)]
        times, offsets = np.array(zoned).reshape(-1, 2).T
        if not self._shape.in_months:  # which begin by the wall clock, in summer too
            times = times - (offsets - offsets[-1])
        falls = np.flatnonzero(np.diff(times) < 0)
        if len(falls):
            number = int(falls[0]) + 1
            raise InputError(
                f"readings must be in the order of their {self._shape.time}, however: reading "
                f"{number} ({shown(clock[number])}) is before reading {number - 1} "
                f"({shown(clock[number - 1])})"
            )
        step, length, last = self._shape.step, self._shape.length, float(times[-1])
        if self._shape.in_readings:
            self._check_apart(times, clock)
            return _Readings(values, clock, last)
        times = months(times) if self._shape.in_months else times
        if np.all(np.abs(np.diff(times) - step) <= STEP_TOLERANCE * step):
            return _Readings(values, clock, last)
        if times[-1] - times[0] < (length - 1.5) * step:
            raise InputError(
                f"a window must cover {length} steps of {self._step}, however: from the "
                f"first reading to the last there are {times[-1] - times[0]:g}"
            )
        due = times[-1] - step * np.arange(length - 1, -1, -1)
        places = np.searchsorted(times, due + step / 2, side="right") - 1
        is_near = (places >= 0) & (times[np.maximum(places, 0)] > due - step / 2)
        num_gaps, apart = int((~is_near).sum()), float(np.median(np.diff(times)))
        if num_gaps > MAX_GAPS * length and abs(apart - step) > STEP_TOLERANCE * step:
            raise InputError(
                f"at most {MAX_GAPS:.0%} of a window's steps of {self._step} may be gaps, however: "
                f"{num_gaps} of {length} are, as readings are {apart:g}{self._unit} apart by their "
                f"{self._shape.time}"
            )
        on_steps = np.where(is_near[:, None], values[places], np.float32(np.nan))
        return _Readings(on_steps, self._moments(clock, places, is_near, last), last)

    def _check_apart(self, times: NDArray[np.float64], clock: Sequence[Any]) -> None:
        """InputError where counted readings are not of the distance that training knew.

        A week's move is not a day's, and a day that comes twice is no second day.
        """
        apart, usual = np.diff(times), self._shape.apart
        if not usual or not len(apart):
            return
        if not apart.all():
            number = int(np.flatnonzero(apart == 0)[0]) + 1
            raise InputError(
                f"readings must differ in {self._shape.time}, however: reading {number} has that "
                f"of the one before it ({shown(clock[number])})"
            )
        between = float(np.median(apart)) / usual
        if not 1.0 / OTHER_PACE < between < OTHER_PACE:
            raise InputError(
                "readings must be about as far apart as those of training, however: by their "
                f"{self._shape.time} it is {between:.3g} times as far, mostly"
            )

    def _moments(
        self,
        clock: Sequence[Any],
        places: NDArray[np.int64],
        is_near: NDArray[np.bool_],
        last: float,
    ) -> list[Any]:
        """When each step was: as its reading's time is written, or when it was due."""
        steps, shape = np.arange(1 - len(places), 1), self._shape
        due = later(np.full(len(places), last), steps, shape.step, in_months=shape.in_months)
        written: list[Any] = due.tolist()
        is_counted = self._shape.notation is None
        if is_counted and isinstance(clock[-1], int):
            written = np.rint(due).astype(np.int64).tolist()
        elif not is_counted or not isinstance(clock[-1], float):
            written = np.datetime_as_string(np.rint(due).astype("datetime64[s]")).tolist()
        return [
            clock[place] if near else at
            for place, near, at in zip(places.tolist(), is_near.tolist(), written, strict=True)
        ]

    def _moment(self, at: object, number: int) -> tuple[float, float]:
        """When a reading was, in seconds or as the clock counts, and its offset from UTC."""
        notation = self._shape.notation
        if notation is None and isinstance(at, int | float) and not isinstance(at, bool):
            if not abs(at) <= FLOAT32_MAX:
                raise wrong_value(f"{self._shape.time} of reading {number}", "a finite number", at)
            return float(at), 0.0
        wall, offset = parse_zoned(at, f"{self._shape.time} of reading {number}", notation)
        return (wall - _EPOCH).total_seconds(), offset


def _is_finite(value: object) -> bool:
    """Whether a value is a number that can be computed with; a text or yes and no is none."""
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return is_number and bool(abs(cast(float, value)) <= FLOAT32_MAX)


def num_silent(readings: Window) -> NDArray[np.int64]:
    """How many gaps in a row each channel ends with: [C] of a window [T, C], or [N, C] of many."""
    axis, length = readings.ndim - 2, readings.shape[-2]
    backwards = np.flip(np.isnan(readings), axis)
    return np.where(backwards.all(axis), length, backwards.argmin(axis))


def filled(values: Window) -> Window:
    """The window [T, C], or windows [N, T, C], with each gap as the channel's reading before it."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    axis, size = values.ndim - 2, values.shape[-2]
    steps = np.arange(size).reshape((-1, 1))
    last = np.maximum.accumulate(np.where(missing, -1, steps), axis=axis)
    first = np.minimum.accumulate(np.flip(np.where(missing, size, steps), axis), axis=axis)
    source = np.where(last >= 0, last, np.minimum(np.flip(first, axis), size - 1))
    return np.take_along_axis(values, source, axis)


def readings_of(values: Window, shape: SequenceShape) -> list[dict[str, Any]]:
    """A window's readings as a client sends them."""
    size = len(shape.channels)
    rows = [[None if np.isnan(v) else float(v) for v in row[:size]] for row in values]
    return [dict(zip(shape.channels, row, strict=True)) for row in rows[: shape.length]]


def record_of(name: str, values: Window, shape: SequenceShape) -> dict[str, Any]:
    """A window as a client sends it, with what is known in advance; `name` is the field's.

    Where the model knows the season the readings get moments of their own.
    """
    readings = readings_of(values, shape)
    if shape.calendar:
        moments = example_moments(shape)
        readings = [{shape.time: at, **r} for at, r in zip(moments, readings, strict=True)]
    if not shape.in_advance:
        return {name: readings}
    ahead = values[shape.length :]
    plans = {n: ahead[:, shape.channels.index(n)].tolist() for n in shape.in_advance}
    return {name: readings, KNOWN_IN_ADVANCE: plans}
