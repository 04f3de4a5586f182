"""Texts and spans of a corpus: which no model can read, and spans in canonical JSON.

The rules are those of requests (spt_core/tokens.py), said of columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spt_core.errors import InputError
from spt_core.signature import MAX_CHARACTERS, MAX_SPANS

_VISIBLE = r"[^\p{C}\p{Z}]|\x{200d}"
Spans = Sequence[tuple[int, int]]


def text_problems(texts: pa.Array, name: str) -> list[tuple[NDArray[np.bool_], str]]:
    """Which texts of a column no model can read, by reason."""
    missing = texts.is_null()
    blank = pc.invert(pc.fill_null(pc.match_substring_regex(texts, _VISIBLE), True))
    long = pc.fill_null(pc.greater(pc.utf8_length(texts), MAX_CHARACTERS), False)
    rule = f"the field {name!r} must"
    return [
        (np.asarray(missing), f"{rule} hold a text, however: it is missing"),
        (
            np.asarray(blank),
            f"{rule} hold a text, however: it is empty or has no visible character",
        ),
        (np.asarray(long), f"{rule} have at most {MAX_CHARACTERS:,} characters"),
    ]


def read_spans(
    cells: Sequence[Any], texts: Sequence[str | None], name: str
) -> tuple[pa.Array, NDArray[np.object_], list[Spans | None]]:
    """The spans as canonical JSON, the reason where they are bad, and their places as given."""
    reasons = np.full(len(cells), None, dtype=object)
    values: list[str | None] = []
    places: list[Spans | None] = []
    for row, (cell, text) in enumerate(zip(cells, texts, strict=True)):
        value = place = None
        if cell is not None and not (isinstance(cell, str) and not cell.strip()):
            try:
                value, place = _row_of_spans(cell, len(text or ""))
            except InputError as error:
                reasons[row] = f"the field {name!r} must {error}"
        values.append(value)
        places.append(place)
    return pa.array(values, pa.large_string()), reasons, places


def read_span(span: Mapping[str, Any], length: int) -> tuple[int, int]:
    """The characters [start, end) of a span of a text of that length."""
    start, end = span.get("start"), span.get("end")
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= length:
        raise InputError("hold spans with 0 <= start < end <= the length of the text")
    return start, end


def order_of(places: Spans) -> list[int]:
    """The number that each span has in canonical order."""
    numbers = {place: number for number, place in enumerate(sorted(places))}
    return [numbers[place] for place in places]


def objects(cell: Any) -> list[Mapping[str, Any]]:
    """A cell as a list of objects: JSON text, or what Arrow made of lists."""
    content = parsed(cell)
    if not isinstance(content, list) or not all(
        isinstance(entry, Mapping) for entry in cast(list[Any], content)
    ):
        raise InputError("be a list of objects with start and end, however: it is not")
    return cast(list[Mapping[str, Any]], content)


def parsed(cell: Any) -> Any:
    """What a cell of JSON text holds; another cell as it is."""
    if not isinstance(cell, str):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        raise InputError("be JSON, however: it does not parse") from None


def canonical(value: Any) -> str:
    """JSON text; equal values of one order have equal texts."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _row_of_spans(cell: Any, length: int) -> tuple[str, Spans]:
    spans = objects(cell)
    if len(spans) > MAX_SPANS:
        raise InputError(f"hold at most {MAX_SPANS} spans, however: there are {len(spans)}")
    places = [read_span(span, length) for span in spans]
    if len(set(places)) < len(places):
        raise InputError("hold different spans, however: one comes twice")
    ordered = sorted(zip(places, spans, strict=True), key=lambda entry: entry[0])
    content = [
        {"start": start, "end": end}
        | ({"label": str(span["label"])} if span.get("label") is not None else {})
        for (start, end), span in ordered
    ]
    return canonical(content), places
