"""The one encoder that turns what a Signature names into numbers.

request record | table of typed columns -> Encoder -> float32 [B, F]: numbers first (NaN = missing),
then category indices (0 = missing or never seen in training). Training, batch scoring and serving
use this encoder and no other; numeric encoding and calibration are in the model's graph.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spt_core.errors import InputError, nearest
from spt_core.signature import TABULAR_KINDS, Signature

# A time of day without a date is kept on this date; its weekday counts as missing.
NO_DATE = datetime.date(1, 1, 1)
_FLOAT32_MAX = float(np.finfo(np.float32).max)
MAX_DEPTH = 8  # of nested objects in a record; names with dots rarely have more than two


class Encoder:
    """Turns records and typed tables into the float32 [B, F] that the model's graph takes.

    Holds nothing but its Signature's lookup tables; safe to share between threads.
    """

    def __init__(self, signature: Signature) -> None:
        unsupported = [f.name for f in signature.fields if f.kind not in TABULAR_KINDS]
        if unsupported:
            raise InputError(f"the tabular encoder takes {TABULAR_KINDS}, however: {unsupported}")
        self.signature = signature
        numbers = [f for f in signature.fields if f.kind in ("number", "boolean", "time")]
        categories = [f for f in signature.fields if f.kind == "category"]
        self._plan = tuple(
            (
                f.name,
                f.kind,
                f.required,
                -_FLOAT32_MAX if f.minimum is None else f.minimum,
                _FLOAT32_MAX if f.maximum is None else f.maximum,
            )
            for f in numbers
        )
        self._lookups = tuple(
            (f.name, f.required, {c: float(i) for i, c in enumerate(f.categories, 1)})
            for f in categories
        )
        self._value_sets = {f.name: pa.array(f.categories, pa.large_string()) for f in categories}
        self._names = frozenset(f.name for f in signature.fields)

    def record(self, record: Mapping[str, Any]) -> NDArray[np.float32]:
        """One request as [1, F]; raises InputError with one sentence about the first bad field."""
        if any(type(v) is dict for v in record.values()):
            record = flatten(record)
        row: list[float] = []
        for name, kind, required, minimum, maximum in self._plan:
            value = record.get(name)
            if value is None:
                if required:
                    raise self._missing(name, record)
                row.append(math.nan)
                if kind == "time":
                    row.append(math.nan)
            elif kind == "number":
                if type(value) is not float and type(value) is not int:
                    raise _wrong(name, "a number", value)
                if not minimum <= value <= maximum:
                    raise _out_of_range(name, minimum, maximum, value)
                row.append(value)
            elif kind == "time":
                row += parse_time(value, name)
            else:
                if type(value) is not bool:
                    raise _wrong(name, "true or false", value)
                row.append(1.0 if value else 0.0)
        for name, required, lookup in self._lookups:
            value = record.get(name)
            if value is None:
                if required:
                    raise self._missing(name, record)
                row.append(0.0)
            else:
                row.append(
                    lookup.get(value if type(value) is str else category_text(value, name), 0.0)
                )
        if not self._names.issuperset(record):
            extra = next(n for n in record if n not in self._names)
            raise InputError(
                f"a record may hold only the model's fields, however: {extra!r} is none of them; "
                f"{nearest(extra, self._names)}"
            )
        return np.array([row], dtype=np.float32)

    def table(self, table: pa.Table) -> NDArray[np.float32]:
        """Typed columns (see data/read.py) as [B, F]; a column that is absent counts as missing."""
        columns: list[NDArray[np.float32]] = []
        for name, kind, *_ in self._plan:
            if name not in table.column_names:
                columns += [_missing_column(table)] * (2 if kind == "time" else 1)
            elif kind == "time":
                columns += _time_columns(table[name])
            else:
                columns.append(_float_column(table[name]))
        for name, *_ in self._lookups:
            if name not in table.column_names:
                columns.append(np.zeros(table.num_rows, np.float32))
                continue
            index = pc.index_in(table[name].cast(pa.large_string()), self._value_sets[name])
            columns.append(_float_column(pc.add(pc.fill_null(index, -1), 1)))
        if not columns:
            return np.empty((table.num_rows, 0), np.float32)
        return np.column_stack(columns)

    def _missing(self, name: str, record: Mapping[str, Any]) -> InputError:
        unknown = [n for n in record if n not in self._names]
        hint = f"; {unknown[0]!r} is not a field" if unknown and name not in record else ""
        state = "it is null" if name in record else "it is missing"
        return InputError(f"the field {name!r} is required, however: {state}{hint}")


def flatten(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with nested objects as dotted names; InputError when it nests too deep."""
    flat: dict[str, Any] = {}
    _flatten_into(flat, record, "", MAX_DEPTH)
    return flat


