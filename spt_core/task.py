"""What must be answered, apart from any model: a Task, its answer contract, and how to find one.

Task files import neither torch nor ray.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.calendar import later
from spt_core.concepts import CONCEPTS, Concept
from spt_core.errors import InputError, NotFoundError, nearest, shown
from spt_core.judgement import Span
from spt_core.policy import Costs
from spt_core.protected import attribute_of
from spt_core.records import flatten
from spt_core.signature import (
    KNOWN_IN_ADVANCE,
    Field,
    FieldKind,
    Goal,
    SequenceShape,
    Signature,
    Window,
    step_unit,
)

Family = Literal["tabular", "text", "image", "series"]
Head = Literal[
    "binary",
    "single_label",
    "multi_label",
    "ordinal",
    "pair",
    "span",
    "regression",
    "anomalies",
    "forecasts",
]
# What may be done to an image of a task without making its label another one.
Symmetry = Literal["left_right", "top_bottom", "quarter_turn"]
Tracker = Literal["mlflow", "wandb"]
# What groups of people are compared by, of decisions (benchmark/subgroups.py).
ComparedRate = Literal["approval_rate", "recall"]
# What runs a replica's graphs: ONNX Runtime on the processor, a TensorRT engine, ONNX Runtime's
# TensorRT provider; the last says that what the provider does not take may run elsewhere.
RuntimeName = Literal["onnx", "tensorrt", "tensorrt_provider", "tensorrt_provider_or_cpu"]
EXAMPLE_SWING = 0.05  # of what a channel has read, either way
EXAMPLE_END_S = 1_703_980_800.0  # 2023-12-31
MAX_BODY_BYTES = 1_000_000  # of a request, unless its family says otherwise
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)
ComplianceCheck = Literal[
    "protected_attributes_excluded",
    "adverse_action_reasons",
    "data_licence_known",
    "set_coverage_stated",
    "advice_sourced",
    "sex_excluded",
    "age_excluded",
    "groups_measured",
    "tables_versioned",
    "tables_reviewed",
    "recall_measured",
    "classes_measured",
    "backtest_held",
    "alarm_budget_kept",
]


Rule = Callable[[pa.Table], Sequence[str]]  # the class of each row, without a model
Takings = Callable[[pa.Table, NDArray[np.float64]], Mapping[str, Any]]
# Each field's true part [N] of the log-odds (of a number: of it) in rows of a task's own sample.
Causes = Callable[[pa.Table], Mapping[str, Any]]


class SpanPatterns(NamedTuple):
    """What patterns find in a text, apart from any model, and the version of the patterns.

    `find` returns spans in order that do not overlap; `version` changes whenever they could. What
    is named with one of the labels `repeated`, as a whole or by a capitalized word of it, is named
    wherever it stands in the text again.
    """

    version: str
    find: Callable[[str], Sequence[Span]]
    repeated: frozenset[str] = frozenset()


class RuleTable(NamedTuple):
    """A table that answers draw on beside the model, edited by people; empty where nobody did so.

    `source` says whose publications its rows name, `reviewed_by` who answers for it.
    """

    name: str
    version: str
    source: str
    reviewed_by: str = ""


class IndustryType(enum.StrEnum):
    """Supported industries."""

    FINANCIAL_SERVICES = "financial_services"
    HEALTHCARE = "healthcare"
    MANUFACTURING = "manufacturing"
    TECHNOLOGY = "technology"
    INSURANCE = "insurance"


def industry_named(name: object, what: str = "an industry") -> IndustryType:
    """The industry of this name; NotFoundError says which there are, and `what` it was to be."""
    names = [industry.value for industry in IndustryType]
    if name not in names:
        raise NotFoundError(
            f"{what} must be one that exists, however: {shown(name)}; {nearest(str(name), names)}"
        )
    return IndustryType(name)


class FamilyFacts(NamedTuple):
    """What all of the code may know of a family without knowing the family itself.

    `subject` is the kind of the one field that a record is about, None where it is all of them;
    `kinds` are those of fields that the model reads. A task has one of the `heads`. Batch scoring
    takes `batch_rows` at a time, about a second of work; of a request, a replica answers up to
    `inline_records` on its event loop, and more in a thread. Policies are fitted on at most
    `policy_rows`. `has_int8` says that an export is tried in INT8 too, `has_cpu_bf16` that its
    networks gain by bf16 on CPUs that multiply it, `reads_publications` that a publication can be
    its record. A request's body has at most `max_body_bytes`.
    """

    subject: FieldKind | None
    kinds: tuple[FieldKind, ...]
    heads: tuple[Head, ...]
    batch_rows: int
    inline_records: int
    policy_rows: int
    has_int8: bool = False
    has_cpu_bf16: bool = False
    reads_publications: bool = False
    max_body_bytes: int = MAX_BODY_BYTES


FAMILIES: Mapping[Family, FamilyFacts] = {
    "tabular": FamilyFacts(
        subject=None,
        kinds=("number", "category", "boolean", "time", "terms", "number_pair", "entity"),
        heads=("binary", "single_label", "ordinal", "regression"),
        batch_rows=8192,
        inline_records=16,  # of microseconds each: single requests do not wait for them
        policy_rows=500_000,
    ),
    "text": FamilyFacts(
        subject="text",
        kinds=("text", "spans"),
        heads=("single_label", "multi_label", "ordinal", "pair", "span", "regression"),
        batch_rows=256,
        inline_records=0,
        policy_rows=20_000,
        has_int8=True,
        has_cpu_bf16=True,
        reads_publications=True,
    ),
    "image": FamilyFacts(
        subject="image",
        kinds=("image",),
        heads=("binary", "single_label", "multi_label"),
        batch_rows=64,
        inline_records=0,
        policy_rows=20_000,
        has_int8=True,
        max_body_bytes=28_000_000,  # an image of images.MAX_BYTES in base64
    ),
    "series": FamilyFacts(
        subject="sequence",
        kinds=("sequence", "number"),
        heads=("single_label", "regression", "anomalies", "forecasts"),
        batch_rows=1024,
        inline_records=4,  # of a fraction of a millisecond each
        policy_rows=50_000,
    ),
}


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
    being of the `negative_class`; anomalies 1 at readings that are not as usual; forecasts the
    channel that is foretold. `classes` are the names, for ordinal in rising order; empty takes
    those of the training rows. `respond` words the head's Judgement.

    Whatever else a task may have stands below in groups, and may be left out:

    - Beside the model: `asides` are fields that `respond` reads of a record, whether a model takes
      them or not; where one does, its own field of that name holds. None is required.
    - Columns: `time`, `group` and `entities` have these roles where a corpus has them; `windows`
      look back over the entities; columns of `protected` attributes (protected.py) are kept out of
      the features, those of `monitored` ones are features; of both there are figures by group.
    - Decisions, of binary heads: `costs`, which they must state, and how many reviews a day there
      are hands for; `reason_codes` of fields, `conditions` of codes; `approval_benefits` says that
      to be approved is a benefit to whom a row is about (credit, a settled claim), and groups are
      compared by it; where it is none (no further test, no programme), by the positives that are
      found. (Classes get thresholds per
      label, see LabelPolicy; alarms take the capacity as their budget.)
    - `goal`: which way a number is better, unless a corpus says otherwise: answers then recommend
      settings of the fields that are `controllable`.
    - `coverage`: beside the class that is given there is a set of classes that holds the true one
      of so many rows to come. `advice`: of each class of which `respond` gives advice, where that
      comes from; `tables` are those that it, or what else `respond` says, is looked up in.
    - Texts and images: `label_patterns` are regular expressions that hint at a class in new texts
      without a label (how far each is believed is measured on labelled rows); `patterns` find spans
      together with the model (heads/spans.py says which holds where they differ); where
      `case_matters`, capitals and marks mean something, as in code: reports show n-grams of
      characters beside the model, whose encoder may not see them, and publications, which are
      prose, are no records; `symmetries` leave an image's label what it is.
    - Limits and rules: the usual `metric`, latency and size; the `compliance_checks`; of
      `high_risk`, every new version needs a person's approval.
    - Transfer: the task whose model one of this task may begin with, and what fields, and columns
      of the task's data sets, stand for (concepts.py).
    - What reports hold the model against: `rules` give each row of a typed table a class without a
      model, by name (InputError where it lacks a column); `causes` are what the sample's generator
      says of single fields (NaN where a value is missing); `backtest_levels` are those of losses,
      `limits` numbers of which answers say how probable it is that the label is at most as much;
      `realized` columns, which a corpus may have of what came after a row and which are never
      inputs, let `takings` say, of a typed table and probabilities [N, K] of its rows, what acting
      on them earns ({} where it lacks them).
    """

    industry: IndustryType
    name: str
    title: str
    description: str
    verb: str
    label: str
    fields: tuple[Field, ...]
    answer: Mapping[str, Mapping[str, Any]]
    respond: Callable[[Any], dict[str, Any]]  # the head decides which Judgement it takes
    example: Mapping[str, Any]
    sample: Callable[[int, int], pa.Table]
    family: Family = "tabular"
    head: Head = "binary"
    classes: tuple[str, ...] = ()
    negative_class: str | None = None
    asides: tuple[Field, ...] = ()
    # columns
    time: str | None = None
    group: str | None = None
    entities: tuple[str, ...] = ()
    windows: tuple[Window, ...] = ()
    protected: tuple[str, ...] = ()
    monitored: tuple[str, ...] = ()
    # decisions
    costs: Costs | None = None
    daily_review_capacity: int | None = None
    daily_volume: int | None = None
    reason_codes: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    conditions: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    approval_benefits: bool = False
    # numbers and sets of classes
    goal: Goal | None = None
    coverage: float | None = None
    advice: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    tables: tuple[RuleTable, ...] = ()
    # texts and images
    label_patterns: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    patterns: SpanPatterns | None = None
    case_matters: bool = False
    symmetries: tuple[Symmetry, ...] = ()
    # limits and rules
    metric: str = "average_precision"
    latency_target_ms: float = 5.0
    size_target_mb: float = 10.0
    compliance_checks: tuple[ComplianceCheck, ...] = ()
    high_risk: bool = False
    # transfer
    transfer_from: str | None = None
    concepts: Mapping[str, Concept] = dataclasses.field(default_factory=dict[str, Concept])
    # what reports hold the model against
    rules: Mapping[str, Rule] = dataclasses.field(default_factory=dict[str, Rule])
    causes: Causes | None = None
    backtest_levels: tuple[float, ...] = ()
    limits: tuple[float, ...] = ()
    realized: tuple[str, ...] = ()
    takings: Takings | None = None

    def __post_init__(self) -> None:
        """Refuse a task whose parts contradict each other."""
        names = {f.name for f in self.fields}
        names |= {f.shape.time for f in self.fields if f.shape is not None}
        facts = FAMILIES[self.family]
        if self.head not in facts.heads:
            raise InputError(
                f"a task of the {self.family} family has one of the heads "
                f"{', '.join(facts.heads)}, however: {self.name} has {self.head}"
            )
        if self.label in names:
            raise InputError(f"a task's label must not be an input, however: {self.label!r}")
        if self.time is not None and self.time not in names:
            raise InputError(f"a task's time must be one of its fields, however: {self.time!r}")
        if self.head == "binary" and self.costs is None:
            raise InputError("a task with a binary decision must state its costs, however: none")
        if self.head != "binary" and self.approval_benefits:
            raise InputError(
                f"only a task with a binary decision approves, however: {self.name} is {self.head}"
            )
        if self.head == "pair" and self.negative_class is None:
            raise InputError("a pair task must name the class of unrelated pairs, however: none")
        self._check_kinds(facts)
        if self.asides and (facts.subject is not None or any(f.required for f in self.asides)):
            raise InputError(
                "only a task on tables has asides, and none of them is required, however: "
                f"{self.name} has {', '.join(field.name for field in self.asides)}"
            )
        if self.rules and (self.head != "single_label" or facts.subject is not None):
            raise InputError(
                "only a task of one class for each row of a table has rules, however: "
                f"{self.name} is {self.head} on {self.family}"
            )
        if self.patterns is not None and self.head != "span":
            raise InputError(
                f"only a task of spans has patterns, however: {self.name} is {self.head}"
            )
        if self.goal is not None and (self.head != "regression" or facts.subject is not None):
            raise InputError(
                "only a task that predicts a number from fields has a goal, however: "
                f"{self.name} is {self.head} on {self.family}"
            )
        if self.coverage is not None and self.head != "single_label":
            raise InputError(
                "only a task of one class of several has sets of a coverage, however: "
                f"{self.name} is {self.head}"
            )
        if self.limits and self.head != "regression":
            raise InputError(
                f"only a task that predicts a number has limits, however: {self.name} is "
                f"{self.head}"
            )
        if self.backtest_levels and self.head != "forecasts":
            raise InputError(
                f"only a task of forecasts is backtested, however: {self.name} is {self.head}"
            )
        strange = sorted(set(self.concepts.values()) - set(CONCEPTS))
        if strange:
            raise InputError(f"a concept is one of {', '.join(CONCEPTS)}, however: {strange}")
        overlap = sorted(name for name in names if self.protects(name))
        if overlap:
            raise InputError(f"protected attributes must not be fields, however: {overlap}")

    def _check_kinds(self, facts: FamilyFacts) -> None:
        kinds = [field.kind for field in self.fields]
        foreign = sorted({kind for kind in kinds if kind not in facts.kinds})
        if foreign:
            raise InputError(
                f"fields of the {self.family} family are of the kinds {', '.join(facts.kinds)}, "
                f"however: {self.name} has {', '.join(foreign)}"
            )
        if facts.subject is not None and facts.subject not in kinds:
            raise InputError(
                f"a task of the {self.family} family has a field of the kind {facts.subject}, "
                f"however: {self.name} has none"
            )

    def protects(self, column: str) -> bool:
        """Whether a column's name speaks of a protected attribute (`applicant.Age`)."""
        return _speaks_of(column, self.protected)

    def monitors(self, column: str) -> bool:
        """Whether a column's name speaks of a monitored attribute."""
        return _speaks_of(column, self.monitored)

    def beside(self, signature: Signature) -> Signature:
        """The fields that the task reads of a record, and the model of this signature does not."""
        own = {field.name for field in signature.fields}
        return Signature(fields=tuple(f for f in self.asides if f.name not in own))

    @property
    def compared_rate(self) -> ComparedRate:
        """What groups of people are compared by, of decisions."""
        return "approval_rate" if self.approval_benefits else "recall"

    @property
    def facts(self) -> FamilyFacts:
        """What is known of the task's family."""
        return FAMILIES[self.family]

    @property
    def subject(self) -> Field | None:
        """The one field that a record is about, such as its text; None where it is all of them."""
        kind = self.facts.subject
        return next((field for field in self.fields if field.kind == kind), None)

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


