"""What a label column may hold, by the task's head: raw cells -> checked, canonical labels.

binary and anomalies -> float32 0 or 1 (conform.py), regression and forecasts -> float64
(conform.py; series.py makes lists of those to come), single_label and ordinal -> a class name,
multi_label, span and pair -> canonical JSON text: equal labels are equal texts.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spt_core.data.texts import canonical, objects, order_of, parsed, read_span
from spt_core.errors import InputError, nearest
from spt_core.notation import Notation
from spt_core.task import Head, Task
from spt_core.terms import term_of

NO_LABELS = "[]"
SETS: tuple[Head, ...] = ("multi_label", "span", "pair")
NAMES: tuple[Head, ...] = ("single_label", "ordinal")
FLAGS: tuple[Head, ...] = ("binary", "anomalies")
NUMBERS: tuple[Head, ...] = ("regression", "forecasts")
MAX_NAME = 200


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LabelRule:
    """What a label may be: the head's form, and `classes` alone unless there are none named.

    `notation` is how numbers are written. Where none is `required` a row without one is good: a
    reading ends no window then, and stays in those of others.
    """

    head: Head = "binary"
    classes: tuple[str, ...] = ()
    negative_class: str | None = None
    notation: Notation | None = None
    required: bool = True


BINARY = LabelRule()


class Context(NamedTuple):
    """What else of a row its label is checked against: the text, and the spans as given."""

    text: str | None
    spans: Sequence[tuple[int, int]] | None


def rule_of(task: Task) -> LabelRule:
    """What the label column of a task's corpus may hold."""
    if task.head == "ordinal" and len(task.classes) < 2:
        raise InputError(
            f"an ordinal task must name its classes in rising order, however: {task.path} does not"
        )
    return LabelRule(
        head=task.head,
        classes=task.classes,
        negative_class=task.negative_class,
        required=task.facts.subject != "sequence",
    )


def read_labels(
    cells: Sequence[Any], rule: LabelRule, name: str, contexts: Sequence[Context]
) -> tuple[pa.Array, NDArray[np.object_]]:
    """The labels in canonical text, null where a cell holds none, and the reason if that is bad."""
    reasons = np.full(len(cells), None, dtype=object)
    values: list[str | None] = []
    for row, (cell, context) in enumerate(zip(cells, contexts, strict=True)):
        value = None
        try:
            if rule.required or not _is_missing(cell):
                value = read_label(cell, rule, context)
        except InputError as error:
            reasons[row] = f"the label {name!r} must {error}"
        values.append(value)
    return pa.array(values, pa.large_string()), reasons


def read_label(cell: Any, rule: LabelRule, context: Context) -> str:
    """One label in canonical text; InputError says what it must be."""
    if _is_missing(cell):
        hint = " (write [] for none)" if rule.head in SETS else ""
        raise InputError(f"be known, however: it is missing{hint}")
    return _READERS[rule.head](cell, rule, context)


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def num_saying(labels: pa.ChunkedArray | pa.Array, rule: LabelRule) -> int:
    """How many labels say something: 1, a class that is not the negative one, a set not empty."""
    if rule.head in FLAGS:
        return int(pc.sum(labels).as_py() or 0)
    if rule.head in SETS:
        return int(pc.sum(pc.not_equal(labels, NO_LABELS)).as_py() or 0)
    if rule.head in NAMES and rule.negative_class is not None:
        return int(pc.sum(pc.not_equal(labels, rule.negative_class)).as_py() or 0)
    return len(labels)


def class_counts(labels: pa.ChunkedArray | pa.Array, rule: LabelRule) -> dict[str, int]:
    """How often each class is there: rows of a single label, else members of the sets."""
    if rule.head not in (*NAMES, *SETS):
        return {}
    counts: Counter[str] = Counter()
    for entry in pc.value_counts(labels).to_pylist():
        for name in names_of(entry["values"], rule):
            counts[name] += entry["counts"]
    return dict(sorted(counts.items()))


def names_of(label: str, rule: LabelRule) -> list[str]:
    """The classes that a canonical label names."""
    if rule.head not in SETS:
        return [label]
    members = json.loads(label)
    if rule.head == "span":
        return [span["label"] for span in members]
    return members if rule.head == "multi_label" else [name for _, _, name in members]


