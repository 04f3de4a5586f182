"""What must be answered, apart from any model: a Task, its answer contract, and how to find one.

Task files import neither torch nor ray.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from spt_core.encoder import flatten
from spt_core.errors import InputError, NotFoundError, nearest
from spt_core.policy import Costs, DecisionPolicy, LabelPolicy
from spt_core.signature import Field, Signature, Window

Family = Literal["tabular", "text"]
Head = Literal["binary", "single_label", "multi_label", "ordinal", "pair", "span", "regression"]
Tracker = Literal["mlflow", "wandb"]
ComplianceCheck = Literal[
    "protected_attributes_excluded", "adverse_action_reasons", "data_licence_known"
]


class IndustryType(enum.StrEnum):
    """Supported industries."""

    FINANCIAL_SERVICES = "financial_services"
    HEALTHCARE = "healthcare"
    MANUFACTURING = "manufacturing"
    TECHNOLOGY = "technology"
    INSURANCE = "insurance"


class Reason(NamedTuple):
    """One field's signed effect on the log-odds of the positive class, with the value seen."""

    field: str
    value: Any
    effect: float


class Judgement(NamedTuple):
    """What a model and its policy say of one record; a task words its answer from it.

    `reasons` are all fields, strongest effect first. `confidence` is the calibrated probability of
    the likelier class, max(p, 1 - p): among answers with confidence 0.9, nine of ten are right.
    """

    probability: float
    action: str
    confidence: float
    reasons: tuple[Reason, ...]
    policy: DecisionPolicy


class Span(NamedTuple):
    """Characters `start` to `end` (exclusive) of a text, as they stand there, and what they are."""

    start: int
    end: int
    text: str
    label: str = ""


class Evidence(NamedTuple):
    """A phrase of the text and its signed effect on the log-odds of a label."""

    start: int
    end: int
    text: str
    effect: float


class LabelScore(NamedTuple):
    """What a model says of one label: calibrated probability, whether the policy gives it, why.

    `evidence` are phrases, strongest effect first.
    """

    label: str
    probability: float
    is_given: bool
    evidence: tuple[Evidence, ...] = ()

    def phrases(self, limit: int = 5) -> list[dict[str, Any]]:
        """The phrases that speak for the label, strongest first, as an answer shows them."""
        return [
            {"text": e.text, "start": e.start, "end": e.end, "effect": round(e.effect, 4)}
            for e in self.evidence
            if e.effect > 0
        ][:limit]


class PairJudgement(NamedTuple):
    """Two spans of the text and the scores of every label of the pair, most probable first."""

    first: Span
    second: Span
    scores: tuple[LabelScore, ...]


