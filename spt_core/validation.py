"""What people write (TOML, JSON, --set) -> typed values, read strictly as their annotations say.

A mistake is one sentence that names where it stands: the rule, then the fact.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from types import GenericAlias
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from spt_core.errors import InputError, nearest

T = TypeVar("T")
_UNKNOWN = "unexpected_keyword_argument"
_WORDS = {
    "bool": "true or false",
    "dataclass": "a table of keys",
    "dict": "a table of keys",
    "float": "a number",
    "int": "a whole number",
    "string": "a text",
    "tuple": "a list",
}


def validated(kind: type[T], content: object, where: str) -> T:
    """The value of a type that plain content says; `where` is its place, for the sentence."""
    try:
        # As JSON, because strictness takes no lists for tuples in Python.
        text = json.dumps([content], ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} must be writable as JSON, however: {error}") from error
    try:
        return _adapter(kind).validate_json(text)[0]
    except ValidationError as error:
        # A misspelled key comes before the one that is therefore missing.
        first = min(error.errors(), key=lambda one: one["type"] != _UNKNOWN)
        raise InputError(_sentence(kind, first, first["loc"][1:], where)) from error


def parsed(hint: Any, text: str, where: str) -> Any:
    """The value of an annotation that a text says."""
    try:
        return TypeAdapter(hint).validate_strings(text)
    except ValidationError as error:
        raise InputError(_sentence(hint, error.errors()[0], (), where)) from error


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    # A dataclass takes its configuration from what holds it: a tuple of one.
    holder: Any = GenericAlias(tuple, (kind,))
    return TypeAdapter(holder, config=ConfigDict(extra="forbid", strict=True))


def _sentence(kind: Any, error: ErrorDetails, path: Sequence[int | str], where: str) -> str:
    problem, context = error["type"], error.get("ctx", {})
    parents = path[:-1] if problem == _UNKNOWN else path
    at = f"{where}: {'.'.join(map(str, parents))}" if parents else where
    if problem == _UNKNOWN:
        key = str(path[-1])
        return f"{at}: there is no key {key!r}, however: {nearest(key, _keys(kind, parents))}"
    if problem == "value_error":  # what a dataclass itself refuses
        return f"{at}: {context['error']}"
    if problem == "missing":
        return f"{at} must be given, however: it is missing"
    rule = _WORDS.get(problem.partition("_")[0], error["msg"].removeprefix("Input should be "))
    if "expected" in context:  # of a Literal or an enumeration
        rule = f"one of {context['expected']}"
    return f"{at} must be {rule}, however: {error['input']!r}"


def _keys(kind: Any, path: Sequence[int | str]) -> list[str]:
    """The keys that the table at a path may have."""
    for step in path:
        if isinstance(step, str):
            kind = get_type_hints(kind)[step]
        kind = next(filter(dataclasses.is_dataclass, get_args(kind)), kind)
    return [field.name for field in dataclasses.fields(kind)]
