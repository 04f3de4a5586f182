"""Whether the reasons of answers are what moves them: deletion, and agreement with known causes.

rows -> answers with reasons -> the same rows without what was named, and without as much else
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spt_core.answering import Answerer
from spt_core.benchmark.pictures import deletion_facts
from spt_core.benchmark.subject import Subject, beaten_shares, mean_interval, with_column
from spt_core.benchmark.tasks import BenchmarkResult, BenchmarkType
from spt_core.data.series import as_column, windows_of
from spt_core.data.splits import sampled_places
from spt_core.heads.base import Floats, Prediction, Scores
from spt_core.judgement import FieldEffect, Phrase, Reason, Stretch
from spt_core.signature import Field

MAX_NAMED = 3  # reasons that are deleted, as an answer shows them
NUM_DRAWS = 5  # of other fields, channels or words
NUM_DONORS = 5  # rows whose values stand in for what is taken out
MARGIN = 0.5  # of log-odds, by which two true causes differ
_WORD = re.compile(r"\w+")
_DELETION = ("reasoning_deletion", "Deletion of the named reasons")
_CAUSES = ("reasoning_causes", "Agreement with the generator's causes")
Units = Sequence[Sequence[Any]]  # of each row what is taken out: fields, channels, words


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Rows:
    """Rows [N] with their predictions, and what can be taken out of each: named ones, others."""

    table: pa.Table
    predictions: Sequence[Prediction]
    named: Units
    others: Units


def reasoning(subject: Subject) -> list[BenchmarkResult]:
    """Two benchmarks: by deletion, and by the causes that the task's generator states."""
    return [deletion(subject), causes(subject)]


def deletion(subject: Subject) -> BenchmarkResult:
    """How often an answer moves further without its named reasons than without as many others.

    After Samek et al., "Evaluating the visualization of what a deep neural network has learned",
    2017; each row counts the share of NUM_DRAWS draws of others that it moves further than, so that
    a half is what reasons named at random reach. What is taken out of a table or a window is
    drawn from other rows: to leave it empty would be another record, which means something too.
    """
    answerer, config = subject.answerer, subject.config
    note = (
        f"how often the answers to {{}} held-out rows move further without the up to {MAX_NAMED} "
        "named reasons than without as many others at random; 0.5 is chance"
    )
    if answerer.task.subject is not None and answerer.task.subject.kind == "image":
        return _of_pictures(subject, note)
    rows = _rows(answerer, subject.some(config.reasoning_rows))
    if not rows.predictions:
        return _missing(
            _DELETION,
            "the reasons of this answer are parts of what it names, or there is nothing beside "
            "them to take out",
        )
    draw = np.random.default_rng(config.seed)
    named = _moves(subject, rows, rows.named, draw)
    drawn = np.array(
        [
            _moves(subject, rows, [_drawn(draw, o, len(n)) for n, o in _zipped(rows)], draw)
            for _ in range(NUM_DRAWS)
        ]
    )
    wins = beaten_shares(named, drawn)
    low, high = mean_interval(wins, config)
    return BenchmarkResult(
        task_id=_DELETION[0],
        name=_DELETION[1],
        benchmark_type=BenchmarkType.REASONING,
        note=note.format(len(wins)),
        score=float(wins.mean()),
        low=low,
        high=high,
        figures={
            "num_rows": len(wins),
            "mean_move": float(named.mean()),
            "random_mean_move": float(drawn.mean()),
        },
    )


def causes(subject: Subject) -> BenchmarkResult:
    """How often two fields' effects are ordered as the generator of the sample has them.

    Of pairs of fields of a row whose true parts of the log-odds, each less its mean, differ by
    MARGIN at least; a half is chance.
    """
    task, config = subject.answerer.task, subject.config
    if task.causes is None:
        return _missing(_CAUSES, "the task's generator does not state each field's part")
    if not subject.is_sample:
        return _missing(_CAUSES, "the rows are not the generator's: nobody knows their causes")
    true = {k: v for k, v in task.causes(subject.table).items() if k in _fields(subject)}
    if len(true) < 2:
        return _missing(_CAUSES, "the model takes fewer than two of the fields with known causes")
    chosen = sampled_places(subject.table.num_rows, config.reasoning_rows)
    table = subject.table.take(pa.array(chosen))
    parts = np.column_stack([_centered(v)[chosen] for v in true.values()])
    effects = np.array([_effects(p, list(true)) for p in _explained(subject.answerer, table)])
    shares = _concordance(parts, effects)
    kept = shares[~np.isnan(shares)]
    if not len(kept):
        return _missing(_CAUSES, f"no two causes of a row differ by {MARGIN}")
    low, high = mean_interval(kept, config)
    return BenchmarkResult(
        task_id=_CAUSES[0],
        name=_CAUSES[1],
        benchmark_type=BenchmarkType.REASONING,
        note=f"share of pairs of fields, of {len(kept)} rows, whose effects are ordered as the "
        "generator's; 0.5 is chance",
        score=float(kept.mean()),
        low=low,
        high=high,
        figures={"num_rows": len(kept), "fields": list(true)},
    )


