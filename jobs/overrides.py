"""`--set training.num_epochs=3`: typed changes of nested configuration fields."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from spt_core.errors import InputError, nearest
from spt_core.validation import parsed

T = TypeVar("T")


def override(config: T, assignments: Sequence[str]) -> T:
    """The configuration with all of `path.to.field=value` applied; InputError if one is unknown.

    They are applied at once: fields that must agree, such as shares, may be changed together.
    """
    changes: dict[str, Any] = {}
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise InputError(f"--set takes FIELD=VALUE, however: {assignment!r} has no '='")
        *groups, name = path.strip().split(".")
        node = changes
        for group in groups:
            node = node.setdefault(group, {})
            if not isinstance(node, dict):
                raise InputError(f"--set {path.strip()}: {group!r} is given a value as well")
        node[name] = text.strip()
    return _replaced(config, changes, ())


def _replaced(config: Any, changes: Mapping[str, Any], above: tuple[str, ...]) -> Any:
    values = {n: _value(config, n, change, (*above, n)) for n, change in changes.items()}
    return dataclasses.replace(config, **values)


def _value(config: Any, name: str, change: Any, path: tuple[str, ...]) -> Any:
    fields, whole = [f.name for f in dataclasses.fields(config)], ".".join(path)
    if name not in fields:
        inner = [f"{group}.{name}" for group in fields if _has(getattr(config, group), name)]
        hint = f"did you mean {' or '.join(inner)}?" if inner else nearest(name, fields)
        raise InputError(
            f"--set names a field of the configuration, however: {whole!r} has no {name!r}; {hint}"
        )
    current = getattr(config, name)
    if isinstance(change, Mapping):
        if not dataclasses.is_dataclass(current):
            raise InputError(f"--set {whole}: {name!r} has no fields of its own")
        return _replaced(current, change, path)
    if dataclasses.is_dataclass(current):
        inner = [f"{whole}.{f.name}" for f in dataclasses.fields(current)]
        raise InputError(f"--set takes single fields, however: {whole!r} is a group of {inner}")
    return _parsed(change, typing.get_type_hints(type(config))[name], whole)


def _has(value: Any, name: str) -> bool:
    return dataclasses.is_dataclass(value) and name in {f.name for f in dataclasses.fields(value)}


def _parts(text: str) -> list[str]:
    """The parts of a list: parted by commas, or a JSON list of texts, which may hold some."""
    if text.startswith("["):
        with contextlib.suppress(ValueError):
            return [str(part) for part in json.loads(text)]
    return [part.strip() for part in text.split(",") if part.strip()]


def _parsed(text: str, hint: Any, whole: str) -> Any:
    """The text as the field's type; lists are comma-separated or JSON, "none" is None."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if text.lower() == "none" and type(None) in arguments:
        return None
    if origin in (typing.Union, types.UnionType):
        return _parsed(text, next(a for a in arguments if a is not type(None)), whole)
    if origin in (tuple, list):
        parts = _parts(text)
        return origin(_parsed(part, arguments[0], whole) for part in parts)
    return parsed(hint, text, whole)
