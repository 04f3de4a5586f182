"""What a clinician's table says of diagnoses: how urgent, which tests, which treatment, by whom.

clinical_knowledge.json -> ClinicalKnowledge, checked

No network takes part in it: whoever edits the table changes answers without retraining.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from spt_core.errors import InputError
from spt_core.notation import number_of
from spt_core.terms import pair_of, term_of, terms_of

Urgency = Literal["emergency", "urgent", "soon", "routine"]  # the most urgent first
URGENCIES: tuple[Urgency, ...] = get_args(Urgency)
Part = Literal["first", "second"]
TABLE = Path(__file__).with_suffix(".json")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A guideline: its title and where it is published."""

    title: str
    url: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """What is usual for a diagnosis; `sources` are names among the table's own."""

    urgency: Urgency
    tests: Sequence[str]
    treatments: Sequence[str]
    sources: Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RedFlag:
    """A term that makes a case at least so urgent, whatever the diagnosis."""

    field: str
    term: str
    urgency: Urgency
    sources: Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class VitalLimit:
    """A number at or beyond which a case is at least so urgent; `part` is one of two numbers."""

    field: str
    urgency: Urgency
    sources: Sequence[str]
    part: Part | None = None
    at_most: float | None = None
    at_least: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClinicalKnowledge:
    """The whole table; `reviewed_by` is the clinician who answers for it, None where nobody does.

    `urgency_of_others` is that of a diagnosis that the table lacks.
    """

    version: str
    note: str
    sources: Mapping[str, Source]
    urgency_of_others: Urgency
    diagnoses: Mapping[str, Advice]
    red_flags: Sequence[RedFlag] = ()
    vital_limits: Sequence[VitalLimit] = ()
    reviewed_by: str | None = None

    def __post_init__(self) -> None:
        """Refuse an urgency that is none, and advice without a source that the table names."""
        entries = [*self.diagnoses.items()]
        entries += [(flag.term, flag) for flag in self.red_flags]
        entries += [(limit.field, limit) for limit in self.vital_limits]
        for name, entry in entries:
            if entry.urgency not in URGENCIES:
                raise InputError(
                    f"an urgency in the table of clinical knowledge must be one of "
                    f"{', '.join(URGENCIES)}, however: that of {name!r} is {entry.urgency!r}"
                )
            if not entry.sources or not {*entry.sources} <= self.sources.keys():
                raise InputError(
                    "each row of the table of clinical knowledge must name sources of the table, "
                    f"however: {name!r} has {list(entry.sources)}"
                )
        odd = [name for name in self.diagnoses if term_of(name, "diagnosis") != name]
        if odd or self.urgency_of_others not in URGENCIES or not self.version:
            raise InputError(
                "the table of clinical knowledge must have a version, an urgency of others, and "
                f"diagnoses in lower case with _ between words, however: {self.version=}, "
                f"{self.urgency_of_others=}, {odd}"
            )

    def advice(self, diagnosis: str) -> Advice | None:
        """What the table says of a diagnosis, however its name is written; None if nothing."""
        return self.diagnoses.get(term_of(diagnosis, "diagnosis"))

    def urgency(self, diagnosis: str) -> Urgency:
        """How urgent a diagnosis is."""
        advice = self.advice(diagnosis)
        return self.urgency_of_others if advice is None else advice.urgency

    def alarms(self, record: Mapping[str, Any]) -> list[tuple[Urgency, str]]:
        """What of a record, as it was read, makes the case urgent by itself, and why."""
        alarms: list[tuple[Urgency, str]] = []
        for flag in self.red_flags:
            value = record.get(flag.field)
            if value is not None and flag.term in terms_of(value, flag.field):
                alarms.append((flag.urgency, f"{flag.field} holds {flag.term}"))
        for limit in self.vital_limits:
            number = _number(record.get(limit.field), limit)
            if number is None:
                continue
            if limit.at_most is not None and number <= limit.at_most:
                fact = f"{limit.field} is {number:g}, at most {limit.at_most:g}"
                alarms.append((limit.urgency, fact))
            if limit.at_least is not None and number >= limit.at_least:
                fact = f"{limit.field} is {number:g}, at least {limit.at_least:g}"
                alarms.append((limit.urgency, fact))
        return alarms

    @property
    def standing(self) -> str:
        """Which table it is, and who answers for it."""
        who = f"reviewed by {self.reviewed_by}" if self.reviewed_by else "reviewed by NO clinician"
        return f"clinical table {self.version}, {who}"


def most_urgent(urgencies: Iterable[Urgency]) -> Urgency:
    """The first of URGENCIES that is among them; there must be one."""
    return min(urgencies, key=URGENCIES.index)


def read_knowledge(text: str) -> ClinicalKnowledge:
    """The table of its JSON; InputError, in one sentence, where it is not one."""
    try:
        content = json.loads(text)
        content["sources"] = {k: Source(**v) for k, v in content["sources"].items()}
        content["diagnoses"] = {k: Advice(**v) for k, v in content["diagnoses"].items()}
        content["red_flags"] = [RedFlag(**v) for v in content.get("red_flags", [])]
        content["vital_limits"] = [VitalLimit(**v) for v in content.get("vital_limits", [])]
        return ClinicalKnowledge(**content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"the table of clinical knowledge must have its keys, however: {error!r}"
        ) from error


def _number(value: Any, limit: VitalLimit) -> float | None:
    if value is None:
        return None
    if limit.part is not None:
        return pair_of(value, limit.field)[limit.part == "second"]
    return number_of(value.strip()) if isinstance(value, str) else float(value)


KNOWLEDGE = read_knowledge(TABLE.read_text(encoding="utf-8"))