def _flatten_into(flat: dict[str, Any], record: Mapping[str, Any], prefix: str, depth: int) -> None:
    for name, value in record.items():
        if isinstance(value, Mapping):
            if not depth:
                raise InputError(f"a record may nest {MAX_DEPTH} deep, however: this one goes on")
            _flatten_into(flat, value, f"{prefix}{name}.", depth - 1)
            continue
        if (full := prefix + name) in flat:
            raise InputError(f"a record names each field once, however: {_shown(full)} comes twice")
        flat[full] = value


def parse_time(value: object, name: str) -> tuple[float, float]:
    """(hour of day 0 to 24, weekday 0 = Monday) of wall-clock time as written.

    Takes ISO 8601, seconds (or milli-, micro-, nanoseconds) since 1970, and a time of day such as
    "03:00" or "03:00_local", whose weekday is missing.
    """
    moment = parse_moment(value, name)
    hour = moment.hour + moment.minute / 60 + moment.second / 3600
    return hour, math.nan if moment.date() == NO_DATE else float(moment.weekday())


def parse_moment(value: object, name: str) -> datetime.datetime:
    """The naive wall-clock time that a value stands for; a time of day gets the date NO_DATE."""
    if isinstance(value, str):
        text = value.removesuffix("_local").strip()
        try:
            if len(text) <= 8 and ":" in text:
                return datetime.datetime.combine(NO_DATE, datetime.time.fromisoformat(text))
            return datetime.datetime.fromisoformat(text).replace(tzinfo=None)
        except ValueError as error:
            raise _wrong(name, "an ISO 8601 time or a time of day such as 03:00", value) from error
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, "a time", value)
    if not abs(value) < 4e18:
        raise _wrong(name, "a time in seconds since 1970", value)
    seconds = value / epoch_divisor(abs(value))
    try:
        return datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    except OverflowError as error:
        raise _wrong(name, "a time of the years 1 to 9999", value) from error


def epoch_divisor(magnitude: float) -> int:
    """How many of a number's units make a second: 1 to 1e9, judged by its size (years to 5138)."""
    for limit, divisor in ((1e11, 1), (1e14, 10**3), (1e17, 10**6)):
        if magnitude < limit:
            return divisor
    return 10**9


def category_text(value: object, name: str) -> str:
    """The text that a category is looked up by: 2, 2.0 and "2" are the same category."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() else repr(value)
    raise _wrong(name, "a text, a number or true/false", value)


def _float_column(column: pa.ChunkedArray | pa.Array) -> NDArray[np.float32]:
    values = column.cast(pa.float32(), safe=False)
    return np.asarray(pc.fill_null(values, math.nan), dtype=np.float32)


def _missing_column(table: pa.Table) -> NDArray[np.float32]:
    return np.full(table.num_rows, np.nan, np.float32)


def _time_columns(column: pa.ChunkedArray) -> list[NDArray[np.float32]]:
    seconds = pc.add(pc.multiply(pc.minute(column), 60), pc.second(column))
    # The sum is made in double precision and rounded once, as for a single record.
    hour = pc.add(pc.hour(column).cast(pa.float64()), pc.divide(seconds.cast(pa.float64()), 3600.0))
    weekday = pc.if_else(
        pc.equal(pc.year(column), NO_DATE.year), pa.scalar(None, pa.int64()), pc.day_of_week(column)
    )
    return [_float_column(hour), _float_column(weekday)]


def _shown(value: object) -> str:
    text = "a list" if isinstance(value, list) else repr(value)  # repr of a deep one would overflow
    return text if len(text) <= 60 else text[:57] + "..."


def _wrong(name: str, rule: str, value: object) -> InputError:
    return InputError(f"the field {name!r} must be {rule}, however: {_shown(value)}")


def _out_of_range(name: str, minimum: float, maximum: float, value: float) -> InputError:
    if value != value:  # math.isnan refuses integers beyond the range of a float
        return InputError(
            f"the field {name!r} must be a number, however: NaN (send null if missing)"
        )
    rule = f"at least {minimum:g}" if value < minimum else f"at most {maximum:g}"
    return InputError(f"the field {name!r} must be {rule}, however: {_shown(value)}")
