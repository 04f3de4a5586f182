"""A score of vital signs by the bands of a table: NEWS2 of the Royal College of Physicians (2017).

record -> Warned(score, missing, alarms): points of each parameter that is told, added up

Each parameter adds points the further it is from what is usual. One of them far off is urgent, and
so is a little of several: that is what single limits do not see.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from industries.healthcare.urgency import Urgency
from spt_core.errors import InputError
from spt_core.notation import number_of
from spt_core.records import category_text
from spt_core.terms import pair_of

Part = Literal["first", "second"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """Numbers up to `at_most` that the band before it does not hold; without one, all others."""

    points: int
    at_most: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """A vital sign's points: by `bands` of a number, else by `values` of a text, or `others`."""

    field: str
    part: Part | None = None
    bands: Sequence[Band] = ()
    values: Mapping[str, int] = dataclasses.field(default_factory=dict[str, int])
    others: int = 0

    def points(self, value: Any) -> int | None:
        """Its points for a value as a record holds it; None where that tells nothing."""
        if not self.bands:
            text = "" if value is None else category_text(value, self.field).strip().lower()
            return self.values.get(text, self.others) if text else None
        number = vital_number(value, self.field, self.part)
        if number is None:
            return None
        return next(b.points for b in self.bands if b.at_most is None or number <= b.at_most)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Points from which a case is at least so urgent."""

    at_least: int
    urgency: Urgency


class Warned(NamedTuple):
    """The score of the parameters that a record tells (None: of none), the others, what alarms."""

    score: int | None
    missing: tuple[str, ...]
    alarms: list[tuple[Urgency, str]]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EarlyWarning:
    """The table of a score; `limits` is a sentence on whom it is for.

    It is for `min_age` years and more: at an earlier age other numbers are usual.
    """

    name: str
    sources: Sequence[str]
    age_field: str
    min_age: float
    parameters: Sequence[Parameter]
    one_parameter: Step
    all_parameters: Sequence[Step]
    limits: str

    def __post_init__(self) -> None:
        """Refuse bands that do not rise up to all numbers, and a parameter without points."""
        for parameter in self.parameters:
            ends = [band.at_most for band in parameter.bands]
            numbers = [end for end in ends[:-1] if end is not None]
            is_open = not ends or (ends[-1] is None and len(numbers) == len(ends) - 1)
            if not is_open or numbers != sorted(numbers) or not (ends or parameter.values):
                raise InputError(
                    "a parameter of an early warning score must have bands that rise, the last "
                    f"without an end, or values, however: {parameter.field!r} has {ends}"
                )

    def age(self, record: Mapping[str, Any]) -> float | None:
        """How old a patient is, in years; None where the record does not tell."""
        return vital_number(record.get(self.age_field), self.age_field, None)

    def warned(self, record: Mapping[str, Any]) -> Warned:
        """The score of a record, as it was read; a parameter that it does not tell adds nothing.

        Vital signs of a patient too young for it are not scored: that alarms, as nobody looked.
        """
        age = self.age(record)
        if age is not None and age < self.min_age:
            fact = (
                f"{self.age_field} is {age:g}, and {self.name} is for {self.min_age:g} and more: "
                "the vital signs are not scored"
            )
            is_told = any(record.get(each.field) is not None for each in self.parameters)
            return Warned(None, (), [(self.one_parameter.urgency, fact)] if is_told else [])
        points_by_field: dict[str, int] = {}
        alarms: list[tuple[Urgency, str]] = []
        missing: list[str] = []
        for parameter in self.parameters:
            points = parameter.points(record.get(parameter.field))
            if points is None:
                missing.append(parameter.field)
                continue
            points_by_field[parameter.field] = points
            if points >= self.one_parameter.at_least:
                value = record[parameter.field]
                fact = f"{parameter.field} is {value}, {points} points of {self.name}"
                alarms.append((self.one_parameter.urgency, fact))
        score = sum(points_by_field.values()) if points_by_field else None
        for step in self.all_parameters:
            if score is not None and score >= step.at_least:
                fact = f"{self.name} is {score}, at least {step.at_least}"
                alarms.append((step.urgency, fact))
        return Warned(score, tuple(missing), alarms)


def vital_number(value: Any, field: str, part: Part | None) -> float | None:
    """The number of a vital sign, or of one part of two; None where the value tells none.

    Of decimal commas too, whatever the model's own notation is.
    """
    if value is None:
        return None
    if part is not None:
        try:
            return pair_of(value, field)[part == "second"]
        except InputError:  # the model has read it as no value
            return None
    if isinstance(value, str):
        text = value.strip()
        number = number_of(text)
        return number_of(text, "decimal_comma") if number is None else number
    return None if math.isnan(value) else float(value)