def _speaks_of(column: str, attributes: tuple[str, ...]) -> bool:
    return attribute_of(column) in attributes or column.rpartition(".")[2].lower() in attributes


def example_record(task: Task, signature: Signature) -> Mapping[str, Any]:
    """A record that the model takes: the task's example where it fits, else typical values."""
    fields_by_name = {field.name: field for field in task.fields}
    ahead = _typical_ahead(signature)
    example = dict(task.example)
    for field in signature.fields:
        if field.name in example and field.shape is not None:
            example[field.name] = _with_moments(example[field.name], field.shape)
    values = flatten({n: v for n, v in example.items() if n != KNOWN_IN_ADVANCE})
    fitting = {
        field.name: values[field.name]
        for field in signature.fields
        if field.name in values
        and _is_same(fields_by_name[field.name], field)
        and _is_within(values[field.name], field)
    }
    encoded = {column.field for column in signature.columns}
    fields = [f for f in signature.fields if f.name in encoded or f.required]
    if len(fitting) == len(values):
        fields = [field for field in fields if field.required]
        if fitting.keys() >= {field.name for field in fields}:
            return task.example if example == task.example else example
    if any(task.subject is not None and name == task.subject.name for name in fitting):
        ahead = {n: v for n, v in task.example.items() if n == KNOWN_IN_ADVANCE}
    return {**{field.name: _typical(field) for field in fields}, **fitting, **ahead}


