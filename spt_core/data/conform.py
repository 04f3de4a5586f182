"""Raw columns -> typed columns, vectorised; rows that break a rule go aside with the reason.

number -> float64 (NaN is missing), category and entity -> large_string (the text that
`records.category_text` makes), boolean -> bool, time -> timestamp[us] of wall-clock time,
terms -> large_string of a sorted JSON list, number_pair -> large_string such as 150/95,
text -> large_string, spans -> large_string of canonical JSON, image -> large_binary of the encoded
image beside `__look`, label -> float32 0 or 1, or what the
head of the task asks for (labels.py).
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spt_core.data.corpus import INSTANT, LOOK, ROW, Positive
from spt_core.data.image_files import read_cells
from spt_core.data.labels import BINARY, FLAGS, NUMBERS, Context, LabelRule, read_labels
from spt_core.data.raw import as_json, plain_integer, plain_integers_of
from spt_core.data.texts import Spans, read_spans, text_problems
from spt_core.errors import InputError
from spt_core.notation import (
    EPOCH_UNITS,
    FALSE_TEXTS,
    FLOAT32_MAX,
    NO_DATE,
    NO_DATES,
    TRUE_TEXTS,
    Moment,
    Notation,
    gaps_for,
    is_gap,
    moment_of,
    numbers_among,
    numbers_of,
)
from spt_core.records import category_text
from spt_core.signature import Field
from spt_core.terms import PAIR_RULE, TERMS_RULE, pair_of, pair_text, terms_of, terms_text

BAD_SCHEMA = pa.schema([(ROW, pa.int64()), ("reason", pa.string()), ("record", pa.string())])
_ZONE = r"(\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(?:Z|[+-]\d\d(?::?\d\d)?)$"
_ANY_ZONE = r"(\dZ|:\d\d([.,]\d+)?(\s*[AaPp]\.?[Mm]\.?)?\s*[+-]\d\d(:?\d\d)?|UTC|GMT)\s*$"
_DAY_US = 86_400_000_000
_NO_DAYS = np.array(sorted((day - datetime.date(1970, 1, 1)).days for day in NO_DATES))
_NONE: frozenset[str] = frozenset()

Mask = NDArray[np.bool_]


class Typed(NamedTuple):
    """A column in its type, null where missing or bad; `bad` marks values that broke the rule."""

    values: pa.Array
    bad: Mask | None = None


def conform(
    table: pa.Table,
    fields: Sequence[Field],
    *,
    label: str | None = None,
    labels: LabelRule = BINARY,
    positive: Positive | None = None,
    required: Sequence[str] = (),
    gaps: frozenset[str] = _NONE,
    time: str | None = None,
    refused: NDArray[np.object_] | None = None,
) -> tuple[pa.Table, pa.Table]:
    """The good rows in typed columns, and the bad rows as (row number, reason, row as JSON).

    Row numbers are the table's column `__row`, or positions; a field without a column is missing
    everywhere. A row without a value in a `required` column, or without a label that `labels`
    require, is bad, and so is one without a text that can be read. `gaps` are texts that stand for
    no value, beside the usual ones. With `time`, a column `__instant` says when each row was,
    wherever its clock stood. Rows with a reason in `refused` [B] are bad for it.
    """
    size = table.num_rows
    reasons = np.full(size, None, dtype=object) if refused is None else refused.copy()
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    spans: list[Spans | None] = [None] * size
    texts = next((field.name for field in fields if field.kind == "text"), "")
    for field in fields:
        if field.kind == "spans":
            words = _cells(table, texts)
            columns[field.name], errors, spans = read_spans(
                _cells(table, field.name), words, field.name
            )
            _note_each(reasons, errors)
        elif field.kind == "image":
            cells = read_cells(_column(table, field.name), field.name)
            columns[field.name], columns[LOOK] = cells.images, cells.looks
            _note_each(reasons, cells.reasons)
        else:
            columns[field.name] = _read_field(table, field, reasons, gaps)
        if field.name == time:
            clock = columns[field.name]
            columns[INSTANT] = (
                clock.cast(pa.int64())
                if field.in_utc
                else _instants(_column(table, field.name), clock, field)
            )
        if field.name in required:
            missing = np.asarray(columns[field.name].is_null())
            _note(reasons, missing, f"the {field.name!r} must be known, however: it is missing")
    if label is not None and labels.head in (*FLAGS, *NUMBERS):
        columns[label] = _read_number_label(table, label, labels, positive, reasons, gaps)
    elif label is not None:
        words = _cells(table, texts) if labels.head == "span" else [None] * size
        contexts = [Context(*pair) for pair in zip(words, spans, strict=True)]
        cells = _label_cells(table, label, gaps)
        columns[label], errors = read_labels(cells, labels, label, contexts)
        _note_each(reasons, errors)
    columns[ROW] = _numbers(table).cast(pa.int64())
    typed_table = pa.table(columns)
    is_bad = reasons.astype(bool)
    if not is_bad.any():
        return typed_table, BAD_SCHEMA.empty_table()
    good = typed_table.filter(pa.array(~is_bad))
    return good, bad_rows(table, reasons)


def _read_field(
    table: pa.Table, field: Field, reasons: NDArray[np.object_], gaps: frozenset[str]
) -> pa.Array:
    typed = typed_column(_column(table, field.name), field, gaps)
    if typed.bad is not None:
        _note(reasons, typed.bad, rule(field))
    if field.kind == "number":
        _note(reasons, *_beyond(typed.values, field))
    elif field.kind == "number_pair":
        for numbers in pair_columns(typed.values):
            _note(reasons, *_beyond(numbers, field))
    elif field.kind == "text":
        for mask, reason in text_problems(typed.values, field.name):
            _note(reasons, mask, reason)
    return typed.values


def _read_number_label(
    table: pa.Table,
    label: str,
    labels: LabelRule,
    positive: Positive | None,
    reasons: NDArray[np.object_],
    gaps: frozenset[str],
) -> pa.Array:
    is_binary = labels.head in FLAGS
    column = _column(table, label)
    if is_binary:
        typed = label_column(column, positive, gaps)
    else:
        number = Field(name=label, kind="number", notation=labels.notation)
        typed = typed_column(column, number, gaps)
    if labels.required:
        missing = np.asarray(typed.values.is_null()) & ~_or_none(typed.bad, len(column))
        _note(reasons, missing, f"the label {label!r} must be known, however: it is missing")
    if typed.bad is not None:
        kind = "0 or 1" if is_binary else "a finite number"
        _note(reasons, typed.bad, f"the label {label!r} must be {kind}")
    return typed.values


def rule(field: Field) -> str:
    """The sentence that a value of the wrong kind breaks."""
    needs = {
        "number": "a finite number",
        "boolean": "true or false",
        "time": "an ISO 8601 time, seconds since 1970 or a time of day",
        "text": "a text",
        "terms": TERMS_RULE,
        "number_pair": PAIR_RULE,
    }.get(field.kind, "a text, a number or true/false")
    return f"the field {field.name!r} must be {needs}"


def typed_column(column: pa.Array, field: Field, gaps: frozenset[str] = _NONE) -> Typed:
    """A column in the type of its field."""
    if field.kind in ("text", "spans"):
        return text_column(column)
    if gaps and field.kind == "time" and is_number(column.type):
        column = _without_gap_numbers(column, gaps)
    # Numbers and times see to the usual gaps themselves, where there are some.
    if _is_text(column.type) and (gaps or field.kind not in ("number", "time")):
        column = without_gaps(column, gaps_for(field.kind, gaps))
    match field.kind:
        case "number":
            return _without_numbers(number_column(column, field.notation), gaps)
        case "boolean":
            return boolean_column(column)
        case "time":
            typed = time_column(column, field.notation)
            if not field.in_utc:
                return typed
            instants = _instants(column, typed.values, field)
            return typed._replace(values=instants.cast(pa.timestamp("us")))
        case "terms":
            return _each_cell(column, lambda cell: terms_text(terms_of(cell, field.name)))
        case "number_pair":
            return _each_cell(column, lambda cell: pair_text(pair_of(cell, field.name)))
        case _:
            typed = text_column(column)
            is_read = not gaps or _is_text(column.type)
            return typed if is_read else typed._replace(values=without_gaps(typed.values, gaps))


def pair_columns(pairs: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Both numbers of a typed column of pairs, as columns of float64."""
    halves = pc.split_pattern(pairs, "/")
    first, second = (pc.list_element(halves, place) for place in (0, 1))
    return first.cast(pa.float64()), second.cast(pa.float64())


