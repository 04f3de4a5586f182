"""The one encoder that turns what a Signature names into numbers.

request record | table of typed columns -> Encoder -> float32 [B, F]: numbers first (NaN = missing),
then category indices (0 = missing or never seen in training), then of each term of a vocabulary
whether a record has it (0 = not told, 1 = absent, 2 = present). Training, batch scoring and serving
use this encoder and no other; numeric encoding and calibration are in the model's graph.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spt_core.errors import InputError, nearest, shown
from spt_core.notation import (
    FALSE_TEXTS,
    FLOAT32_MAX,
    NO_DATE,
    TRUE_TEXTS,
    Notation,
    gaps_for,
    number_of,
    numbers_among,
)
from spt_core.records import category_text, parse_time, wrong_value
from spt_core.signature import FieldKind, Signature
from spt_core.task import FAMILIES
from spt_core.terms import pair_of, terms_of

_NUMBERS: tuple[FieldKind, ...] = ("number", "boolean", "time", "number_pair")
_TWO_COLUMNS: tuple[FieldKind, ...] = ("time", "number_pair")
NOT_TOLD, IS_ABSENT, IS_PRESENT = 0.0, 1.0, 2.0  # of a term


class _Number(NamedTuple):
    """What a request's number, time, or yes or no is checked against."""

    name: str
    kind: FieldKind
    required: bool
    minimum: float
    maximum: float
    notation: Notation | None


class Encoder:
    """Turns records and typed tables into the float32 [B, F] that the model's graph takes.

    Holds nothing but its Signature's lookup tables; safe to share between threads.
    """

    def __init__(self, signature: Signature) -> None:
        kinds = FAMILIES["tabular"].kinds
        unsupported = [f.name for f in signature.fields if f.kind not in kinds]
        if unsupported:
            raise InputError(f"the tabular encoder takes {kinds}, however: {unsupported}")
        self.signature = signature
        numbers = [f for f in signature.fields if f.kind in _NUMBERS]
        categories = [f for f in signature.fields if f.kind == "category"]
        self._plan: tuple[_Number, ...] = tuple(
            _Number(
                f.name,
                f.kind,
                f.required,
                -FLOAT32_MAX if f.minimum is None else f.minimum,
                FLOAT32_MAX if f.maximum is None else f.maximum,
                f.notation,
            )
            for f in numbers
        )
        self._lookups = tuple(
            (f.name, f.required, {c: float(i) for i, c in enumerate(f.categories, 1)})
            for f in categories
        )
        self._value_sets = {f.name: pa.array(f.categories, pa.large_string()) for f in categories}
        self._terms = tuple(
            (f.name, f.required, {term: i for i, term in enumerate(f.categories)})
            for f in signature.fields
            if f.kind == "terms"
        )
        self._names = frozenset(f.name for f in signature.fields)
        self._in_utc = frozenset(f.name for f in signature.fields if f.in_utc)
        self._gaps = frozenset(signature.gaps)
        self._category_gaps = gaps_for("category", self._gaps)
        self._value_gaps = gaps_for("number", self._gaps)
        self._number_gaps = frozenset(numbers_among(self._gaps))

    def record(self, record: Mapping[str, Any]) -> NDArray[np.float32]:
        """One flat request as [1, F]; InputError with one sentence about the first bad field.

        Numbers, times and yes or no may come as text, in the column's notation, as in a file.
        """
        if not record:
            raise InputError("a record must hold one of the model's fields, however: it is empty")
        row: list[float] = []
        get, append, number_gaps = record.get, row.append, self._number_gaps
        for name, kind, required, minimum, maximum, notation in self._plan:
            value = get(name)
            if type(value) is str and value.strip() in self._value_gaps:
                value = None
            if value is None:
                if required:
                    raise self._missing(name, record)
                append(math.nan)
                if kind in _TWO_COLUMNS:
                    append(math.nan)
            elif kind == "number":
                if type(value) is not float and type(value) is not int:
                    value = _number_of_text(name, value, notation)
                if number_gaps and value in number_gaps:
                    if required:
                        raise self._missing(name, record)
                    value = math.nan
                elif not minimum <= value <= maximum:
                    raise _out_of_range(name, minimum, maximum, value)
                append(value)
            elif kind == "time":
                hour, weekday = parse_time(value, name, notation, in_utc=name in self._in_utc)
                append(hour)
                append(weekday)
            elif kind == "number_pair":
                for part in pair_of(value, name):
                    if not minimum <= part <= maximum:
                        raise _out_of_range(name, minimum, maximum, part)
                    append(part)
            else:
                append(1.0 if _boolean_of(name, value) else 0.0)
        for name, required, lookup in self._lookups:
            value = get(name)
            if value is None:
                if required:
                    raise self._missing(name, record)
                append(0.0)
                continue
            text = value if type(value) is str else category_text(value, name)
            index = lookup.get(text, 0.0)
            if not index and required and text.strip() in self._category_gaps:
                raise self._missing(name, record)
            append(index)
        for name, required, places in self._terms:
            row += self._states(get(name), name, places, record, required=required)
        if not self._names.issuperset(record):
            self._refuse_others(record)
        return np.array([row], dtype=np.float32)

    def _states(
        self,
        value: object,
        name: str,
        places: Mapping[str, int],
        record: Mapping[str, Any],
        *,
        required: bool,
    ) -> list[float]:
        """What each term of a vocabulary is in a record: NOT_TOLD throughout, else as it is."""
        if value is None or (isinstance(value, str) and value.strip() in self._category_gaps):
            if required:
                raise self._missing(name, record)
            return [NOT_TOLD] * len(places)
        states = [IS_ABSENT] * len(places)
        for term in terms_of(value, name):
            if term in places:
                states[places[term]] = IS_PRESENT
        return states

    def _refuse_others(self, record: Mapping[str, Any]) -> None:
        """Refuse a name that is no field; null in place of an object is one of missing fields."""
        for name in record:
            if name in self._names:
                continue
            is_object = any(field.startswith(f"{name}.") for field in self._names)
            if not (is_object and record[name] is None):
                raise InputError(
                    f"a record may hold only the model's fields, however: {name!r} is none of "
                    f"them; {nearest(name, self._names)}"
                )

    def table(self, table: pa.Table) -> NDArray[np.float32]:
        """Typed columns (see data/read.py) as [B, F]; a column that is absent counts as missing."""
        columns: list[NDArray[np.float32]] = []
        for name, kind, *_ in self._plan:
            if name not in table.column_names:
                columns += [_missing_column(table)] * (2 if kind in _TWO_COLUMNS else 1)
            elif kind == "time":
                columns += _time_columns(table[name])
            elif kind == "number_pair":
                columns += _pair_columns(table[name])
            else:
                columns.append(_float_column(table[name]))
        for name, *_ in self._lookups:
            if name not in table.column_names:
                columns.append(np.zeros(table.num_rows, np.float32))
                continue
            index = pc.index_in(table[name].cast(pa.large_string()), self._value_sets[name])
            columns.append(_float_column(pc.add(pc.fill_null(index, -1), 1)))
        for name, _, places in self._terms:
            columns += _term_columns(table, name, places)
        if not columns:
            return np.empty((table.num_rows, 0), np.float32)
        return np.column_stack(columns)

    def _missing(self, name: str, record: Mapping[str, Any]) -> InputError:
        unknown = [n for n in record if n not in self._names]
        hint = f"; {unknown[0]!r} is not a field" if unknown and name not in record else ""
        state = "it is null" if name in record else "it is missing"
        return InputError(f"the field {name!r} is required, however: {state}{hint}")


