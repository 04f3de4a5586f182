"""What the label column of a corpus holds, judged by a sample of rows, and how it is written.

label column -> findings, and the LabelRule that it is read by; InputError where it cannot be one
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from spt_core.data.conform import conform, label_column, label_words
from spt_core.data.corpus import Corpus, Finding
from spt_core.data.kinds import (
    MAX_TEXT_IN_NUMBERS,
    Judged,
    in_decimal_comma,
    notation_of,
    parse_type,
    shows_decimal_comma,
)
from spt_core.data.labels import FLAGS, NUMBERS, LabelRule, rule_of
from spt_core.data.raw import plain_integer
from spt_core.data.sampling import Sample
from spt_core.errors import InputError, nearest
from spt_core.records import category_text
from spt_core.signature import Field
from spt_core.task import Task

MIN_CLASS_ROWS = 20  # below which as many classes as rows say nothing
MAX_SHOWN = 8  # values of a label in one line


def judged_label(
    rows: Sample, fields: Sequence[Field], corpus: Corpus, task: Task
) -> tuple[LabelRule, list[Finding]]:
    """How the label is read, and what its owner should know of it; the fields are the others."""
    rule, name = rule_of(task), corpus.label
    if name is None:
        return rule, []
    if task.head in FLAGS:
        _refuse_type(name, corpus, task)
        return rule, _of_decisions(rows, corpus)
    findings: list[Finding] = []
    if task.head in NUMBERS:
        written = _written_numbers(name, rows.table, corpus, fields)
        rule = dataclasses.replace(rule, notation=written.notation)
        detail = written.detail.replace("COLUMN", name)
        findings += [Finding(kind="notation", column=name, detail=detail)] if detail else []
    else:
        _refuse_type(name, corpus, task)
    return rule, findings + _of_names(rows.table, fields, corpus, rule)


def _refuse_type(name: str, corpus: Corpus, task: Task) -> None:
    if name in {parse_type(text).name for text in corpus.types}:
        raise InputError(
            f"data.types says how numbers and times are written, however: {name!r} is the "
            f"label, which is {task.head}"
        )


def _written_numbers(name: str, table: pa.Table, corpus: Corpus, fields: Sequence[Field]) -> Judged:
    """How a column of numbers is written that is no feature; InputError where nobody can tell."""
    typed = next((f for f in map(parse_type, corpus.types) if f.name == name), None)
    if typed is not None and typed.kind != "number":
        raise InputError(f"the column {name!r} holds numbers here, however: {typed.kind} is asked")
    column = _array(table, name)
    written = notation_of(typed or Field(name=name, kind="number"), column, frozenset(corpus.gaps))
    others = [field.name for field in fields if field.notation == "decimal_comma"]
    if any(shows_decimal_comma(_array(table, other)) for other in others):
        written = in_decimal_comma(written, column)
    if written.is_open:
        raise InputError(
            f"the column {name!r} must have one meaning, however: "
            f"{written.detail.replace('COLUMN', name)}"
        )
    return written


def _of_decisions(rows: Sample, corpus: Corpus) -> list[Finding]:
    """Refuse a label of which nobody can say what counts as 1; tell what counts as 0."""
    assert corpus.label is not None
    column, gaps = _array(rows.table, corpus.label), frozenset(corpus.gaps)
    typed = label_column(column, corpus.positive, gaps)
    values = _counted(label_words(column, gaps).values)
    shown = ", ".join(f"{value!r} ({count:,})" for value, count in values[:MAX_SHOWN])
    shown += f" and {len(values) - MAX_SHOWN} more" if len(values) > MAX_SHOWN else ""
    if corpus.positive is None:
        if typed.bad is None or typed.bad.mean() <= MAX_TEXT_IN_NUMBERS:
            return []
        raise InputError(
            f"the label column {corpus.label!r} must be 0/1 or true/false unless --set "
            f"data.positive=VALUE names the value that counts as 1, however: it holds {shown}"
        )
    positive = plain_integer(category_text(corpus.positive, "positive").strip())
    names = [value for value, _ in values]
    if positive not in names and rows.is_whole:
        raise InputError(
            f"data.positive must name a value of the label, however: {corpus.label!r} has no "
            f"{positive!r}, {nearest(positive, names)}; it holds {shown}"
        )
    detail = f"{positive!r} counts as 1, all others as 0: {shown}"
    return [Finding(kind="label", column=corpus.label, detail=detail)]


def _of_names(
    table: pa.Table, fields: Sequence[Field], corpus: Corpus, rule: LabelRule
) -> list[Finding]:
    """Refuse a label column that mostly holds something else than the head asks for.

    Of classes it tells which there are, and which differ by their case alone.
    """
    assert corpus.label is not None
    if corpus.positive is not None:
        raise InputError(
            f"only a label of two values has a positive one, however: {corpus.positive!r} is given "
            f"for a {rule.head} label"
        )
    gaps = frozenset(corpus.gaps)
    good, bad = conform(table, fields, label=corpus.label, labels=rule, gaps=gaps)
    reasons = Counter(
        reason
        for reason in bad["reason"].to_pylist()
        if reason.startswith("the label") and "missing" not in reason  # that is no other kind
    )
    if reasons.total() > MAX_TEXT_IN_NUMBERS * table.num_rows:
        raise InputError(
            f"the label column {corpus.label!r} must hold {rule.head} labels, however: "
            f"{reasons.total()} of the {table.num_rows} sampled rows of {corpus.uris[0]} do not, "
            f"most because {reasons.most_common(1)[0][0]}"
        )
    labels = good[corpus.label].combine_chunks().drop_null()
    if rule.head == "regression" and len(labels) > 1:
        values = pc.unique(labels)
        if len(values) == 1:
            raise InputError(
                f"the label column {corpus.label!r} must hold different numbers, however: all of "
                f"the {len(labels)} sampled rows hold {values[0].as_py():g}"
            )
    if rule.head != "single_label" or not len(labels):
        return []
    distinct = pc.count_distinct(labels).as_py()
    if distinct > 0.5 * len(labels) and len(labels) >= MIN_CLASS_ROWS:
        raise InputError(
            f"the label column {corpus.label!r} must hold class names, however: there are "
            f"{distinct} in {len(labels)} rows"
        )
    values = _counted(labels)
    spellings: dict[str, list[str]] = {}
    for value, _ in values:
        spellings.setdefault(value.casefold(), []).append(value)
    return [
        Finding(
            kind="label",
            column=corpus.label,
            detail=f"{' and '.join(map(repr, same))} are different classes: they differ in case",
        )
        for same in spellings.values()
        if len(same) > 1
    ]


def _counted(words: pa.Array) -> list[tuple[str, int]]:
    """What a column holds and how often, the most frequent first."""
    counts = pc.value_counts(words.drop_null()).to_pylist()
    return [
        (entry["values"], entry["counts"])
        for entry in sorted(counts, key=lambda entry: (-entry["counts"], entry["values"]))
    ]


def _array(table: pa.Table, name: str) -> pa.Array:
    return table[name].combine_chunks()