def _each_cell(column: pa.Array, text_of: Callable[[object], str]) -> Typed:
    """The cells as canonical texts; those that `text_of` refuses are bad."""
    encoded = column.dictionary_encode() if _is_text(column.type) else None
    cells = column.to_pylist() if encoded is None else encoded.dictionary.to_pylist()
    texts: list[str | None] = []
    bad = np.zeros(len(cells), bool)
    for place, cell in enumerate(cells):
        try:
            texts.append(None if cell is None else text_of(cell))
        except InputError:
            texts.append(None)
            bad[place] = True
    values = pa.array(texts, pa.large_string())
    if encoded is not None:
        places = np.asarray(pc.fill_null(encoded.indices, 0), np.int64)
        bad = (
            bad[places] & np.asarray(column.is_valid())
            if len(cells)
            else np.zeros(len(column), bool)
        )
        values = values.take(encoded.indices)
    return Typed(values, bad if bad.any() else None)


def _without_gap_numbers(column: pa.Array, gaps: frozenset[str]) -> pa.Array:
    """A raw column of numbers, null where they stand for no value."""
    numbers = column.cast(pa.float64(), safe=False)
    is_gap = pc.is_in(numbers, value_set=pa.array(numbers_among(gaps), pa.float64()))
    return pc.if_else(is_gap, pa.scalar(None, column.type), column)