def _is_same(field: Field, other: Field) -> bool:
    """Whether a value of one field is one of the other."""
    return field.kind == other.kind and _asked(field.shape) == _asked(other.shape)


def _is_within(value: Any, field: Field) -> bool:
    """Whether a number is none above those that the field takes: horizons differ by model."""
    is_number = isinstance(value, int | float)
    return not is_number or field.maximum is None or value <= field.maximum


def _asked(shape: SequenceShape | None) -> Sequence[Any]:
    """What of a shape a client's window must fit."""
    if shape is None:
        return ()
    ahead = (shape.in_advance, shape.horizon if shape.in_advance else 0)
    return (shape.channels, shape.length, shape.step, step_unit(shape), *ahead)


def _with_moments(readings: list[dict[str, Any]], shape: SequenceShape) -> list[dict[str, Any]]:
    """Readings that say when they were, where the model must know it."""
    if not shape.calendar or len(readings) != shape.length or shape.time in readings[0]:
        return readings
    moments = example_moments(shape)
    return [{shape.time: at, **r} for at, r in zip(moments, readings, strict=True)]


def _typical_window(shape: SequenceShape) -> list[dict[str, Any]]:
    """Readings about the middle of what each channel has read; one that stands still is odd."""
    swings = (-EXAMPLE_SWING, EXAMPLE_SWING)
    readings: list[dict[str, Any]] = [
        dict(_between(shape, 0.5 + swings[step % 2])) for step in range(shape.length)
    ]
    if shape.calendar:
        moments = example_moments(shape)
        readings = [{shape.time: at, **r} for at, r in zip(moments, readings, strict=True)]
    return readings