class TextJudgement(NamedTuple):
    """What a text model and its policy say of one text; a task words its answer from it.

    The head decides what is filled: `scores` (all labels, most probable first) for single_label,
    multi_label and ordinal; `value` for regression; `pairs` for pair (every pair of `spans`);
    `spans` for span (what was found) and pair (the mentions, given or found).
    """

    text: str
    scores: tuple[LabelScore, ...]
    value: float | None
    spans: tuple[Span, ...]
    pairs: tuple[PairJudgement, ...]
    policy: LabelPolicy


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A question that an industry asks, with its inputs' meaning, label, answer and limits.

    `verb` is the method under which a model answers (`model.detect_fraud(record)`), `answer` the
    JSON Schema properties of what it returns, `respond` the wording. `fields` describe canonical
    columns; a customer's other columns are inferred. `sample(num_rows, seed)` makes the synthetic
    corpus that the project ships instead of data, columns as in `fields` plus label and roles.

    The head says what the label column holds: binary 0/1; single_label and ordinal a class name;
    multi_label a JSON list of class names; regression a number; span a JSON list of {start, end,
    label}; pair a JSON list of [i, j, class] over the row's spans, the pairs that it leaves out
    being of the `negative_class`. `classes` are the names, for ordinal in rising order; empty takes
    those of the training rows. `respond` words a Judgement, for the text family a TextJudgement.
    Costs and capacity belong to binary decisions; other heads get thresholds per label
    (LabelPolicy).

    `label_patterns` are regular expressions that hint at a class in new texts without a label; how
    far each is believed is measured on labelled rows. Every new version of a `high_risk` task needs
    a person's approval.
    """

    industry: IndustryType
    name: str
    title: str
    description: str
    verb: str
    label: str
    fields: tuple[Field, ...]
    answer: Mapping[str, Mapping[str, Any]]
    respond: Callable[[Any], dict[str, Any]]  # the family decides which judgement it takes
    example: Mapping[str, Any]
    sample: Callable[[int, int], pa.Table]
    time: str | None = None
    group: str | None = None
    windows: tuple[Window, ...] = ()
    costs: Costs | None = None
    daily_review_capacity: int | None = None
    daily_volume: int | None = None
    family: Family = "tabular"
    head: Head = "binary"
    classes: tuple[str, ...] = ()
    negative_class: str | None = None
    metric: str = "average_precision"
    entities: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    reason_codes: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    conditions: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    compliance_checks: tuple[ComplianceCheck, ...] = ()
    latency_target_ms: float = 5.0
    size_target_mb: float = 10.0
    label_patterns: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    high_risk: bool = False

    def __post_init__(self) -> None:
        """Refuse a task whose parts contradict each other."""
        names = {f.name for f in self.fields}
        if self.label in names:
            raise InputError(f"a task's label must not be an input, however: {self.label!r}")
        if self.time is not None and self.time not in names:
            raise InputError(f"a task's time must be one of its fields, however: {self.time!r}")
        if self.head == "binary" and self.costs is None:
            raise InputError("a task with a binary decision must state its costs, however: none")
        if self.head == "pair" and self.negative_class is None:
            raise InputError("a pair task must name the class of unrelated pairs, however: none")
        if (self.family == "text") != any(field.kind == "text" for field in self.fields):
            raise InputError(
                f"tasks on text, and only these, have a text field, however: {self.name}"
            )
        overlap = names & set(self.protected)
        if overlap:
            raise InputError(f"protected attributes must not be fields, however: {sorted(overlap)}")

    def protects(self, column: str) -> bool:
        """Whether a column is a protected attribute, nested (`applicant.Age`) too."""
        return column.rpartition(".")[2].lower() in self.protected

    @property
    def text_field(self) -> Field:
        """The field that holds the text of a task on text."""
        return next(field for field in self.fields if field.kind == "text")

    @property
    def spans_field(self) -> Field | None:
        """The field that holds the spans of a pair task, if clients may supply them."""
        return next((field for field in self.fields if field.kind == "spans"), None)

    @property
    def path(self) -> str:
        """`industry/task`, as on the command line and in HTTP routes."""
        return f"{self.industry}/{self.name}"


def example_record(task: Task, signature: Signature) -> Mapping[str, Any]:
    """A record that the model takes: the task's example where it fits, else typical values."""
    known = {field.name: field for field in task.fields}
    told = flatten(task.example)
    fitting = {
        field.name: told[field.name]
        for field in signature.fields
        if field.name in told and known[field.name].kind == field.kind
    }
    encoded = {column.field for column in signature.columns}
    wanted = [f for f in signature.fields if f.name in encoded or f.required]
    if len(fitting) == len(told):
        wanted = [field for field in wanted if field.required]
        if fitting.keys() >= {field.name for field in wanted}:
            return task.example
    return {**{field.name: _typical(field) for field in wanted}, **fitting}


def _typical(field: Field) -> Any:
    match field.kind:
        case "category":
            return field.categories[0] if field.categories else "unknown"
        case "boolean":
            return False
        case "time":
            return "12:00"
        case "entity":
            return "unknown"
        case _:
            return max(field.minimum or 0.0, min(1.0, field.maximum or 1.0))


def find(path: str) -> Task:
    """The task named `industry/task`; NotFoundError lists what there is."""
    tasks = all_tasks()
    if path not in tasks:
        raise NotFoundError(
            f"a task is named INDUSTRY/TASK, however: {path!r} is not one; {nearest(path, tasks)}; "
            f"tasks: {', '.join(sorted(tasks))}"
        )
    return tasks[path]


def all_tasks() -> dict[str, Task]:
    """Every task by its path. The one dynamic import: the library does not depend on industries."""
    industries = importlib.import_module("industries").INDUSTRIES
    return {task.path: task for industry in industries for task in industry.TASKS}