def _without_numbers(typed: Typed, gaps: frozenset[str]) -> Typed:
    """A column of numbers without those that stand for no value."""
    numbers = numbers_among(gaps)
    if not numbers:
        return typed
    is_gap = pc.is_in(typed.values, value_set=pa.array(numbers, pa.float64()))
    if not pc.any(is_gap).as_py():
        return typed
    missing = pa.scalar(None, pa.float64())
    bad = None if typed.bad is None else typed.bad & ~np.asarray(is_gap)
    return Typed(pc.if_else(is_gap, missing, typed.values), bad)


def without_gaps(text: pa.Array, gaps: frozenset[str]) -> pa.Array:
    """Texts, null where they say that nothing is there."""
    missing = is_gap(text, gaps)
    return (
        pc.if_else(pa.array(missing), pa.scalar(None, text.type), text) if missing.any() else text
    )


def number_column(column: pa.Array, notation: Notation | None = None) -> Typed:
    """float64; text that is not a number, and what is beyond float32, are bad."""
    kind, bad = column.type, None
    if _is_text(kind):
        values, bad = _numbers_of_text(column, notation)
    elif pa.types.is_boolean(kind):
        values = column.cast(pa.int8()).cast(pa.float64())
    elif is_number(kind):
        values = column.cast(pa.float64(), safe=False)
    elif pa.types.is_duration(kind):
        micros = column.cast(pa.duration("us"), safe=False).cast(pa.int64())
        values = pc.divide(micros.cast(pa.float64()), 1e6)  # seconds
    else:
        return _nothing_fits(column, pa.float64())
    raw = np.asarray(pc.fill_null(values, math.nan))
    infinite = np.abs(raw) > FLOAT32_MAX  # models compute in float32; NaN compares false
    if infinite.any():
        bad = infinite | _or_none(bad, len(column))
    if np.isnan(raw).sum() + infinite.sum() > values.null_count:
        values = pa.array(raw, mask=np.isnan(raw) | infinite)
    return Typed(values, bad)


