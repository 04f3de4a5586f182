"""What is left of quality when records come as the world sends them: gaps, typos, later months."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from spt_core.benchmark.subgroups import MIN_GROUP_ROWS
from spt_core.benchmark.subject import (
    Subject,
    kept_share,
    percentiles_of,
    resamples,
    with_column,
)
from spt_core.benchmark.tasks import BenchmarkResult, BenchmarkType, listed
from spt_core.data.series import as_column, windows_of
from spt_core.heads.outcomes import Outcomes
from spt_core.signature import Field
from spt_core.terms import terms_text

GAP_SHARE = 0.2  # of the values that may be missing
TYPO_SHARE = 0.1  # of words, and of the texts of categories and terms
_WORD = re.compile(r"[^\W\d_]{4,}")  # shorter words are seldom misspelled
_GAPS = ("robustness_missing", "Missing values")
_TYPOS = ("robustness_typos", "Typos")
_MONTHS = ("robustness_months", "Months apart")


def robustness(subject: Subject) -> list[BenchmarkResult]:
    """Three benchmarks: a share of the values missing, typos, and one month beside another."""
    return [missing_values(subject), typos(subject), months(subject)]


def missing_values(subject: Subject) -> BenchmarkResult:
    """The share of the metric that is left without GAP_SHARE of the values that may be missing."""
    table, field = subject.some(subject.config.altered_rows), subject.answerer.task.subject
    draw = np.random.default_rng(subject.config.seed)
    if field is not None and field.kind != "sequence":
        return _missing(_GAPS, f"a record is one {field.kind}, and is not asked without it")
    if field is not None:
        own = subject.splits.signature.field(field.name)
        what, altered = "readings", _without_readings(table, own, draw)
    else:
        names = [
            f.name
            for f in subject.splits.signature.fields
            if not f.required and f.name in table.column_names
        ]
        if not names:
            return _missing(_GAPS, "every field is required: a record without one is refused")
        what, altered = "values of optional fields", _without_values(table, names, draw)
    return _kept(subject, table, altered, _GAPS, f"without {GAP_SHARE:.0%} of the {what}")


def typos(subject: Subject) -> BenchmarkResult:
    """The share that is left when two letters of a TYPO_SHARE of words have changed places.

    Of a text's words; of a table's categories and of its terms, all words of those that are chosen.
    """
    table, task = subject.some(subject.config.altered_rows), subject.answerer.task
    draw = np.random.default_rng(subject.config.seed)
    if task.subject is not None:
        kinds = {task.subject.name: task.subject.kind} if task.subject.kind == "text" else {}
    else:
        fields = subject.splits.signature.fields
        kinds = {
            f.name: f.kind for f in fields if f.kind in _SPELT and f.name in table.column_names
        }
    if not kinds:
        kind = "record" if task.subject is None else task.subject.kind
        return _missing(_TYPOS, f"a {kind} without texts has no words")
    altered = table
    for name, kind in kinds.items():
        values = _MISSPELT[kind](altered[name].to_pylist(), draw)
        altered = with_column(altered, name, pa.array(values, altered[name].type))
    changed = [name for name in kinds if not altered[name].equals(table[name])]
    what = " and ".join(dict.fromkeys(_SPELT[kind] for kind in kinds.values()))
    if not changed:
        return _missing(_TYPOS, f"none of the {what} has a word of four letters")
    what = " and ".join(dict.fromkeys(_SPELT[kinds[name]] for name in changed))
    where = "" if task.subject is not None else f" of {listed(changed)}"
    how = f"with typos in {TYPO_SHARE:.0%} of the {what}{where}"
    return _kept(subject, table, altered, _TYPOS, how)


def months(subject: Subject) -> BenchmarkResult:
    """The worst month's figure over that of all held-out rows."""
    time = subject.splits.corpus.time
    if time is None or time not in subject.table.column_names:
        return _missing(_MONTHS, "the held-out rows do not say when they were")
    column = subject.table[time]
    if not pa.types.is_timestamp(column.type):
        return _missing(_MONTHS, f"{time} counts, and knows no months")
    if len(subject.of.labels) != subject.table.num_rows:
        return _missing(_MONTHS, "an answer is about parts of a row")
    names = np.array(pc.strftime(column, format="%Y-%m").to_pylist(), object)
    parts = {name: np.flatnonzero(names == name) for name in sorted(set(names) - {None})}
    metric, of = subject.metric, subject.of
    figures = {k: metric(of.take(rows)) for k, rows in parts.items() if len(rows) >= MIN_GROUP_ROWS}
    figures = {name: value for name, value in figures.items() if math.isfinite(value)}
    if len(figures) < 2:
        return _missing(
            _MONTHS,
            f"two months with {MIN_GROUP_ROWS} held-out rows and a figure each are needed, and "
            f"there are {len(figures)} of {len(parts)}",
        )
    shares = {name: kept_share(metric, metric(of), value) for name, value in figures.items()}
    worst = min(shares, key=lambda name: shares[name])
    values = [
        _share_of(subject, of.take(i), parts[worst], i) for i in resamples(of, subject.config)
    ]
    low, high = percentiles_of(values)
    return BenchmarkResult(
        task_id=_MONTHS[0],
        name=_MONTHS[1],
        benchmark_type=BenchmarkType.ROBUSTNESS,
        note=f"{_words(subject)} of the worst of {len(figures)} months, {worst}, over that of all "
        "rows",
        score=shares[worst],
        low=low,
        high=high,
        figures={name: {"value": v, "num_rows": len(parts[name])} for name, v in figures.items()},
    )


