"""What the answers of several tasks have in common: the parts, and the JSON Schema of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from spt_core.errors import shown
from spt_core.judgement import Decision, FieldEffect, Labels, LabelScore, Silence, Value

Schema: TypeAlias = Mapping[str, Any]
NUM_CHECKS = 3
PROBABILITY: Schema = {"type": "number", "minimum": 0, "maximum": 1}
CONFIDENCE: Schema = {  # of a yes or no
    "type": "number",
    "minimum": 0.5,
    "maximum": 1,
    "description": "calibrated probability of the likelier class, max(p, 1 - p)",
}


def field_effects(reasons: Sequence[FieldEffect]) -> list[dict[str, Any]]:
    """What fields held, and their signed effects."""
    return [
        {"field": reason.field, "value": reason.value, "effect": round(reason.effect, 4)}
        for reason in reasons
    ]


def class_probabilities(name: str, scores: Sequence[LabelScore]) -> list[dict[str, Any]]:
    """Classes, under the `name` that the task has for them, with their probabilities."""
    return [{name: score.label, "probability": round(score.probability, 6)} for score in scores]


def in_words(names: Sequence[str]) -> str:
    """Such as "a", "a and b", "a, b and c"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def unlike(outside: Sequence[str]) -> str:
    """What is odd about a window's channels, as a sentence's beginning.

    Such as "heat reads beyond all of training, or stands still".
    """
    reads, stands = ("reads", "stands") if len(outside) == 1 else ("read", "stand")
    return f"{in_words(outside)} {reads} beyond all of training, or {stands} still"


def silence(silent: Sequence[Silence]) -> str:
    """What a window has no reading of, as a part of a sentence; empty where nothing is silent.

    Such as "no reading of cpu and disk, none of memory in the last 5 of 32 steps".
    """
    whole = [each.channel for each in silent if each.is_whole]
    parts = [f"no reading of {in_words(whole)}"] if whole else []
    for each in silent:
        if not each.is_whole:
            start = "none" if parts else "no reading"
            since = f"in the last {each.steps} of {each.length} steps"
            parts.append(f"{start} of {each.channel} {since}")
    return ", ".join(parts)


def warnings(judgement: Decision | Labels) -> list[str]:
    """Why the answer may be a guess: what of a table's row no training row had."""
    beyond = [
        f"{name} is {judgement.record.get(name)}, beyond all training rows: the answer is a guess."
        for name in judgement.outside
    ]
    return beyond + novelties(judgement) if judgement.novel else beyond


def novelties(judgement: Decision | Labels | Value) -> list[str]:
    """The categories that no training row had, which the model cannot tell from a missing value."""
    return [
        f"{name} is {shown(judgement.record.get(name))}, which no training row had: it counts as "
        "missing."
        for name in judgement.novel
    ]


def checks(judgement: Decision) -> list[str]:
    """What a person looks at first.

    Fields beyond all training rows or of a category that none had, and, unless the action is to
    approve, what the policy's `conditions` say of the codes of the fields that raise the
    probability, at most NUM_CHECKS.
    """
    beyond = [
        f"{name} lies beyond all training rows: the answer is a guess, check it first"
        for name in judgement.outside
    ]
    beyond += [
        f"{name} is of a category that no training row had and counts as missing: check how it is "
        "written"
        for name in judgement.novel
    ]
    if judgement.action == "approve":
        return beyond
    policy = judgement.policy
    risky = [
        policy.conditions.get(
            policy.reason_code(reason.field, reason.value) or "",
            f"see why {reason.field} is {_shown(reason.value)}",
        )
        for reason in judgement.fields
        if reason.effect > 0
    ]
    return beyond + list(dict.fromkeys(risky))[:NUM_CHECKS]


def warnings_schema() -> Schema:
    """Of `warnings`."""
    return {
        "type": "array",
        "description": "why the answer may be a guess, such as fields beyond all training rows or "
        "categories that none of them had",
        "items": {"type": "string"},
    }


def probability_schema(description: str) -> Schema:
    """Of a probability."""
    return {**PROBABILITY, "description": description}


def field_effects_schema(description: str) -> Schema:
    """Of `field_effects`."""
    properties = {
        "field": {"type": "string"},
        "value": {"description": "the value seen, null if it was missing"},
        "effect": {"type": "number"},
    }
    return _objects(properties, description)


def class_probabilities_schema(name: str, description: str) -> Schema:
    """Of `class_probabilities`."""
    return _objects({name: {"type": "string"}, "probability": PROBABILITY}, description)


def phrases_schema(description: str) -> Schema:
    """Of `LabelScore.phrases`: characters [start, end) of the text."""
    properties = {
        "text": {"type": "string"},
        "start": {"type": "integer"},
        "end": {"type": "integer"},
        "effect": {"type": "number"},
    }
    return _objects(properties, description)


def _objects(properties: Mapping[str, Schema], description: str) -> Schema:
    items = {"type": "object", "properties": properties}
    return {"type": "array", "description": description, "items": items}


def _shown(value: object) -> str:
    return "missing" if value is None else str(value)