def _numbers_of_text(column: pa.Array, notation: Notation | None) -> tuple[pa.Array, Mask | None]:
    if notation is None:
        try:
            return column.cast(pa.float64()), None
        except pa.ArrowInvalid:
            pass
    text = without_gaps(column.cast(pa.large_string()), gaps_for("number"))
    values = numbers_of(pc.utf8_trim_whitespace(text), notation).values
    bad = np.asarray(text.is_valid()) & np.asarray(values.is_null())
    return values, bad if bad.any() else None


def boolean_column(column: pa.Array) -> Typed:
    """Bool from true/false, yes/no and 0/1, as text or number."""
    if pa.types.is_boolean(column.type):
        return Typed(column)
    text = without_gaps(text_column(column).values, gaps_for("boolean"))
    text = pc.utf8_lower(pc.utf8_trim_whitespace(text))
    true = pc.is_in(text, value_set=pa.array(sorted(TRUE_TEXTS), text.type))
    false = pc.is_in(text, value_set=pa.array(sorted(FALSE_TEXTS), text.type))
    is_boolean = pc.or_(true, false)
    bad = np.asarray(text.is_valid()) & ~np.asarray(is_boolean)
    return Typed(
        pc.if_else(is_boolean, true, pa.scalar(None, pa.bool_())), bad if bad.any() else None
    )


def label_column(
    column: pa.Array, positive: Positive | None, gaps: frozenset[str] = _NONE
) -> Typed:
    """float32 0 or 1; with `positive`, every other value is 0, and what says nothing is missing."""
    if positive is None:
        text = text_column(column)
        given = column if not gaps else without_gaps(text.values, gaps)
        typed = boolean_column(given)
        return Typed(typed.values.cast(pa.float32()), typed.bad)
    typed = label_words(column, gaps)
    category = plain_integer(category_text(positive, "positive").strip())
    return Typed(pc.equal(typed.values, category).cast(pa.float32()), typed.bad)


def label_words(column: pa.Array, gaps: frozenset[str]) -> Typed:
    """Names as labels have them, null where they say nothing.

    Without spaces around them, and whole numbers without decimals.
    """
    typed = text_column(column)
    words = pc.utf8_trim_whitespace(without_gaps(typed.values, gaps_for("category", gaps)))
    return Typed(plain_integers_of(words), typed.bad)


def text_column(column: pa.Array) -> Typed:
    """large_string as `category_text` writes it: 2 and 2.0 are "2"."""
    kind, text = column.type, pa.large_string()
    if _is_text(kind):
        return Typed(column.cast(text))
    if pa.types.is_boolean(kind):
        return Typed(pc.if_else(column, "true", "false").cast(text))
    if pa.types.is_integer(kind) or pa.types.is_temporal(kind):
        return Typed(column.cast(text))
    if pa.types.is_null(kind):
        return Typed(pa.nulls(len(column), text))
    if is_number(kind):
        return _text_of_floats(column.cast(pa.float64(), safe=False))
    return _nothing_fits(column, text)


def time_column(column: pa.Array, notation: Notation | None = None) -> Typed:
    """timestamp[us] of wall-clock time, as `records.parse_moment` reads single values.

    Dates that systems write where there is none (1900-01-01, 9999-12-31) are missing.
    """
    typed = _times(column, notation)
    is_none = _is_no_date(typed.values)
    if not is_none.any():
        return typed
    return Typed(
        pc.if_else(pa.array(is_none), pa.scalar(None, pa.timestamp("us")), typed.values), typed.bad
    )


def _is_no_date(times: pa.Array) -> Mask:
    days = np.asarray(pc.fill_null(times.cast(pa.int64()), 0)) / _DAY_US
    late = [d for d in _NO_DAYS if d > 0]  # at any time of the day
    return np.isin(days, _NO_DAYS) | np.isin(np.floor(days), late)