def _typical_ahead(signature: Signature) -> dict[str, Any]:
    """What is known in advance, by the middle of what each such channel has read."""
    shape = next((f.shape for f in signature.fields if f.shape is not None), None)
    if shape is None or not shape.in_advance:
        return {}
    middles = _between(shape, 0.5)
    return {KNOWN_IN_ADVANCE: {n: [middles[n]] * shape.horizon for n in shape.in_advance}}


def example_moments(shape: SequenceShape) -> list[str]:
    """When the readings of an example were: the last one at the end of 2023."""
    steps = np.arange(1 - shape.length, 1)
    moments = later(
        np.full(shape.length, EXAMPLE_END_S, np.float64),
        steps,
        shape.step,
        in_months=shape.in_months,
    )
    return np.datetime_as_string(moments.astype("datetime64[s]")).tolist()


def _between(shape: SequenceShape, place: float) -> dict[str, float]:
    """A reading of each channel, so far (0 to 1) on the way from its least to its greatest."""
    ends = shape.seen or [(0.0, 0.0)] * len(shape.channels)
    values = [round(low + place * (high - low), 6) for low, high in ends]
    return dict(zip(shape.channels, values, strict=True))


def _typical(field: Field) -> Any:
    if field.shape is not None:
        return _typical_window(field.shape)
    match field.kind:
        case "category":
            return field.categories[0] if field.categories else "unknown"
        case "boolean":
            return False
        case "time":
            return "2024-12-31T12:00:00"
        case "entity":
            return "unknown"
        case "text":
            return "a text"
        case "spans":
            return []
        case "terms":
            return list(field.categories[:2])
        case "number_pair":
            return "120/80"
        case "image" | "sequence":
            raise InputError(f"{field.name!r} must be in the task's example, however: it is not")
        case "number":
            if field.seen is not None:
                return round(sum(field.seen) / 2, 6)
            return max(field.minimum or 0.0, min(1.0, field.maximum or 1.0))


def labels_publications(task: Task) -> bool:
    """Whether a publication can be a record of the task, and gets classes as a whole."""
    is_prose = task.facts.reads_publications and not task.case_matters
    return is_prose and task.head in ("single_label", "multi_label", "ordinal")


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
