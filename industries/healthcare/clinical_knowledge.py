"""What a clinician's table says of diagnoses: how urgent, which tests, which treatment, by whom.

clinical_knowledge.json -> ClinicalKnowledge, checked

No network takes part in it: whoever edits the table changes answers without retraining.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from industries.healthcare.early_warning import (
    Band,
    EarlyWarning,
    Parameter,
    Part,
    Step,
    vital_number,
)
from industries.healthcare.negation import denied_starts, is_whole, tokens_of
from industries.healthcare.urgency import URGENCIES, Urgency
from spt_core.errors import InputError
from spt_core.judgement import UnseenTerm
from spt_core.records import category_text
from spt_core.task import RuleTable
from spt_core.terms import term_of, terms_of

TABLE = Path(__file__).with_suffix(".json")
# Words that say nothing by themselves, and that sets of words often leave out.
_SMALL = frozenset({"a", "an", "the", "of", "in", "on", "at", "to", "my", "is", "are"})


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
    """A sign that makes a case at least so urgent, whatever the diagnosis and the model.

    `also` are other words for `term`. A longer term that holds the words of one of them side by
    side speaks of the sign too ("crushing chest pain"), unless it denies that very sign. So do
    terms that are a word each and are together all words of one of them ("chest", "pain"): they may
    be of two complaints, and in doubt the case is urgent. `unlike` is what has words in common with
    the sign and is none ("coughing fits").
    """

    field: str
    term: str
    urgency: Urgency
    sources: Sequence[str]
    also: Sequence[str] = ()
    unlike: Sequence[str] = ()

    def is_in(self, term: str) -> bool:
        """Whether a term, as it is looked up, speaks of the sign in one of its clauses."""
        return _speaks_of((self.term, *self.also), term, self.unlike)

    def found_in(self, terms: Sequence[str]) -> list[str]:
        """Those of a record's terms that speak of the sign, else the words of it that are terms."""
        signs = [term for term in terms if self.is_in(term)]
        if signs:
            return signs
        present = {*terms}
        for name in (self.term, *self.also):
            words = {*_words_of(name)} - _SMALL
            if len(words) > 1 and words <= present:
                return sorted(words)
        return []


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class VitalLimit:
    """A number at or beyond which a case is at least so urgent; `part` is one of two numbers.

    Of a sign that is told in words, `words` are those that make it so. With a `min_age` it is not
    for whoever is known to be younger.
    """

    field: str
    urgency: Urgency
    sources: Sequence[str]
    part: Part | None = None
    at_most: float | None = None
    at_least: float | None = None
    words: Sequence[str] = ()
    min_age: float | None = None

    def fact(self, value: Any) -> str | None:
        """What of a value, as a record holds it, is beyond the limit; None where nothing is."""
        if self.words:
            text = "" if value is None else category_text(value, self.field)
            return f"{self.field} is {text}" if _speaks_of(self.words, text) else None
        number = vital_number(value, self.field, self.part)
        # "150/125" alarms by its second number, which the first must not be taken for.
        name = self.field if self.part is None else f"the {self.part} of {self.field}"
        if number is None:
            return None
        if self.at_most is not None and number <= self.at_most:
            return f"{name} is {number:g}, at most {self.at_most:g}"
        if self.at_least is not None and number >= self.at_least:
            return f"{name} is {number:g}, at least {self.at_least:g}"
        return None


