"""`--set training.num_epochs=3`: typed changes of nested configuration fields."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from typing import Any, TypeVar

from spt_core.errors import InputError, nearest
from spt_core.validation import parsed

T = TypeVar("T")


def override(config: T, assignments: Sequence[str]) -> T:
    """The configuration with each `path.to.field=value` applied; InputError if it is unknown."""
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise InputError(f"--set takes FIELD=VALUE, however: {assignment!r} has no '='")
        config = _replaced(config, path.strip().split("."), text.strip(), path.strip())
    return config


def _replaced(config: Any, path: list[str], text: str, whole: str) -> Any:
    name, *rest = path
    fields = [f.name for f in dataclasses.fields(config)]
    if name not in fields:
        raise InputError(
            f"--set names a field of the configuration, however: {whole!r} has no {name!r}; "
            f"{nearest(name, fields)}"
        )
    current = getattr(config, name)
    if rest:
        if not dataclasses.is_dataclass(current):
            raise InputError(f"--set {whole}: {name!r} has no fields of its own")
        return dataclasses.replace(config, **{name: _replaced(current, rest, text, whole)})
    if dataclasses.is_dataclass(current):
        inner = [f"{whole}.{f.name}" for f in dataclasses.fields(current)]
        raise InputError(f"--set takes single fields, however: {whole!r} is a group of {inner}")
    hint = typing.get_type_hints(type(config))[name]
    return dataclasses.replace(config, **{name: _parsed(text, hint, whole)})


def _parsed(text: str, hint: Any, whole: str) -> Any:
    """The text as the field's type; lists are comma-separated, "none" is None."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if text.lower() == "none" and type(None) in arguments:
        return None
    if origin in (typing.Union, types.UnionType):
        return _parsed(text, next(a for a in arguments if a is not type(None)), whole)
    if origin in (tuple, list):
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return origin(_parsed(part, arguments[0], whole) for part in parts)
    return parsed(hint, text, whole)
