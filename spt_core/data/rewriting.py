"""Texts of a corpus that are rewritten as they are read, before anything else sees them.

raw texts -> Rewrite -> rewritten texts, how many replacements of each kind, and rows that failed

What stands beside the texts: names of groups are written as pseudonyms, and of a row that is bad
its own fields alone are kept.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.data.raw import as_json
from spt_core.errors import InputError

WITHHELD = "[WITHHELD]"  # in the place of a value that nobody rewrites
PSEUDONYM_BYTES = 8  # of a hash: a billion names hardly coincide


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


def pseudonyms(names: pa.ChunkedArray, key: bytes) -> pa.Array:
    """The names of a column as keyed hashes: equal ones stay equal, and are told by the key alone.

    Without the key, a list of all names finds none of them again.
    """
    hashes: dict[str | None, str | None] = {None: None}
    for name in names.unique().to_pylist():
        if name is not None:
            hashed = hashlib.blake2b(name.encode(), key=key, digest_size=PSEUDONYM_BYTES)
            hashes[name] = hashed.hexdigest()
    return pa.array([hashes[name] for name in names.to_pylist()], pa.large_string())


def withheld(bad: pa.Table, kept: Collection[str]) -> pa.Table:
    """Bad rows (conform.BAD_SCHEMA) whose records say what is in `kept`, and WITHHELD elsewhere."""
    records = [
        as_json({n: v if n in kept or v is None else WITHHELD for n, v in json.loads(r).items()})
        for r in bad["record"].to_pylist()
    ]
    place = bad.column_names.index("record")
    return bad.set_column(place, bad.schema.field(place), pa.array(records, pa.string()))