def classes_of(rule: LabelRule, counts: Mapping[str, int]) -> tuple[str, ...]:
    """The classes of a model: the task's, else those counted in training rows, sorted.

    Those of pairs begin with the negative class, which unrelated pairs have without being named.
    """
    classes = rule.classes or tuple(sorted(counts))
    negative = rule.negative_class
    if rule.head == "pair" and negative is not None and negative not in classes:
        return (negative, *classes)
    return classes


def _class_name(value: Any, rule: LabelRule) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError("name classes, however: one is no name")
    name = value.strip()
    if len(name) > MAX_NAME:
        raise InputError(f"name classes of at most {MAX_NAME} characters, however: one is longer")
    if not rule.classes or name in (*rule.classes, rule.negative_class):
        return name
    own_name = _by_words(rule).get(term_of(name, "a class"))
    if own_name is None:
        raise InputError(
            f"be one of the task's classes, however: {name[:60]!r}; {nearest(name, rule.classes)}"
        )
    return own_name


@functools.cache
def _by_words(rule: LabelRule) -> Mapping[str, str]:
    """The task's classes by their words: a bank's "Internal Fraud" is `internal_fraud`."""
    names = {*rule.classes, rule.negative_class} - {None}
    terms = {name: term_of(name, "a class") for name in names}
    counts = Counter(terms.values())
    return {term: name for name, term in terms.items() if name and counts[term] == 1}


def _single(cell: Any, rule: LabelRule, _: Context) -> str:
    if not isinstance(cell, str):
        raise InputError("be one class name, however: it is not")
    return _class_name(cell, rule)


def _set_of_names(cell: Any, rule: LabelRule, _: Context) -> str:
    if isinstance(cell, str) and not cell.lstrip().startswith("["):
        members: Any = _parted(cell, rule)
    else:
        members = parsed(cell)
    if not isinstance(members, list):
        raise InputError("be a list of class names, however: it is not")
    names = {_class_name(name, rule) for name in cast(list[Any], members)}
    return canonical(sorted(names - {rule.negative_class}))


def _parted(cell: str, rule: LabelRule) -> list[str]:
    """The names of a cell that is no list: parted by ; or |, else by commas unless it is a name."""
    if cell.strip() in rule.classes or term_of(cell, "a class") in _by_words(rule):
        return [cell]
    mark = next((mark for mark in ";|," if mark in cell), ";")
    return [name for name in cell.split(mark) if name.strip()]


def _spans(cell: Any, rule: LabelRule, context: Context) -> str:
    length = len(context.text or "")
    spans = [
        (*read_span(span, length), _class_name(span.get("label"), rule)) for span in objects(cell)
    ]
    spans = sorted(set(spans))
    for (_, end, _), (start, _, _) in zip(spans[:-1], spans[1:], strict=True):
        if start < end:
            raise InputError("hold spans that do not overlap, however: two do")
    return canonical([{"start": s, "end": e, "label": name} for s, e, name in spans])


def _pairs(cell: Any, rule: LabelRule, context: Context) -> str:
    if context.spans is None:
        raise InputError("count spans, however: the row has none")
    order = order_of(context.spans)
    classes: dict[tuple[int, int], str] = {}
    members = parsed(cell)
    for member in members if isinstance(members, list) else [members]:
        i, j, name = _pair(member, rule, len(order))
        key = (min(order[i], order[j]), max(order[i], order[j]))
        if classes.setdefault(key, name) != name:
            raise InputError("give a pair one class, however: one has two")
    return canonical(
        [[i, j, name] for (i, j), name in sorted(classes.items()) if name != rule.negative_class]
    )


def _pair(member: Any, rule: LabelRule, num_spans: int) -> tuple[int, int, str]:
    if not isinstance(member, list) or len(cast(list[Any], member)) != 3:
        raise InputError("be a list of [i, j, class], however: it is not")
    i, j, name = cast(list[Any], member)
    if type(i) is not int or type(j) is not int or not 0 <= i < j < num_spans:
        raise InputError("hold pairs with 0 <= i < j < the number of spans")
    return i, j, _class_name(name, rule)


_READERS: Mapping[Head, Callable[[Any, LabelRule, Context], str]] = {
    "single_label": _single,
    "ordinal": _single,
    "multi_label": _set_of_names,
    "span": _spans,
    "pair": _pairs,
}
