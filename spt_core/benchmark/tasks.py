"""What a benchmark measures, and one of a customer's own cases.

BenchmarkTask: records, what should be answered, how much each criterion weighs
"""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal, cast

from spt_core.errors import InputError, nearest
from spt_core.task import IndustryType, industry_named

NUM_NAMED = 6  # names that a sentence lists
Criterion = Literal["accuracy", "reasoning"]
# As the specification writes them, and by themselves.
CRITERIA: Mapping[str, Criterion] = {
    "accuracy_weight": "accuracy",
    "accuracy": "accuracy",
    "reasoning_quality": "reasoning",
    "reasoning_weight": "reasoning",
}
REASONS = "reasons"  # the key of an expected output that is no key of the answer
_TOLERANCE = 1e-9


class BenchmarkType(StrEnum):
    """What a benchmark is about.

    DOMAIN_KNOWLEDGE: whether answers are right; REASONING: whether the reasons are what moves
    them; COMPLIANCE: the task's checks; SAFETY: groups of people beside each other; ROBUSTNESS:
    records as the world sends them; EFFICIENCY: time, memory and size, which have no score.
    """

    DOMAIN_KNOWLEDGE = "domain_knowledge"
    REASONING = "reasoning"
    COMPLIANCE = "compliance"
    SAFETY = "safety"
    ROBUSTNESS = "robustness"
    EFFICIENCY = "efficiency"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkTask:
    """A customer's own benchmark: records with what should be answered.

    Attributes:
        task_id: unique among the benchmarks of an industry.
        name: for people.
        description: what it shows.
        industry: whose models it is for.
        benchmark_type: where it counts in `performance_by_type`.
        input_data: records, as the model's verb takes them.
        expected_outputs: for each record the part of the answer that must come: keys of the answer
            with their values, and `reasons`, the fields or phrases that must be among the first
            reasons. Of a list, each item must be there; of an object, each of its keys; an empty
            one asks for an empty one.
        evaluation_criteria: `accuracy_weight` is the weight of the share of those keys that come,
            `reasoning_quality` that of the share of the reasons, or, where no case names any, of
            the reasons' deletion on held-out rows: as far as the case's keys came, for reasons of
            a wrong answer are worth nothing. The weights add up to 1; that of a criterion of which
            no case expects anything, and that no held-out rows tell, falls to the other.
        tolerance: how far a number may be from the expected one.
    """

    task_id: str
    name: str
    description: str
    industry: IndustryType
    benchmark_type: BenchmarkType
    input_data: Sequence[Mapping[str, Any]]
    expected_outputs: Sequence[Mapping[str, Any]]
    evaluation_criteria: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: {"accuracy_weight": 1.0}
    )
    tolerance: float = 0.05

    def __post_init__(self) -> None:
        """Refuse cases and weights that measure nothing."""
        # Whose types a caller may not have kept to.
        records, outputs, criteria = (
            cast(Any, value)
            for value in (self.input_data, self.expected_outputs, self.evaluation_criteria)
        )
        if not all(_is_list(cases) for cases in (records, outputs)):
            raise InputError(
                f"the benchmark {self.task_id!r} must have lists of records and of expected "
                f"outputs, however: {type(records).__name__} and {type(outputs).__name__}"
            )
        if not records or len(records) != len(outputs):
            raise InputError(
                f"the benchmark {self.task_id!r} must have an expected output for each record, "
                f"however: {len(records)} records and {len(outputs)} outputs"
            )
        if not all(isinstance(one, Mapping) for one in records):
            raise InputError(
                f"a record of {self.task_id!r} must be an object with fields, however: one is not"
            )
        if not all(isinstance(one, Mapping) and one for one in outputs):
            raise InputError(
                f"an expected output of {self.task_id!r} must be an object with a key of the "
                "answer, however: one is not"
            )
        if not all(_are_reasons(one[REASONS]) for one in outputs if REASONS in one):
            raise InputError(
                f"the reasons of an expected output of {self.task_id!r} must be a list of texts, "
                "however: one is not"
            )
        if not isinstance(criteria, Mapping):
            raise InputError(
                f"evaluation_criteria must be an object of weights, however: {criteria!r}"
            )
        industry_named(self.industry, f"the industry of {self.task_id!r}")
        if self.benchmark_type not in tuple(BenchmarkType):
            raise InputError(
                f"benchmark_type must be one of {', '.join(BenchmarkType)}, however: "
                f"{self.benchmark_type!r}"
            )
        for name, weight in self.evaluation_criteria.items():
            if name not in CRITERIA:
                raise InputError(
                    f"evaluation_criteria must be named {', '.join(CRITERIA)}, however: {name!r}; "
                    f"{nearest(name, CRITERIA)}"
                )
            if not (is_number(weight) and weight > 0):
                raise InputError(
                    f"a criterion's weight must be a number above 0, however: {name}={weight!r}"
                )
        if len(self.weights) != len(self.evaluation_criteria):
            raise InputError(
                f"each criterion of {self.task_id!r} must be weighted once, however: "
                f"{', '.join(self.evaluation_criteria)}"
            )
        total = sum(self.evaluation_criteria.values())
        if abs(total - 1.0) > _TOLERANCE:
            raise InputError(
                f"the weights of {self.task_id!r} must add up to 1, however: they are {total:g}"
            )
        if not (is_number(self.tolerance) and self.tolerance >= 0):
            raise InputError(
                f"tolerance must be a number of at least 0, however: {self.tolerance!r}"
            )

    @property
    def weights(self) -> dict[Criterion, float]:
        """The criteria's weights by what they weigh."""
        return {CRITERIA[name]: weight for name, weight in self.evaluation_criteria.items()}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkResult:
    """What one benchmark came to.

    `score` is a share in [0, 1], 1 is best, with its 95 % interval `low` to `high` where it has
    one; None where the benchmark has figures alone, or was `not_measured` for the reason that
    stands there. `figures` are JSON; `note` says in a sentence what the score is.
    """

    task_id: str
    name: str
    benchmark_type: BenchmarkType
    note: str
    score: float | None = None
    low: float | None = None
    high: float | None = None
    figures: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    not_measured: str = ""
    num_cases: int = 0
    num_answered: int = 0
    latency_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object with all fields."""
        return dataclasses.asdict(self)


def is_number(value: object) -> bool:
    """Whether it is a number: of NumPy too, and true and false are none."""
    return not isinstance(value, bool) and isinstance(value, numbers.Real)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _are_reasons(value: Any) -> bool:
    return _is_list(value) and all(isinstance(one, str) and one.strip() for one in value)


def listed(names: Sequence[str]) -> str:
    """A few of the names, and how many others there are."""
    others = len(names) - NUM_NAMED
    return ", ".join(names[:NUM_NAMED]) + (f" and {others} others" if others > 0 else "")