def _number_of_text(name: str, value: object, notation: Notation | None) -> float:
    if type(value) is not str:
        raise wrong_value(name, "a number", value)
    number = number_of(value.strip(), notation)
    if number is None:
        form = " with a decimal comma" if notation == "decimal_comma" else ""
        raise wrong_value(name, f"a number{form}", value)
    return number


def _boolean_of(name: str, value: object) -> bool:
    if type(value) is bool:
        return value
    if type(value) in (str, int, float):
        text = category_text(value, name).strip().lower()
        if text in TRUE_TEXTS:
            return True
        if text in FALSE_TEXTS:
            return False
    raise wrong_value(name, "true or false", value)


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


def _pair_columns(column: pa.ChunkedArray) -> list[NDArray[np.float32]]:
    halves = pc.split_pattern(column, "/")
    return [_float_column(pc.list_element(halves, place).cast(pa.float64())) for place in (0, 1)]


def _term_columns(
    table: pa.Table, name: str, places: Mapping[str, int]
) -> list[NDArray[np.float32]]:
    """The state of each term in each row."""
    states = np.full((table.num_rows, len(places)), NOT_TOLD, np.float32)
    cells = table[name].to_pylist() if name in table.column_names else []
    for row, cell in enumerate(cells):
        if cell is not None:
            states[row] = IS_ABSENT
            states[row, [places[term] for term in json.loads(cell) if term in places]] = IS_PRESENT
    return [*states.T]


def _out_of_range(name: str, minimum: float, maximum: float, value: float) -> InputError:
    if value != value:  # math.isnan refuses integers beyond the range of a float
        return InputError(
            f"the field {name!r} must be a number, however: NaN (send null if missing)"
        )
    rule = f"at least {minimum:g}" if value < minimum else f"at most {maximum:g}"
    return InputError(f"the field {name!r} must be {rule}, however: {shown(value)}")