def _instants(column: pa.Array, wall: pa.Array, field: Field) -> pa.Array:
    """Microseconds since 1970 in UTC of each row's moment; as its wall clock where no zone is."""
    kind = column.type
    local = wall.cast(pa.int64())
    if pa.types.is_timestamp(kind) and kind.tz:
        instants = column.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())
        return pc.if_else(wall.is_null(), pa.scalar(None, pa.int64()), instants)
    if not _is_text(kind) or not pc.any(pc.match_substring_regex(column, _ANY_ZONE)).as_py():
        return local
    encoded = column.dictionary_encode()
    moments = [_moment_or_none(word, field.notation) for word in encoded.dictionary.to_pylist()]
    offsets = pa.array([m.offset_us if m else 0 for m in moments], pa.int64())
    return pc.subtract(local, offsets.take(encoded.indices))


def _times(column: pa.Array, notation: Notation | None) -> Typed:
    kind, micros = column.type, pa.timestamp("us")
    if pa.types.is_timestamp(kind):
        local = pc.local_timestamp(column) if kind.tz else column
        return Typed(local.cast(micros, safe=False))
    if pa.types.is_date(kind):
        return Typed(column.cast(micros))
    if pa.types.is_time(kind):
        offset = (NO_DATE - datetime.date(1970, 1, 1)).days * 86_400_000_000
        since = column.cast(pa.time64("us"), safe=False).cast(pa.int64())
        return Typed(pc.add(since, offset).cast(micros))
    if _is_text(kind):
        return _time_of_text(column, notation)
    if is_number(kind):
        return _time_of_numbers(column, notation)
    return _nothing_fits(column, micros)


def has_dates(times: pa.Array | pa.ChunkedArray) -> bool:
    """Whether any of these times has a date, not only a time of day."""
    return bool(pc.any(pc.not_equal(pc.year(times), NO_DATE.year)).as_py())


def _column(table: pa.Table, name: str) -> pa.Array:
    if name not in table.column_names:
        return pa.nulls(table.num_rows)
    array = table[name].combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        raise InputError(f"a batch of rows must be below 2 GiB, however: column {name!r} is larger")
    return array


def _label_cells(table: pa.Table, name: str, gaps: frozenset[str]) -> list[Any]:
    """The labels of a column of texts, None where they say nothing, or lists as they are."""
    column = _column(table, name)
    if pa.types.is_nested(column.type):
        return column.to_pylist()
    return without_gaps(text_column(column).values, gaps_for("category", gaps)).to_pylist()


def _cells(table: pa.Table, name: str) -> list[Any]:
    """The values of a column of texts, or of lists as they are."""
    column = _column(table, name)
    nested = pa.types.is_nested(column.type)
    return column.to_pylist() if nested else text_column(column).values.to_pylist()


def _note_each(reasons: NDArray[np.object_], errors: NDArray[np.object_]) -> None:
    free = errors.astype(bool) & ~reasons.astype(bool)
    reasons[free] = errors[free]


def _note(reasons: NDArray[np.object_], bad: Mask, reason: str) -> None:
    if bad.any():
        reasons[bad & ~reasons.astype(bool)] = reason


def _beyond(values: pa.Array, field: Field) -> tuple[Mask, str]:
    low, high = field.minimum, field.maximum
    raw = np.asarray(pc.fill_null(values, math.nan))
    with np.errstate(invalid="ignore"):
        below = raw < (-math.inf if low is None else low)
        above = raw > (math.inf if high is None else high)
    bounds = [f"at least {low:g}"] if low is not None else []
    bounds += [f"at most {high:g}"] if high is not None else []
    return below | above, f"the field {field.name!r} must be {' and '.join(bounds)}"


def bad_rows(raw: pa.Table, reasons: NDArray[np.object_]) -> pa.Table:
    """The rows that have a reason [B] against them: number, reason, row as JSON."""
    is_bad = reasons.astype(bool)
    bad = raw.filter(pa.array(is_bad))
    names = [name for name in raw.column_names if name != ROW]
    records = [as_json(record) for record in bad.select(names).to_pylist()]
    numbers = _numbers(raw).cast(pa.int64()).filter(pa.array(is_bad))
    return pa.table([numbers, pa.array(reasons[is_bad], pa.string()), records], schema=BAD_SCHEMA)


