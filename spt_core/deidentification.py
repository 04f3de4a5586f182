"""De-identification of a corpus: the task that finds identifiers, as a Rewrite of texts.

Safe Harbor's patterns, with a registered model beside them when there is one. What is left of a
text is the answer of `healthcare/hipaa_compliance`: every identifier as its type in brackets.
Beside the texts, groups and other keys are written as pseudonyms (data/splitting.py).
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from spt_core.artifacts import ExportedModel, exported_from_json
from spt_core.errors import InputError
from spt_core.heads.spans import united
from spt_core.judgement import Spans
from spt_core.model import open_answerer
from spt_core.policy import Policy, SpanPolicy, policy_from_json
from spt_core.task import Task, find

TASK = "healthcare/hipaa_compliance"
PLACED = ("span", "pair")  # heads whose labels are places in a text, which rewriting moves


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Deidentifier:
    """The Rewrite that removes identifiers: by patterns, and by a model unless `exported` is "".

    `exported` and `policy` are JSON, `ref` is the model's name in the registry.
    """

    patterns: str
    ref: str = ""
    exported: str = ""
    policy: str = ""

    @property
    def facts(self) -> Mapping[str, str]:
        """The version of the patterns, and the model with its policy."""
        if not self.exported:
            return {"task": TASK, "patterns": self.patterns, "model": "none: patterns alone"}
        return {
            "task": TASK,
            "patterns": self.patterns,
            "model": self.ref,
            "exported": json.loads(self.exported)["uri"],
            "policy": json.loads(self.policy)["version"],
        }

    def __call__(self, text: str) -> tuple[str, Mapping[str, int]]:
        """The text without its identifiers, and how many of each type there were."""
        answer = _answer(self.exported, self.policy, text)
        return answer["deidentified_text"], Counter(i["type"] for i in answer["identifiers"])


def deidentifier(
    task: Task,
    *,
    ref: str = "",
    exported: ExportedModel | None = None,
    policy: Policy | None = None,
) -> Deidentifier:
    """The Deidentifier of a task's texts; InputError for a task whose rows cannot be rewritten."""
    if task.family != "text":
        raise InputError(
            f"texts are de-identified, however: {task.path} is of the {task.family} family; drop "
            "its columns with data.drop"
        )
    if task.head in PLACED:
        raise InputError(
            "a text is de-identified where its label names no places in it, however: "
            f"{task.path} has {task.head} labels"
        )
    patterns = find(TASK).patterns
    assert patterns is not None, "the task has patterns"
    if exported is None or policy is None:
        return Deidentifier(patterns=patterns.version)
    return Deidentifier(
        patterns=patterns.version,
        ref=ref,
        exported=json.dumps(exported.to_json()),
        policy=json.dumps(policy.to_json()),
    )


def sentence(facts: Mapping[str, Any], replaced: Mapping[str, int]) -> str:
    """By what texts were de-identified, how many of each type were replaced, and what is beside."""
    counts = ", ".join(f"{count:,} {name}" for name, count in replaced.items())
    beside = {
        "pseudonyms": "by pseudonyms, whose key nobody keeps",
        "as they were": "as they were",
    }
    written = [f"; {facts[name]} written {how}" for name, how in beside.items() if name in facts]
    return (
        f"by patterns {facts['patterns']} and the model {facts['model']}: "
        f"{counts or 'nothing replaced'}{''.join(written)}"
    )


def _answer(exported: str, policy: str, text: str) -> dict[str, Any]:
    task = find(TASK)
    record = {task.text_field.name: text}
    if exported:
        return _answerer(exported, policy).answer(record)
    return task.respond(Spans(record, united(task, text, ()), SpanPolicy()))


@functools.lru_cache(maxsize=1)
def _answerer(exported: str, policy: str) -> Any:
    """The answering path, opened once per worker process."""
    return open_answerer(
        exported_from_json(json.loads(exported)), policy_from_json(json.loads(policy))
    )