class Alarms(NamedTuple):
    """What makes a case urgent by itself, and why.

    `score` is that of the vital signs that are told (None: none is), `missing` are the others.
    """

    urgencies: tuple[Urgency, ...]
    facts: tuple[str, ...]
    score: int | None
    missing: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClinicalKnowledge:
    """The whole table; `reviewed_by` is the clinician who answers for it, None where nobody does.

    `urgency_of_others` is that of a diagnosis that the table lacks, and of a sign that the model
    does not know.
    """

    version: str
    note: str
    sources: Mapping[str, Source]
    urgency_of_others: Urgency
    diagnoses: Mapping[str, Advice]
    early_warning: EarlyWarning
    red_flags: Sequence[RedFlag] = ()
    vital_limits: Sequence[VitalLimit] = ()
    reviewed_by: str | None = None

    def __post_init__(self) -> None:
        """Refuse an urgency that is none, and advice without a source that the table names."""
        entries = [*self.diagnoses.items()]
        entries += [(flag.term, flag) for flag in self.red_flags]
        entries += [(limit.field, limit) for limit in self.vital_limits]
        score = self.early_warning
        urgencies: list[tuple[str, str]] = []
        urgencies += [(name, entry.urgency) for name, entry in entries]
        urgencies += [(score.name, s.urgency) for s in (score.one_parameter, *score.all_parameters)]
        for name, urgency in urgencies:
            if urgency not in URGENCIES:
                raise InputError(
                    f"an urgency in the table of clinical knowledge must be one of "
                    f"{', '.join(URGENCIES)}, however: that of {name!r} is {urgency!r}"
                )
        sources = [*((name, entry.sources) for name, entry in entries), (score.name, score.sources)]
        for name, named in sources:
            if not named or not {*named} <= self.sources.keys():
                raise InputError(
                    "each row of the table of clinical knowledge must name sources of the table, "
                    f"however: {name!r} has {list(named)}"
                )
        terms = [
            *self.diagnoses,
            *(t for f in self.red_flags for t in (f.term, *f.also, *f.unlike)),
        ]
        terms += [word for limit in self.vital_limits for word in limit.words]
        odd = [name for name in terms if term_of(name, "a name") != name]
        if odd or self.urgency_of_others not in URGENCIES or not self.version:
            raise InputError(
                "the table of clinical knowledge must have a version, an urgency of others, and "
                "diagnoses and signs in lower case with _ between words, however: "
                f"{self.version=}, {self.urgency_of_others=}, {odd}"
            )

    def advice(self, diagnosis: str) -> Advice | None:
        """What the table says of a diagnosis, however its name is written; None if nothing."""
        return self.diagnoses.get(term_of(diagnosis, "diagnosis"))

    def urgency(self, diagnosis: str) -> Urgency:
        """How urgent a diagnosis is."""
        advice = self.advice(diagnosis)
        return self.urgency_of_others if advice is None else advice.urgency

    def alarms(self, record: Mapping[str, Any], unseen: Sequence[UnseenTerm] = ()) -> Alarms:
        """What of a record, as it was read, makes the case urgent by itself.

        Its terms that speak of a red flag; its vital signs beyond a limit, and their score; and
        signs that the model does not know: nobody has looked at them, so that they may be anything.
        """
        alarms: list[tuple[Urgency, str]] = []
        for flag in self.red_flags:
            signs = flag.found_in(self._terms(record, flag.field))
            if signs:
                alarms.append((flag.urgency, f"{flag.field} holds {', '.join(signs)}"))
        age = self.early_warning.age(record)
        for limit in self.vital_limits:
            if limit.min_age is not None and age is not None and age < limit.min_age:
                continue
            fact = limit.fact(record.get(limit.field))
            if fact is not None:
                alarms.append((limit.urgency, fact))
        warned = self.early_warning.warned(record)
        alarms += warned.alarms
        fields = {flag.field for flag in self.red_flags}
        for field, term, _ in unseen:
            if field in fields:
                fact = f"{field} holds what the model does not know: {term}"
                alarms.append((self.urgency_of_others, fact))
        urgencies, facts = zip(*alarms, strict=True) if alarms else ((), ())
        return Alarms(urgencies, tuple(dict.fromkeys(facts)), warned.score, warned.missing)

    def has_flag(self, field: str, terms: Sequence[str]) -> bool:
        """Whether a field that holds all of these terms would hold a red flag."""
        return any(flag.field == field and flag.found_in(terms) for flag in self.red_flags)

    def _terms(self, record: Mapping[str, Any], field: str) -> tuple[str, ...]:
        value = record.get(field)
        return () if value is None else terms_of(value, field)

    @property
    def standing(self) -> str:
        """Which table it is, and who answers for it."""
        who = f"reviewed by {self.reviewed_by}" if self.reviewed_by else "reviewed by NO clinician"
        return f"clinical table {self.version}, {who}"

    @property
    def table(self) -> RuleTable:
        """The same, as a check of compliance reads it."""
        return RuleTable(
            name="clinical knowledge",
            version=self.version,
            source=f"{len(self.sources)} guidelines",
            reviewed_by=self.reviewed_by or "",
        )


def _speaks_of(names: Sequence[str], text: str, unlike: Sequence[str] = ()) -> bool:
    """Whether a text holds the words of one of the names side by side, and does not deny them.

    Those that have a word in common with one of `unlike` in the text do not count.
    """
    words = tokens_of(text)
    places = list(_places(names, words))
    if not places:  # as most texts have it, which asks for no more
        return False
    denied = denied_starts(words)
    others = {at for place in _places(unlike, words) for at in place}
    sizes_by_start: dict[int, list[int]] = {}
    for place in places:
        if others.isdisjoint(place):
            sizes_by_start.setdefault(place.start, []).append(len(place))
    for start, sizes in sizes_by_start.items():
        # The longest, so that "no suicidal thoughts" is whole, and not "suicidal" with more.
        if not (start in denied and is_whole(words, start + max(sizes))):
            return True
    return False


@functools.cache  # of the table's names, of which there are some hundreds
def _words_of(name: str) -> tuple[str, ...]:
    return tuple(name.split("_"))


def _places(names: Sequence[str], words: tuple[str, ...]) -> Iterator[range]:
    """Where the words of a name stand side by side."""
    for name in names:
        of_name = _words_of(name)
        if of_name[0] not in words:
            continue
        for start in range(len(words) - len(of_name) + 1):
            if words[start : start + len(of_name)] == of_name:
                yield range(start, start + len(of_name))


def read_knowledge(text: str) -> ClinicalKnowledge:
    """The table of its JSON; InputError, in one sentence, where it is not one."""
    try:
        content = json.loads(text)
        content["sources"] = {k: Source(**v) for k, v in content["sources"].items()}
        content["diagnoses"] = {k: Advice(**v) for k, v in content["diagnoses"].items()}
        content["red_flags"] = [RedFlag(**v) for v in content.get("red_flags", [])]
        content["vital_limits"] = [VitalLimit(**v) for v in content.get("vital_limits", [])]
        content["early_warning"] = _early_warning(content["early_warning"])
        return ClinicalKnowledge(**content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"the table of clinical knowledge must have its keys, however: {error!r}"
        ) from error


def _early_warning(content: Mapping[str, Any]) -> EarlyWarning:
    read: dict[str, Any] = {
        **content,
        "parameters": [_parameter(each) for each in content["parameters"]],
        "one_parameter": Step(**content["one_parameter"]),
        "all_parameters": [Step(**step) for step in content["all_parameters"]],
    }
    return EarlyWarning(**read)


def _parameter(content: Mapping[str, Any]) -> Parameter:
    read: dict[str, Any] = {**content}
    read["bands"] = [Band(**band) for band in content.get("bands", [])]
    return Parameter(**read)


KNOWLEDGE = read_knowledge(TABLE.read_text(encoding="utf-8"))