def unparsed_rows(refused: Sequence[tuple[int, str, str]]) -> pa.Table:
    """Rows that could not be parsed, each its number, the reason and its text."""
    rows = [dict(zip(BAD_SCHEMA.names, entry, strict=True)) for entry in refused]
    return pa.Table.from_pylist(rows, schema=BAD_SCHEMA)


def _numbers(table: pa.Table) -> pa.ChunkedArray:
    return table[ROW] if ROW in table.column_names else pa.chunked_array([np.arange(len(table))])


def _or_none(mask: Mask | None, size: int) -> Mask:
    return np.zeros(size, bool) if mask is None else mask


def _nothing_fits(column: pa.Array, kind: pa.DataType) -> Typed:
    bad = np.asarray(column.is_valid())
    return Typed(pa.nulls(len(column), kind), bad if bad.any() else None)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def is_number(kind: pa.DataType) -> bool:
    """Whether a type is that of numbers."""
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _text_of_floats(column: pa.Array) -> Typed:
    encoded = column.dictionary_encode()
    numbers = encoded.dictionary.to_pylist()
    words = [category_text(v, "") if math.isfinite(v) else None for v in numbers]
    values = pa.array(words, pa.large_string()).take(encoded.indices)
    infinite = np.isinf(np.asarray(pc.fill_null(column, 0.0)))
    return Typed(values, infinite if infinite.any() else None)


def _time_of_text(column: pa.Array, notation: Notation | None) -> Typed:
    text = column.cast(pa.large_string())
    times = _iso_times(text) if notation is None else None
    if times is not None:
        return Typed(times)
    text = without_gaps(text, gaps_for("time"))
    times = _iso_times(text) if notation is None else None
    if times is not None:
        return Typed(times)
    encoded = text.dictionary_encode()
    moments = [_moment_or_none(word, notation) for word in encoded.dictionary.to_pylist()]
    values = [None if moment is None else moment.wall for moment in moments]
    times = pa.array(values, pa.timestamp("us")).take(encoded.indices)
    bad = np.asarray(text.is_valid()) & np.asarray(times.is_null())
    return Typed(times, bad if bad.any() else None)


def _iso_times(text: pa.Array) -> pa.Array | None:
    """Times of ISO 8601, with zones or without; None where one is none."""
    for shown in (lambda: text, lambda: pc.replace_substring_regex(text, _ZONE, r"\1")):
        try:
            return shown().cast(pa.timestamp("us"))
        except pa.ArrowInvalid:
            continue
    return None


def _moment_or_none(word: str | None, notation: Notation | None) -> Moment | None:
    return None if word is None else moment_of(word, notation)


def _time_of_numbers(column: pa.Array, notation: Notation | None) -> Typed:
    if notation not in (None, "epoch", *EPOCH_UNITS):
        encoded = column.cast(pa.float64(), safe=False).dictionary_encode()
        moments = [moment_of(number, notation) for number in encoded.dictionary.to_pylist()]
        values = [None if moment is None else moment.wall for moment in moments]
        times = pa.array(values, pa.timestamp("us")).take(encoded.indices)
        bad = np.asarray(column.is_valid()) & np.asarray(times.is_null())
        return Typed(times, bad if bad.any() else None)
    raw = np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), math.nan))
    magnitude = np.abs(raw)
    limits = [magnitude < 1e11, magnitude < 1e14, magnitude < 1e17]  # as epoch_divisor
    divisor = np.select(limits, [1.0, 1e3, 1e6], 1e9)
    if notation is not None and notation in EPOCH_UNITS:
        divisor = float(EPOCH_UNITS[notation])
    seconds = raw / divisor
    # Years 1 to 9999, as parse_moment; NaN compares false and is missing, not bad.
    fits = (magnitude < 4e18) & (seconds > -62_135_596_800) & (seconds < 253_402_300_800)
    micros = np.rint(np.where(fits, seconds, 0.0) * 1e6).astype(np.int64)
    bad = ~fits & ~np.isnan(raw)
    times = pa.array(micros, mask=~fits).cast(pa.timestamp("us"))
    return Typed(times, bad if bad.any() else None)
