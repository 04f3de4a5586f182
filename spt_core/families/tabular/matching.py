"""Columns of a target's table -> their counterparts in a source's: by name, concept and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spt_core.concepts import Concept, concept_of
from spt_core.errors import InputError, nearest
from spt_core.families.carrying import ColumnMatch
from spt_core.signature import Field, Signature
from spt_core.task import Task

MIN_SHARED = 0.5  # of the fewer values of two category columns, for these to mean the same


def matched(
    source: Signature,
    source_task: Task,
    target: Signature,
    target_task: Task,
    given: Mapping[str, str | None],
) -> tuple[ColumnMatch, ...]:
    """The counterpart of each of the target's columns, each of the source's used once.

    What was `given` (target -> source, None for none) comes first, then equal names of one kind,
    then equal concepts in the order of the fields, then category columns of equal values.
    """
    _check(given, source, target)
    own = {field.name: field for field in source.fields}
    left = dict(own)
    matches = {name: ColumnMatch(name, other, "given") for name, other in given.items()}
    for name, other in given.items():
        if other is not None:
            left.pop(other, None)
            _require_kind(target.field(name), own[other])

    def take(field: Field, other: Field | None, reason: str) -> None:
        if other is not None and field.name not in matches:
            matches[field.name] = ColumnMatch(field.name, other.name, reason)
            del left[other.name]

    for field in target.fields:
        same = left.get(field.name)
        take(field, same if same is not None and _is_like(field, same) else None, "the same name")
    concepts = {name: _concept(field, source_task) for name, field in own.items()}
    for field in target.fields:
        concept, origin = _concept(field, target_task)
        if concept is None:
            continue
        partner = next(
            (f for f in left.values() if concepts[f.name][0] == concept and _is_like(field, f)),
            None,
        )
        take(field, partner, f"{concept.replace('_', ' ')}, {origin}")
    for field in target.fields:
        alike = next((f for f in left.values() if _shares_values(field, f)), None)
        take(field, alike, "the same values")
    return tuple(
        matches.get(field.name, ColumnMatch(field.name, None, "no counterpart"))
        for field in target.fields
        if field.kind != "entity"
    )


def _concept(field: Field, task: Task) -> tuple[Concept | None, str]:
    """What a column stands for, and what tells so."""
    if field.name in task.concepts:
        return task.concepts[field.name], "as the task says"
    return concept_of(field.name), "by its name"


def _is_like(field: Field, other: Field) -> bool:
    numbers = ("number", "boolean")
    return field.kind == other.kind or (field.kind in numbers and other.kind in numbers)


def _shares_values(field: Field, other: Field) -> bool:
    if field.kind != "category" or other.kind != "category":
        return False
    mine, theirs = (plain_values(each.categories) for each in (field, other))
    fewer = min(len(mine), len(theirs))
    return fewer > 1 and len(mine.keys() & theirs.keys()) >= MIN_SHARED * fewer


def plain_values(categories: Sequence[str]) -> dict[str, int]:
    """The number of each category, from 1, by its text in small letters without spaces around."""
    return {text.strip().casefold(): number for number, text in enumerate(categories, 1)}


def _check(given: Mapping[str, str | None], source: Signature, target: Signature) -> None:
    for names, what, signature in (
        (list(given), "target", target),
        ([name for name in given.values() if name is not None], "source", source),
    ):
        fields = [field.name for field in signature.fields]
        for name in names:
            if name not in fields:
                raise InputError(
                    f"a match must name columns of both models, however: {name!r} is none of the "
                    f"{what}'s; {nearest(name, fields)}"
                )
    twice = [name for name in given.values() if name is not None]
    if len(set(twice)) < len(twice):
        raise InputError(
            "a match must use each column of the source once, however: "
            f"{next(name for name in twice if twice.count(name) > 1)!r} is used twice"
        )


def _require_kind(field: Field, other: Field) -> None:
    if not _is_like(field, other):
        raise InputError(
            f"matched columns must be of one kind, however: {field.name!r} is a {field.kind}, "
            f"{other.name!r} a {other.kind}"
        )
