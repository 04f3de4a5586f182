"""Values that hold several: a set of terms, and two numbers that are written as one.

["chest pain", "fever"] | "chest_pain; fever" -> ("chest_pain", "fever");  "150/95" -> (150.0, 95.0)

Requests and cells of a corpus are read by the same functions.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, cast

from spt_core.errors import InputError
from spt_core.notation import FLOAT32_MAX
from spt_core.records import category_text, wrong_value

MAX_TERMS = 1000  # of one record
MIN_LIKENESS = 0.6  # of two terms, for one to be offered in place of the other
ABSENT = "no other term"  # what all terms of a vocabulary that a record lacks are called together
TERMS_RULE = "a list of terms, or a text that parts them by ; or | (else by ,)"
PAIR_RULE = "two numbers such as 150/95"
_GAPS = re.compile(r"[\s_-]+")
_PAIR = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*/\s*([+-]?\d+(?:\.\d+)?)\s*")


def term_of(value: object, name: str) -> str:
    """A term as it is looked up: lower case, words joined by `_`; "Chest pain" is "chest_pain"."""
    return _GAPS.sub("_", category_text(value, name).strip().lower()).strip("_")


def terms_of(value: object, name: str) -> tuple[str, ...]:
    """The terms of a cell or of a request's field, sorted, each once; InputError if it has none.

    An empty list is a set without terms, and not a missing value.
    """
    entries = value
    if isinstance(value, str):
        entries = _listed(value, name)
    if not isinstance(entries, Sequence) or isinstance(entries, bytes):
        raise wrong_value(name, TERMS_RULE, value)
    entries = cast("Sequence[object]", entries)
    if len(entries) > MAX_TERMS:
        raise InputError(
            f"the field {name!r} may hold {MAX_TERMS:,} terms, however: it holds {len(entries):,}"
        )
    return tuple(sorted({term_of(entry, name) for entry in entries} - {""}))


def pair_of(value: object, name: str) -> tuple[float, float]:
    """The two numbers of "150/95" or of [150, 95]; InputError where there are not two."""
    parts: Sequence[Any] = ()
    if isinstance(value, str):
        match = _PAIR.fullmatch(value)
        parts = () if match is None else match.groups()
    elif isinstance(value, list | tuple):
        parts = cast("Sequence[Any]", value)
    if len(parts) != 2 or any(
        isinstance(p, bool) or not isinstance(p, str | int | float) for p in parts
    ):
        raise wrong_value(name, PAIR_RULE, value)
    try:
        first, second = float(parts[0]), float(parts[1])
    except (ValueError, OverflowError) as error:
        raise wrong_value(name, PAIR_RULE, value) from error
    if not max(abs(first), abs(second)) <= FLOAT32_MAX or math.isnan(first + second):
        raise wrong_value(name, PAIR_RULE, value)
    return first, second


def terms_text(terms: Iterable[str]) -> str:
    """A set of terms as a column of a split holds it: a JSON list, sorted."""
    return json.dumps(sorted(terms), ensure_ascii=False)


def pair_text(pair: tuple[float, float]) -> str:
    """Two numbers as a column of a split holds them."""
    return "/".join(category_text(number, "") for number in pair)


def nearest_term(term: str, vocabulary: Sequence[str]) -> str | None:
    """The term of a vocabulary that is written most like another; None if none is like it."""
    close = difflib.get_close_matches(term, vocabulary, n=1, cutoff=MIN_LIKENESS)
    return close[0] if close else None


def _listed(text: str, name: str) -> Sequence[object]:
    """The entries of a text: a JSON list, or terms with a delimiter between them."""
    if text.lstrip().startswith("["):
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise wrong_value(name, TERMS_RULE, text) from error
        return cast("Sequence[object]", content)
    delimiter = next((mark for mark in ";|" if mark in text), ",")
    return text.split(delimiter)
