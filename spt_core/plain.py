"""Stored JSON -> the dataclass that `dataclasses.asdict` made it of, values as they were stored."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from spt_core.errors import CorruptArtifactError

T = TypeVar("T")
_hints = functools.cache(get_type_hints)


def from_plain(kind: type[T], content: Mapping[str, Any]) -> T:
    """The dataclass: fields that are younger than what was stored have their defaults.

    Values are not checked and no number converted, as digests of before hold.
    CorruptArtifactError where a field without a default is missing, or one has no place.
    """
    hints = _hints(kind)
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]  # of a dataclass
    missing = [
        field.name
        for field in fields
        if field.default is field.default_factory is dataclasses.MISSING
        and field.name not in content
    ]
    strange = sorted(content.keys() - {field.name for field in fields})
    if missing or strange:
        raise CorruptArtifactError(
            f"what is stored must be a whole {kind.__name__}, however: it lacks {missing}"
            + (f", and this version of the code does not know {strange}" if strange else "")
        )
    return kind(**{name: _value(hints.get(name), value) for name, value in content.items()})


def _value(hint: Any, value: Any) -> Any:
    if type(None) in get_args(hint):
        return value if value is None else _value(get_args(hint)[0], value)
    if get_origin(hint) is tuple:
        return tuple(_value(get_args(hint)[0], element) for element in value)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_plain(hint, value)
    return hint(value) if isinstance(hint, enum.EnumMeta) else value
