"""What must not be: training rows in another part, and columns that are the label.

Pure functions of tables; splits.py decides what they are applied to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spt_core.data.hashing import Hashes, uniform
from spt_core.errors import InputError
from spt_core.heads.metrics import roc_auc
from spt_core.signature import Field

MAX_AUC = 0.995
MIN_PER_CLASS = 5
HASHES_IN_MEMORY = 20_000_000
Floats = NDArray[np.float64]


def refuse_label_like(
    table: pa.Table, label: str, fields: Sequence[Field], *, accepted: Sequence[str] = ()
) -> list[str]:
    """The accepted columns that one by one give the label away; InputError for any other one.

    `table` is a sample of training rows in their types. Numbers are judged by AUC in both
    directions, categories by the label's rate per value in one half of the rows, tested on the
    other; a missing value is a value too. With fewer than five rows of a class nothing is judged.
    """
    labels = np.asarray(table[label], np.float64)
    positives = int(labels.sum())
    if min(positives, len(labels) - positives) < MIN_PER_CLASS:
        return []
    found: list[str] = []
    for field in fields:
        if (
            field.kind not in ("number", "boolean", "category")
            or field.name not in table.column_names
        ):
            continue
        auc = label_likeness(table[field.name], labels, is_category=field.kind == "category")
        if auc < MAX_AUC:
            continue
        if field.name not in accepted:
            raise InputError(
                f"no column may give the label away, however: {field.name!r} alone reaches AUC "
                f"{auc:.3f} for {label!r}; leave it out with drop ({field.name!r}), or accept it "
                f"with keep if it is known before the answer is needed"
            )
        found.append(field.name)
    return found


def label_likeness(column: pa.ChunkedArray, labels: Floats, *, is_category: bool) -> float:
    """How well one column alone ranks the labels, in either direction: 0.5 to 1."""
    if is_category:
        return _category_auc(column, labels)
    numbers = np.asarray(pc.fill_null(column.cast(pa.float64()), np.nan), np.float64)
    missing = np.isnan(numbers)
    if missing.all():
        return 0.5
    values = np.where(missing, np.nanmin(numbers) - 1.0, numbers)
    best = max(_either_way(labels, values), _either_way(labels, missing.astype(np.float64)))
    known = labels[~missing]
    if min(known.sum(), len(known) - known.sum()) >= MIN_PER_CLASS:
        best = max(best, _either_way(known, numbers[~missing]))
    return best


def is_among(hashes: Hashes, known: Hashes) -> NDArray[np.bool_]:
    """Which hashes are among the known ones, which must be sorted."""
    if not len(known):
        return np.zeros(len(hashes), bool)
    place = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    return known[place] == hashes


def ranges(num_hashes: int) -> Iterator[tuple[np.uint64, np.uint64]]:
    """Ranges of hash values, each holding about as many hashes as may be in memory at a time."""
    parts = max(1, -(-num_hashes // HASHES_IN_MEMORY))
    bounds = [i * 2**64 // parts for i in range(parts + 1)]
    for low, high in zip(bounds[:-1], bounds[1:], strict=True):
        yield np.uint64(low), np.uint64(high - 1)


def _category_auc(column: pa.ChunkedArray, labels: Floats) -> float:
    encoded = column.combine_chunks().dictionary_encode()
    index = np.asarray(pc.fill_null(encoded.indices, len(encoded.dictionary)))
    half = uniform(np.arange(len(labels), dtype=np.uint64), 0) < 0.5
    shape = len(encoded.dictionary) + 1
    counts = np.bincount(index[half], minlength=shape)
    positives = np.bincount(index[half], weights=labels[half], minlength=shape)
    prior = labels[half].mean() if half.any() else 0.5
    # A value seen once says little; one that was not seen says nothing.
    rates = (positives + prior) / (counts + 1.0)
    held_out = labels[~half]
    if min(held_out.sum(), len(held_out) - held_out.sum()) < 1:
        return 0.5
    return _either_way(held_out, rates[index[~half]])


def _either_way(labels: Floats, values: Floats) -> float:
    auc = roc_auc(labels, values)
    return max(auc, 1.0 - auc)
