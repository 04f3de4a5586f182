"""What must not be: training rows in another part, and columns that are the label.

Pure functions of tables; splits.py decides what they are applied to.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spt_core.data.conform import pair_columns
from spt_core.data.corpus import Finding
from spt_core.data.hashing import Hashes, uniform
from spt_core.errors import InputError
from spt_core.heads.metrics import roc_auc
from spt_core.signature import Field
from spt_core.task import Head

MAX_AUC = 0.995
MAX_ACCURACY = 0.995  # of classes told by one column
MAX_R2 = 0.995  # of a number's ranks told by one column
NUM_BINS = 200  # of a number column, where its values stand for classes or numbers
MIN_ROWS = 50  # below which one column tells everything by chance
MIN_PER_CLASS = 5
MAX_TERMS = 100  # of a column of sets: the commonest
MAX_GROUPS = 20  # of a protected attribute that features are held against
MIN_PROXY = 0.5  # of the mistakes that the commonest group makes, a proxy makes no more
HASHES_IN_MEMORY = 20_000_000
Floats = NDArray[np.float64]


def refuse_label_like(
    table: pa.Table,
    label: str,
    fields: Sequence[Field],
    *,
    head: Head = "binary",
    accepted: Sequence[str] = (),
    time: str | None = None,
) -> list[str]:
    """The accepted columns that one by one give the label away; InputError for any other one.

    `table` is a sample of training rows in their types. A time is judged by its moment, its hour,
    its weekday and its distance from the corpus's `time`, whose own moment is left out: what the
    model learns changes over it. Of a yes or no, numbers are judged by AUC
    in both directions, categories by the label's rate per value in one half of the rows, tested on
    the other; a missing value is a value too. With fewer than five rows of a class nothing is
    judged. Of classes and numbers, what the rows of one half say of each value (or of each of
    NUM_BINS ranges of values) is tested on the other half, by accuracy and by the R2 of ranks.
    """
    name, limit, likeness = _measure(table[label], head)
    accepted_columns: list[str] = []
    telling: list[str] = []
    figures: list[str] = []
    for field in fields:
        if field.kind == "entity" or field.name not in table.column_names:
            continue
        is_category = field.kind == "category"
        facets = _facets(table, field, time)
        value = max((likeness(column, is_category) for column in facets), default=0.0)
        if value < limit:
            continue
        if field.name in accepted:
            accepted_columns.append(field.name)
            continue
        telling.append(field.name)
        figures.append(f"{field.name!r} alone reaches {name} {value:.3f}")
    if telling:
        names = _listed(telling)
        raise InputError(
            f"no column may give the label away, however: for {label!r} {'; '.join(figures)}; "
            f"leave it out with --set data.drop={names}, or accept it with data.keep={names} if it "
            "is known before the answer is needed"
        )
    return accepted_columns


def _listed(names: Sequence[str]) -> str:
    """Names as `--set` takes them on a command line."""
    text = json.dumps(names) if any("," in name for name in names) else ",".join(names)
    return shlex.quote(text)


def proxies(
    table: pa.Table,
    fields: Sequence[Field],
    carried: Sequence[Field],
    protected: Sequence[str],
) -> list[Finding]:
    """The features that tell a protected attribute by themselves, better than its commonest value.

    What a model may not see it may still learn from them. Attributes of up to MAX_GROUPS values.
    """
    findings: list[Finding] = []
    for attribute in (f for f in carried if f.name in protected and f.kind != "time"):
        encoded = table[attribute.name].combine_chunks().dictionary_encode()
        classes = np.asarray(pc.fill_null(encoded.indices, len(encoded.dictionary)))
        if not 2 <= len(encoded.dictionary) <= MAX_GROUPS:
            continue
        usual = float(np.bincount(classes).max() / len(classes))
        for field in fields:
            if field.kind not in ("number", "boolean", "category"):
                continue
            right = _accuracy(_index(table[field.name], field.kind == "category"), classes)
            if right - usual >= MIN_PROXY * (1.0 - usual):
                detail = f"tells {attribute.name!r} in {right:.0%} of rows, by itself"
                findings.append(Finding(kind="proxy", column=field.name, detail=detail))
    return findings


def _facets(table: pa.Table, field: Field, time: str | None) -> list[pa.ChunkedArray]:
    """What is judged of a column: itself, the numbers that a time or a pair consists of, terms."""
    column = table[field.name]
    if field.kind == "number_pair":
        return [*map(pa.chunked_array, ([half] for half in pair_columns(column.combine_chunks())))]
    if field.kind == "terms":
        return _terms(column)
    if field.kind != "time":
        return [column]
    micros = column.cast(pa.int64())
    facets = [pc.hour(column), pc.day_of_week(column)]
    if field.name == time:
        return facets
    facets.append(micros)
    if time is not None and time in table.column_names:
        facets.append(pc.subtract(micros, table[time].cast(pa.int64())))
    return facets


def _terms(column: pa.ChunkedArray) -> list[pa.ChunkedArray]:
    """For each of the commonest terms of a column of sets whether a row has it."""
    sets = [None if cell is None else set(json.loads(cell)) for cell in column.to_pylist()]
    common = Counter(term for members in sets for term in members or ()).most_common(MAX_TERMS)
    return [
        pa.chunked_array([[None if s is None else float(term in s) for s in sets]])
        for term, _ in common
    ]


def _measure(
    labels: pa.ChunkedArray, head: Head
) -> tuple[str, float, Callable[[pa.ChunkedArray, bool], float]]:
    """How columns are judged: the figure's name, its limit, and the figure of a column."""
    if head == "binary":
        numbers = np.asarray(labels, np.float64)
        positives = int(numbers.sum())
        is_judged = min(positives, len(numbers) - positives) >= MIN_PER_CLASS

        def auc(column: pa.ChunkedArray, is_category: bool) -> float:
            return label_likeness(column, numbers, is_category=is_category) if is_judged else 0.0

        return "an AUC of", MAX_AUC, auc
    if head == "regression":
        ranks = _ranks(np.asarray(labels, np.float64))
        return (
            "an R2 of ranks of",
            MAX_R2,
            lambda column, is_category: _r2(_index(column, is_category), ranks),
        )
    classes = np.asarray(labels.combine_chunks().dictionary_encode().indices)
    return (
        "an accuracy of",
        MAX_ACCURACY,
        lambda column, is_category: _accuracy(_index(column, is_category), classes),
    )


