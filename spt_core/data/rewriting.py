"""Texts of a corpus that are rewritten as they are read, before anything else sees them.

raw texts -> Rewrite -> rewritten texts, how many replacements of each kind, and rows that failed
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.errors import InputError

WITHHELD = "{}"  # a line that could not be read is not stored as it was


class Rewrite(Protocol):
    """What rewrites texts; it travels to workers, and is called by one thread of each.

    `facts` say what it is, in JSON: they are part of the identity of what it made.
    """

    @property
    def facts(self) -> Mapping[str, str]:
        """Its versions by name."""
        ...

    def __call__(self, text: str) -> tuple[str, Mapping[str, int]]:
        """A text rewritten, and how many parts of each kind were replaced; InputError if not."""
        ...


class Rewritten(NamedTuple):
    """A table with rewritten texts, why a row has none (else None), and the replacements."""

    table: pa.Table
    reasons: NDArray[np.object_]
    counts: Counter[str]


def rewritten(table: pa.Table, name: str, rewrite: Rewrite) -> Rewritten:
    """The table with its column `name` rewritten; a row that fails has no text."""
    reasons = np.full(table.num_rows, None, dtype=object)
    counts: Counter[str] = Counter()
    texts: list[str | None] = []
    for row, cell in enumerate(table[name].to_pylist()):
        text = None
        if isinstance(cell, str) and cell.strip():  # others are refused as what they are
            try:
                text, replaced = rewrite(cell)
                counts.update(replaced)
            except InputError as error:
                reasons[row] = f"the field {name!r} must be rewritten, however: {error}"
        texts.append(text)
    column = pa.array(texts, pa.large_string())
    return Rewritten(
        table.set_column(table.column_names.index(name), name, column), reasons, counts
    )
