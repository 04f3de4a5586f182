"""Rows as they came, before any kind is known: Python values and nested tables -> Arrow columns."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from spt_core.errors import InputError
from spt_core.records import category_text

_FILE = {"bytes", "path"}
_WHOLE = r"^([+-]?\d+)\.0+$"


def column_from(values: Sequence[object]) -> pa.Array:
    """An Arrow column of Python values; values of mixed types become text."""
    try:
        return pa.array(values, from_pandas=True)
    except UnicodeEncodeError as error:
        raise InputError(
            "texts must be Unicode, however: one holds half of a surrogate pair"
        ) from error
    except (pa.ArrowException, OverflowError):
        return pa.array([_as_text(value) for value in values], pa.large_string())


def as_json(record: dict[str, object]) -> str:
    """The record as JSON text; what JSON cannot hold is written as text, bytes as their number."""
    try:
        return json.dumps(record, default=_shown, ensure_ascii=False, allow_nan=False)
    except ValueError:
        plain = {k: str(v) if isinstance(v, float) else v for k, v in record.items()}
        return json.dumps(plain, default=_shown, ensure_ascii=False)


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a type is that of bytes that need not be text, or of an object that holds some."""
    if pa.types.is_struct(kind):
        return any(is_bytes(field.type) for field in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _shown(value: object) -> str:
    return f"{len(value):,} bytes" if isinstance(value, bytes) else str(value)


def plain_integers(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The table with "2.0" as "2" in these text columns: a format without types writes both."""
    for name in names:
        if pc.any(pc.match_substring_regex(table[name], _WHOLE)).as_py():
            shorter = plain_integers_of(table[name])
            table = table.set_column(table.column_names.index(name), name, shorter)
    return table


def plain_integers_of(text: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Texts, "2.0" as "2"."""
    return pc.replace_substring_regex(text, _WHOLE, r"\1")


def plain_integer(text: str) -> str:
    """A text, "2.0" as "2"."""
    return re.sub(_WHOLE, r"\1", text)


def flat(table: pa.Table) -> pa.Table:
    """The table with struct columns as dotted columns, and each type as its plain one.

    A struct of `bytes` and `path`, as Hugging Face's datasets write images, is its bytes.
    Dictionaries and runs are decoded, views are what they view, bytes that are UTF-8 are text: many
    writers of Parquet do not say that their bytes are.
    """
    while True:
        for index, field in enumerate(table.schema):
            column = table.column(index)
            if pa.types.is_struct(field.type) and {f.name for f in field.type} == _FILE:
                column = pc.struct_field(column, "bytes")
            column = _plain(column)
            if column.type != field.type:
                table = table.set_column(index, field.name, column)
        if not any(pa.types.is_struct(field.type) for field in table.schema):
            return table
        table = table.flatten()


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):  # pandas' periods and intervals
        chunks = [chunk.storage for chunk in column.chunks]
        return _plain(pa.chunked_array(chunks, kind.storage_type))
    if pa.types.is_dictionary(kind):
        if not isinstance(kind.value_type, pa.BaseExtensionType):
            return _plain(column.cast(kind.value_type))
        chunks = [chunk.dictionary.storage.take(chunk.indices) for chunk in column.chunks]
        return _plain(pa.chunked_array(chunks, kind.value_type.storage_type))
    if pa.types.is_run_end_encoded(kind):
        return _plain(pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks]))
    if kind == pa.string_view():
        return column.cast(pa.large_string())
    if kind == pa.binary_view() or pa.types.is_fixed_size_binary(kind):
        return _plain(column.cast(pa.large_binary()))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            text = column.cast(pa.large_string())
        except pa.ArrowInvalid:
            return column
        return pc.utf8_rtrim(text, characters="\0")  # what fills up a fixed size
    return column


def _as_text(value: object) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return category_text(value, "")
    return json.dumps(value, default=str) if isinstance(value, list | dict) else str(value)
