"""What a text model says of labelled rows, beside what is true of them: table -> Outcomes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answering.text import TextAnswerer
from spt_core.metrics import Outcomes, outcomes
from spt_core.policy import LabelPolicy
from spt_core.task import Span, Task

Floats = NDArray[np.float64]


def outcomes_of(
    answerer: TextAnswerer, table: pa.Table, label: str, *, group: str | None = None
) -> Outcomes:
    """The outcomes of a table's rows, their pairs, or their spans, under the answerer's policy.

    `group` names the column of documents, if it is not the task's.
    A pair whose mentions lie in no common window is of the negative class to the model.
    """
    task, classes = answerer.task, answerer.classes
    texts, groups = answerer.encode(table), groups_of(table, group or task.group)
    true = true_labels(table, task, classes, label)
    if task.head == "span":
        found = [answerer.judge(text).spans for text in texts]
        return span_outcomes(found, table[label].to_pylist(), classes, groups)
    rows = [answerer.probabilities(text) for text in texts]
    if task.head == "pair":
        negative = np.eye(len(classes))[classes.index(str(task.negative_class))]
        for number, (text, row) in enumerate(zip(texts, rows, strict=True)):
            placed = {(p.first, p.second): part for p, part in zip(text.pairs, row, strict=True)}
            pairs = itertools.combinations(range(len(text.mentions)), 2)
            rows[number] = np.array([placed.get(pair, negative) for pair in pairs]).reshape(
                -1, len(classes)
            )
    return decided_outcomes(task, classes, true, rows, answerer.policy, groups)


def decided_outcomes(
    task: Task,
    classes: Sequence[str],
    true: Sequence[Floats],
    probabilities: Sequence[Floats],
    policy: LabelPolicy,
    groups: NDArray[np.int64],
) -> Outcomes:
    """Outcomes of each row's items [items, K] under a policy."""
    found = np.concatenate(probabilities)
    is_value = task.head == "regression"
    return outcomes(
        ("value",) if is_value else classes,
        np.concatenate(true),
        found,
        found if is_value else policy.decide(classes, found).astype(np.float64),
        groups=np.repeat(groups, [len(row) for row in true]),
        negative_class=task.negative_class if task.negative_class in classes else None,
    )


def true_labels(table: pa.Table, task: Task, classes: Sequence[str], label: str) -> list[Floats]:
    """Labels of each row's items [items, K]; a class that the model does not know is all zero."""
    places = {name: number for number, name in enumerate(classes)}

    def rows_of(names: Sequence[str]) -> Floats:
        made = np.zeros((len(names), len(classes)))
        for number, name in enumerate(names):
            if name in places:
                made[number, places[name]] = 1.0
        return made

    values: list[Any] = table[label].to_pylist()
    match task.head:
        case "regression":
            return [np.array([[value]], np.float64) for value in values]
        case "multi_label":
            return [rows_of(json.loads(value)).sum(0, keepdims=True) for value in values]
        case "pair":
            assert task.spans_field is not None, "a pair task has spans"
            sizes = [len(json.loads(spans)) for spans in table[task.spans_field.name].to_pylist()]
            return [
                rows_of(_pair_classes(value, size, str(task.negative_class)))
                for value, size in zip(values, sizes, strict=True)
            ]
        case "span":
            return []
        case _:
            return [rows_of([value]) for value in values]


def span_outcomes(
    found: Sequence[Sequence[Span]],
    labels: Sequence[str],
    classes: Sequence[str],
    groups: NDArray[np.int64],
) -> Outcomes:
    """Items are all spans that are true or found; right is a span with both ends and its class."""
    places = {name: number for number, name in enumerate(classes)}
    true, given, owners = [np.zeros((0, len(classes)))], [np.zeros((0, len(classes)))], []
    for number, (spans, label) in enumerate(zip(found, labels, strict=True)):
        wanted = {(s["start"], s["end"], s["label"]) for s in json.loads(label)}
        said = {(s.start, s.end, s.label) for s in spans}
        for item in sorted(wanted | said):
            row = np.eye(len(classes))[[places[item[2]]]] if item[2] in places else true[0][:0]
            true.append(row * (item in wanted))
            given.append(row * (item in said))
            owners += [groups[number]] * len(row)
    decided = np.concatenate(given)
    return outcomes(
        classes, np.concatenate(true), decided, decided, groups=np.array(owners, np.int64)
    )


def groups_of(table: pa.Table, group: str | None) -> NDArray[np.int64]:
    """The number [B] of each row's document, or of the row itself where no column names one."""
    if group is None or group not in table.column_names:
        return np.arange(table.num_rows)
    names = np.array([str(value) for value in table[group].to_pylist()])
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _pair_classes(label: str, num_spans: int, negative: str) -> list[str]:
    named = {(i, j): name for i, j, name in json.loads(label)}
    pairs = itertools.combinations(range(num_spans), 2)
    return [named.get(pair, negative) for pair in pairs]