def _index(column: pa.ChunkedArray, is_category: bool) -> NDArray[np.int64]:
    """The number of each row's value, or of the range that it lies in; missing has its own."""
    if is_category:
        encoded = column.combine_chunks().dictionary_encode()
        return np.asarray(pc.fill_null(encoded.indices, len(encoded.dictionary)), np.int64)
    values = np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), np.nan), np.float64)
    present = values[~np.isnan(values)]
    inner = np.linspace(0, 1, NUM_BINS + 1)[1:-1]  # the least and the greatest share theirs
    edges = np.unique(np.quantile(present, inner)) if len(present) else present
    return np.where(np.isnan(values), 0, np.searchsorted(edges, values) + 1)


def _ranks(values: Floats) -> Floats:
    """Values as the middle of their ranks: a long tail would hide what tells all but a few."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values) + np.searchsorted(ordered, values, side="right")) / 2


def _halves(size: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    half = uniform(np.arange(size, dtype=np.uint64), 0) < 0.5
    return None if min(half.sum(), (~half).sum()) < MIN_ROWS else (half, ~half)


def _accuracy(index: NDArray[np.int64], classes: NDArray[Any]) -> float:
    """The share of rows told rightly by the commonest class of their value.

    0 where the commonest class of all is as good.
    """
    halves = _halves(len(index))
    if halves is None:
        return 0.0
    first, second = halves
    counts = np.zeros((index.max() + 1, classes.max() + 1))
    np.add.at(counts, (index[first], classes[first]), 1)
    counts += counts.sum(0) / len(index) * 1e-3  # a value that was not seen: the commonest of all
    right = float((counts.argmax(1)[index[second]] == classes[second]).mean())
    usual = float((counts.sum(0).argmax() == classes[second]).mean())
    return right if right > usual else 0.0


def _r2(index: NDArray[np.int64], values: Floats) -> float:
    """The share of the variance that the mean of each index's rows explains."""
    halves = _halves(len(index))
    if halves is None:
        return 0.0
    first, second = halves
    counts = np.bincount(index[first], minlength=index.max() + 1)
    sums = np.bincount(index[first], weights=values[first], minlength=index.max() + 1)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), values[first].mean())
    rest = np.square(values[second] - means[index[second]]).sum()
    spread = np.square(values[second] - values[second].mean()).sum()
    return float(1.0 - rest / max(spread, 1e-300))


def label_likeness(column: pa.ChunkedArray, labels: Floats, *, is_category: bool) -> float:
    """How well one column alone ranks the labels, in either direction: 0.5 to 1."""
    if is_category:
        return _category_auc(column, labels)
    numbers = np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), np.nan), np.float64)
    missing = np.isnan(numbers)
    if missing.all():
        return 0.5
    values = np.where(missing, np.nanmin(numbers) - 1.0, numbers)
    best = max(_either_way(labels, values), _either_way(labels, missing.astype(np.float64)))
    present = labels[~missing]
    if min(present.sum(), len(present) - present.sum()) >= MIN_PER_CLASS:
        best = max(best, _either_way(present, numbers[~missing]))
    return best


def is_among(hashes: Hashes, members: Hashes) -> NDArray[np.bool_]:
    """Which hashes are among the known ones, which must be sorted."""
    if not len(members):
        return np.zeros(len(hashes), bool)
    place = np.minimum(np.searchsorted(members, hashes), len(members) - 1)
    return members[place] == hashes


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