def named_reasons(reasons: Sequence[Reason]) -> list[str]:
    """What the first reasons name: fields, channels or phrases."""
    names: list[str] = []
    for reason in reasons:
        match reason:
            case FieldEffect(field=name) | Stretch(channel=name) | Phrase(text=name):
                names.append(name)
            case _:
                pass
    return names


def direction_of(answerer: Answerer, scores: Scores) -> Floats:
    """Along which of an item's scores [K] an answer moves: the likeliest class, or all of them."""
    values = scores.values
    size = values.shape[1]
    if answerer.classes and size == len(answerer.classes):
        return np.eye(size)[int(values[0].argmax())]
    return np.full(size, 1.0 / size)


def _rows(answerer: Answerer, table: pa.Table) -> _Rows:
    """The rows of which enough can be taken out."""
    predictions = _explained(answerer, table)
    kept: list[int] = []
    named: list[list[Any]] = []
    others: list[list[Any]] = []
    for number, prediction in enumerate(predictions):
        if not len(prediction.scores.values):
            continue  # a text without a pair
        direction = direction_of(answerer, prediction.scores)
        reasons = prediction.reasons(0, direction)
        own, rest = _units(answerer, table, number, reasons)
        if own and len(rest) >= len(own):
            kept.append(number)
            named.append(own)
            others.append(rest)
    return _Rows(
        table=table.take(pa.array(kept, pa.int64())),
        predictions=[predictions[number] for number in kept],
        named=named,
        others=others,
    )


def _explained(answerer: Answerer, table: pa.Table) -> list[Prediction]:
    return list(answerer.predictor.explain(answerer.predictor.encode(table)))