def _share_of(
    subject: Subject, drawn: Outcomes, rows: np.ndarray[Any, Any], items: np.ndarray[Any, Any]
) -> float:
    """The share of a month's rows in a resample."""
    part = items[np.isin(items, rows)]
    if not len(part):
        return math.nan
    metric = subject.metric
    return kept_share(metric, metric(drawn), metric(subject.of.take(part)))


def _kept(
    subject: Subject, table: pa.Table, altered: pa.Table, of: tuple[str, str], how: str
) -> BenchmarkResult:
    """The share of the metric on rows that is left on the altered ones, drawn in pairs."""
    before, after = subject.outcomes(table), subject.outcomes(altered)
    metric = subject.metric
    first, second = metric(before), metric(after)
    score = kept_share(metric, first, second)
    if not (math.isfinite(first) and math.isfinite(score)):
        return _missing(
            of, f"{_words(subject)} of {table.num_rows} held-out rows has nothing to keep"
        )
    if len(before.labels) != len(after.labels):
        return _missing(of, "the altered rows hold other items than the rows")
    values = [
        kept_share(metric, metric(before.take(items)), metric(after.take(items)))
        for items in resamples(before, subject.config)
    ]
    low, high = percentiles_of(values)
    return BenchmarkResult(
        task_id=of[0],
        name=of[1],
        benchmark_type=BenchmarkType.ROBUSTNESS,
        note=f"share of the {_words(subject)} of {table.num_rows} held-out rows that is left {how}",
        score=score,
        low=low,
        high=high,
        figures={"before": first, "after": second},
    )


def _without_values(table: pa.Table, names: list[str], draw: np.random.Generator) -> pa.Table:
    for name in names:
        gone = pa.array(draw.random(table.num_rows) < GAP_SHARE)
        column = pc.if_else(gone, pa.scalar(None, table[name].type), table[name])
        table = with_column(table, name, column)
    return table


def _without_readings(table: pa.Table, field: Field, draw: np.random.Generator) -> pa.Table:
    assert field.shape is not None, "readings have a shape"
    windows = windows_of(table[field.name], field.shape).copy()
    windows[draw.random(windows.shape) < GAP_SHARE] = np.nan
    return with_column(table, field.name, as_column(windows))


def _misspelt(text: str, share: float, draw: np.random.Generator) -> str:
    """The text, of as many letters, with two neighbors swapped in a share of its words."""
    letters = list(text)
    for word in _WORD.finditer(text):
        if draw.random() < share:
            place = word.start() + int(draw.integers(1, len(word[0]) - 2, endpoint=True))
            letters[place : place + 2] = reversed(letters[place : place + 2])
    return "".join(letters)


def _misspelt_texts(values: list[str], draw: np.random.Generator) -> list[str]:
    return [_misspelt(value, TYPO_SHARE, draw) for value in values]


def _misspelt_categories(values: list[str | None], draw: np.random.Generator) -> list[str | None]:
    chosen = draw.random(len(values)) < TYPO_SHARE
    return [
        _misspelt(value, 1.0, draw) if is_chosen and value else value
        for value, is_chosen in zip(values, chosen, strict=True)
    ]


def _misspelt_terms(values: list[str | None], draw: np.random.Generator) -> list[str | None]:
    """Sets of terms as typed rows hold them, with a share of the terms misspelt."""
    return [value and terms_text(_misspelt_some(json.loads(value), draw)) for value in values]


def _misspelt_some(terms: list[str], draw: np.random.Generator) -> set[str]:
    return {_misspelt(t, 1.0, draw) if draw.random() < TYPO_SHARE else t for t in terms}


# What is misspelt, by the kind of the field, and what it is called.
_SPELT: Mapping[str, str] = {"text": "words", "category": "categories", "terms": "terms"}
_MISSPELT: Mapping[str, Callable[[list[Any], np.random.Generator], list[Any]]] = {
    "text": _misspelt_texts,
    "category": _misspelt_categories,
    "terms": _misspelt_terms,
}


def _words(subject: Subject) -> str:
    return subject.answerer.task.metric.replace("_", " ")


def _missing(of: tuple[str, str], why: str) -> BenchmarkResult:
    return BenchmarkResult(
        task_id=of[0],
        name=of[1],
        benchmark_type=BenchmarkType.ROBUSTNESS,
        note="",
        not_measured=why,
    )
