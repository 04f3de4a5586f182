"""Stored JSON -> the dataclass that `dataclasses.asdict` made it of, values as they were stored."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
_hints = functools.cache(get_type_hints)


def from_plain(kind: type[T], content: Mapping[str, Any]) -> T:
    """The dataclass: fields that are younger than what was stored have their defaults.

    Nothing is checked and no number converted, as digests of before hold.
    """
    hints = _hints(kind)
    return kind(**{name: _value(hints.get(name), value) for name, value in content.items()})


def _value(hint: Any, value: Any) -> Any:
    if type(None) in get_args(hint):
        return value if value is None else _value(get_args(hint)[0], value)
    if get_origin(hint) is tuple:
        return tuple(_value(get_args(hint)[0], element) for element in value)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_plain(hint, value)
    return hint(value) if isinstance(hint, enum.EnumMeta) else value
