"""Weak labels: regular expressions vote for classes, each as far as labelled rows bear it out.

rules + labelled texts -> measured precision of each rule -> vote(text) -> labels, or none

A rule that never fired on labelled rows is believed at even odds, so it needs a second one that
agrees. Where nothing fires there is no label: silence is not "none of the classes".
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from spt_core.errors import InputError

LONGEST_TEXT = 20_000  # characters that rules look at
MARGIN = 0.1  # by which the best single label must beat the next


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LabelingRule:
    """A regular expression, the class that it hints at, and how often it is right.

    `precision` None is measured on labelled rows.
    """

    label: str
    pattern: str
    precision: float | None = None

    def __post_init__(self) -> None:
        """Refuse a rule that could never vote."""
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise InputError(
                f"a labeling rule must be a regular expression, however: {self.pattern!r}: {error}"
            ) from error
        if not self.label or (self.precision is not None and not 0 < self.precision < 1):
            raise InputError(
                "a labeling rule needs a label and a precision in (0, 1), however: "
                f"{self.label!r}, {self.precision}"
            )


class Vote(NamedTuple):
    """The labels that rules agree on, how sure they are of the least sure one, and which fired."""

    labels: tuple[str, ...]
    confidence: float
    patterns: tuple[str, ...]


def measured(
    rules: Iterable[LabelingRule], rows: Iterable[tuple[str, Collection[str]]]
) -> list[LabelingRule]:
    """The rules with the precision that labelled rows (text, its labels) give them.

    Smoothed by one right and one wrong answer; a precision that somebody stated stays.
    """
    rules = list(rules)
    compiled = [_compiled(rule) for rule in rules]
    right, fired = [0] * len(rules), [0] * len(rules)
    for text, labels in rows:
        for number, pattern in enumerate(compiled):
            if pattern.search(text[:LONGEST_TEXT]):
                fired[number] += 1
                right[number] += rules[number].label in labels
    return [
        rule
        if rule.precision is not None
        else dataclasses.replace(rule, precision=(right[n] + 1) / (fired[n] + 2))
        for n, rule in enumerate(rules)
    ]


def vote(
    rules: Sequence[LabelingRule], text: str, *, several: bool, min_confidence: float
) -> Vote | None:
    """What measured rules say of a text; None where too few agree.

    A label's confidence is that not all rules for it are wrong, as if they erred independently.
    With `several` every label that is confident enough is given, else the best if it is clear.
    """
    doubt: dict[str, float] = defaultdict(lambda: 1.0)
    fired: dict[str, list[str]] = defaultdict(list)
    for rule in rules:
        if _compiled(rule).search(text[:LONGEST_TEXT]):
            assert rule.precision is not None, "rules are measured first"
            doubt[rule.label] *= 1.0 - rule.precision
            fired[rule.label].append(rule.pattern)
    ranked = sorted(((1.0 - value, label) for label, value in doubt.items()), reverse=True)
    sure = [(confidence, label) for confidence, label in ranked if confidence >= min_confidence]
    if not several and len(ranked) > 1 and ranked[0][0] - ranked[1][0] < MARGIN:
        return None
    chosen = sure if several else sure[:1]
    if not chosen:
        return None
    return Vote(
        tuple(sorted(label for _, label in chosen)),
        round(chosen[-1][0], 6),
        tuple(pattern for _, label in chosen for pattern in fired[label]),
    )


@functools.cache
def _compiled_pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _compiled(rule: LabelingRule) -> re.Pattern[str]:
    return _compiled_pattern(rule.pattern)