def _units(
    answerer: Answerer, table: pa.Table, row: int, reasons: Sequence[Reason]
) -> tuple[list[Any], list[Any]]:
    """What the reasons name, strongest first, and what could be taken out beside it."""
    if not reasons:
        return [], []
    if isinstance(reasons[0], Phrase):
        return _words(table[answerer.task.text_field.name][row].as_py(), reasons)
    names = [
        name
        for name, reason in zip(named_reasons(reasons), reasons, strict=True)
        if not isinstance(reason, FieldEffect) or reason.value is not None
    ]
    num_named = min(MAX_NAMED, len(names) // 2)
    return list(names[:num_named]), list(names[num_named:])


def _words(text: str, reasons: Sequence[Reason]) -> tuple[list[Any], list[Any]]:
    """Words of the phrases that speak for the answer, and the other words."""
    phrases = [r for r in reasons if isinstance(r, Phrase) and r.effect > 0][:MAX_NAMED]
    inside = np.zeros(len(text), np.bool_)
    for phrase in phrases:
        inside[phrase.start : phrase.end] = True
    words = [match.span() for match in _WORD.finditer(text)]
    return (
        [word for word in words if inside[word[0] : word[1]].any()],
        [word for word in words if not inside[word[0] : word[1]].any()],
    )


def _zipped(rows: _Rows) -> list[tuple[Sequence[Any], Sequence[Any]]]:
    return list(zip(rows.named, rows.others, strict=True))


def _drawn(draw: np.random.Generator, others: Sequence[Any], size: int) -> list[Any]:
    return [others[i] for i in draw.choice(len(others), size, replace=False)]


def _moves(subject: Subject, rows: _Rows, units: Units, draw: np.random.Generator) -> Floats:
    """How far each row's answer moves without its units: on the log-odds, or in its own unit.

    Fields and channels get the values of other rows, NUM_DONORS times, and the mean answer counts:
    to leave them empty would ask about records unlike any. Words become blanks.
    """
    answerer, size = subject.answerer, len(rows.predictions)
    num_donors = 1 if isinstance(units[0][0], tuple) else NUM_DONORS
    directions = [direction_of(answerer, one.scores) for one in rows.predictions]
    levels: list[list[float]] = []
    for _ in range(num_donors):
        table = _without(subject, rows.table, units, draw.integers(0, size, size))
        after = answerer.predictor.predict(answerer.predictor.encode(table))
        levels.append(
            [
                _level(answerer, other, direction)
                # Where the mentions of a text are others now, nothing tells how far it moved.
                if one.scores.values.shape == other.values.shape
                else _level(answerer, one.scores, direction)
                for one, other, direction in zip(rows.predictions, after, directions, strict=True)
            ]
        )
    before = [
        _level(answerer, one.scores, direction)
        for one, direction in zip(rows.predictions, directions, strict=True)
    ]
    return np.abs(np.array(before) - np.mean(levels, 0))


def _level(answerer: Answerer, scores: Scores, direction: Floats) -> float:
    values = scores.values[0] if not answerer.head.is_of_record else scores.values.mean(0)
    if answerer.task.head == "binary":  # whose score is a probability
        p = min(max(float(values[0]), 1e-9), 1 - 1e-9)
        return math.log(p / (1 - p))
    return float(values @ direction)


def _without(
    subject: Subject, table: pa.Table, units: Units, donors: NDArray[np.int64]
) -> pa.Table:
    """The rows without their units; `donors` [N] are the rows whose values stand in for them."""
    task, field = subject.answerer.task, subject.answerer.task.subject
    if isinstance(units[0][0], tuple):
        return _without_words(table, task.text_field.name, units)
    if field is not None:
        return _without_channels(table, subject.splits.signature.field(field.name), units, donors)
    others = table.take(pa.array(donors))
    for name in dict.fromkeys(unit for row in units for unit in row):
        gone = pa.array([name in row for row in units])
        table = with_column(table, name, pc.if_else(gone, others[name], table[name]))
    return table


def _without_words(table: pa.Table, name: str, units: Units) -> pa.Table:
    """Words become blanks: what a mention's place says stays true."""
    texts: list[str] = []
    for text, words in zip(table[name].to_pylist(), units, strict=True):
        letters = list(text)
        for start, end in words:
            letters[start:end] = " " * (end - start)
        texts.append("".join(letters))
    return with_column(table, name, pa.array(texts, table[name].type))


def _without_channels(
    table: pa.Table, field: Field, units: Units, donors: NDArray[np.int64]
) -> pa.Table:
    assert field.shape is not None, "readings have a shape"
    windows = windows_of(table[field.name], field.shape)
    altered, places = windows.copy(), {c: number for number, c in enumerate(field.shape.channels)}
    for window, donor, channels in zip(altered, windows[donors], units, strict=True):
        own = [places[channel] for channel in channels]
        window[:, own] = donor[:, own]
    return with_column(table, field.name, as_column(altered))


def _of_pictures(subject: Subject, note: str) -> BenchmarkResult:
    facts = deletion_facts(subject.answerer, subject.table, seed=subject.config.seed)
    if not facts:
        return _missing(_DELETION, "the map of an answer has too few places to take some out")
    return BenchmarkResult(
        task_id=_DELETION[0],
        name=_DELETION[1],
        benchmark_type=BenchmarkType.REASONING,
        note=note.format(int(facts["num_rows"])).replace(
            f"the up to {MAX_NAMED} named reasons", "the places that its map names"
        ),
        score=facts["share_larger"],
        figures=facts,
    )


def _fields(subject: Subject) -> set[str]:
    return {column.field for column in subject.splits.signature.columns}


def _centered(values: NDArray[np.floating[Any]]) -> Floats:
    return np.asarray(values, np.float64) - np.nanmean(values)


def _effects(prediction: Prediction, names: Sequence[str]) -> list[float]:
    reasons = prediction.reasons(0, np.ones(1))
    effects = {r.field: r.effect for r in reasons if isinstance(r, FieldEffect)}
    return [effects[name] for name in names]


def _concordance(parts: Floats, effects: Floats) -> Floats:
    """Of each row [N] the share of pairs of fields that are ordered alike; NaN where none tells."""
    first, second = np.triu_indices(parts.shape[1], 1)
    true, own = parts[:, first] - parts[:, second], effects[:, first] - effects[:, second]
    tells = np.abs(true) >= MARGIN  # NaN, of what is missing, does not
    alike = (np.sign(true) == np.sign(own)) & tells
    counts = tells.sum(1)
    return np.where(counts > 0, alike.sum(1) / np.maximum(counts, 1), np.nan)


def _missing(of: tuple[str, str], why: str) -> BenchmarkResult:
    return BenchmarkResult(
        task_id=of[0],
        name=of[1],
        benchmark_type=BenchmarkType.REASONING,
        note="",
        not_measured=why,
    )
