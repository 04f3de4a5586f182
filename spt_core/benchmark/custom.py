"""A customer's own cases, asked: answers beside what was expected, weighted by criteria."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from spt_core.answering import Answerer
from spt_core.benchmark.config import BenchmarkConfig
from spt_core.benchmark.reasoning import named_reasons
from spt_core.benchmark.subject import mean_interval
from spt_core.benchmark.tasks import (
    REASONS,
    BenchmarkResult,
    BenchmarkTask,
    Criterion,
    is_number,
)
from spt_core.errors import InputError, nearest
from spt_core.judgement import Judgement, Labels, Pairs, Reason, Spans
from spt_core.task import Task

NUM_REASONS = 4  # the first of an answer, among which an expected one must be


class _Case(NamedTuple):
    """How much of a case came: shares of the expected keys and of the reasons; None if none are."""

    accuracy: float | None
    reasoning: float | None
    error: str
    seconds: float


def custom(
    answerer: Answerer,
    task: BenchmarkTask,
    config: BenchmarkConfig,
    reasoning: float | None,
) -> BenchmarkResult:
    """The weighted score of the cases; `reasoning` is that of deletion on held-out rows, if any.

    Reasons count as far as the answer is right: a case's share of them times its share of the
    expected keys, if it expects any, and a deletion times the mean of those. A criterion of which
    no case expects anything, and no deletion tells, counts for nothing: the other one is the score.
    A model that is wholly wrong scores 0.
    """
    cases = [
        _asked(answerer, record, expected, task.tolerance)
        for record, expected in zip(task.input_data, task.expected_outputs, strict=True)
    ]
    accuracy = np.array([case.accuracy for case in cases if case.accuracy is not None])
    by_case = [case for case in cases if case.reasoning is not None]
    shares: dict[Criterion, np.ndarray[Any, Any]] = {}
    if "accuracy" in task.weights and len(accuracy):
        shares["accuracy"] = accuracy
    how = ""
    if "reasoning" in task.weights:
        if by_case:
            named = np.array([case.reasoning for case in by_case], float)
            right = [1.0 if case.accuracy is None else case.accuracy for case in by_case]
            shares["reasoning"] = named * right
            how = f"; reasons of {len(by_case)} cases, {named.mean():.3f}, where answers are right"
        elif reasoning is not None:
            shares["reasoning"] = reasoning * accuracy
            how = (
                f"; reasons by their deletion on held-out rows, {reasoning:.3f}, where answers are "
                "right, as no case names any"
            )
        elif shares:
            how = (
                "; by accuracy alone, as no case names `reasons` and no deletion on held-out rows "
                "tells of them"
            )
    if not shares:
        needed = (
            "accuracy_weight needs cases that expect a key of the answer"
            if "accuracy" in task.weights
            else "reasoning_quality needs cases that name `reasons`, or held-out rows to delete "
            "them on"
        )
        return _result(task, cases, not_measured=needed)
    parts: dict[Criterion, float] = {name: float(share.mean()) for name, share in shares.items()}
    total = sum(task.weights[name] for name in parts)
    weights = {name: task.weights[name] / total for name in parts}
    low, high = (None, None)
    if "reasoning" not in parts:
        low, high = mean_interval(shares["accuracy"], config)
    return _result(
        task,
        cases,
        score=sum(weights[name] * part for name, part in parts.items()),
        low=low,
        high=high,
        note=f"{', '.join(f'{name} {part:.3f}' for name, part in parts.items())}{how}",
        figures={**parts, "weights": weights},
    )


def agrees(given: Any, expected: Any, tolerance: float) -> bool:
    """Whether a part of an answer is as expected.

    Numbers within the tolerance; of an object each expected key; of a list each expected item is
    one of the answer's. An empty object or list asks for an empty one.
    """
    match expected:
        case np.bool_():
            return given is bool(expected)
        case bool() | str() | None:
            return given == expected and isinstance(given, bool) == isinstance(expected, bool)
        case _ if is_number(expected):
            return is_number(given) and bool(abs(given - expected) <= tolerance)
        case Mapping():
            members = cast(Mapping[str, Any], expected)
            return _is_empty_as(given, members, Mapping) and all(
                key in given and agrees(given[key], value, tolerance)
                for key, value in members.items()
            )
        case _:
            return _is_empty_as(given, expected, Sequence) and all(
                any(agrees(one, item, tolerance) for one in given) for item in expected
            )


def _is_empty_as(given: Any, expected: Any, kind: type[Any]) -> bool:
    """Whether it is of the kind, text being no list, and empty where nothing is expected in it."""
    return isinstance(given, kind) and not isinstance(given, str) and bool(expected or not given)


def reasons_of(judgement: Judgement) -> list[str]:
    """What the first reasons of a judgement name, of its likeliest label."""
    reasons: tuple[Reason, ...] = ()
    match judgement:
        case Labels():
            reasons = judgement.scores[0].reasons
        case Pairs():
            reasons = judgement.pairs[0].scores[0].reasons if judgement.pairs else ()
        case Spans():
            pass
        case _:
            reasons = judgement.reasons
    return named_reasons(reasons)[:NUM_REASONS]


def _asked(
    answerer: Answerer, record: Mapping[str, Any], expected: Mapping[str, Any], tolerance: float
) -> _Case:
    start = time.perf_counter()
    fields = {key: value for key, value in expected.items() if key != REASONS}
    named = expected.get(REASONS)
    try:
        judgement = answerer.judge(record)
        answer = answerer.task.respond(judgement)
    except InputError as error:
        return _Case(
            0.0 if fields else None,
            None if named is None else 0.0,
            str(error),
            time.perf_counter() - start,
        )
    seconds = time.perf_counter() - start
    hits = [agrees(answer[key], value, tolerance) for key, value in fields.items()]
    own = reasons_of(judgement)
    reasons = None if named is None else _share_named(named, own)
    return _Case(float(np.mean(hits)) if hits else None, reasons, "", seconds)


def _share_named(expected: Sequence[str], names: Sequence[str]) -> float:
    """The share of the expected reasons that are named; none expected asks that none is."""
    return float(np.mean([_is_named(one, names) for one in expected] or [not names]))


def _is_named(expected: str, names: Sequence[str]) -> bool:
    """Whether a name is the expected one, or holds it as words: mileage holds no "age"."""
    words = re.compile(rf"(?<![^\W_]){re.escape(expected.strip().casefold())}(?![^\W_])")
    return any(expected == name or words.search(name.casefold()) is not None for name in names)


def require_keys(answered: Task, task: BenchmarkTask) -> None:
    """Refuse cases that expect what no answer to them holds."""
    allowed = (*answered.answer, REASONS)
    for expected in task.expected_outputs:
        for key in expected:
            if key not in allowed:
                raise InputError(
                    f"an expected output of {task.task_id!r} must have keys of the answer of "
                    f"{answered.path} ({', '.join(allowed)}), however: {key!r}; "
                    f"{nearest(key, allowed)}"
                )


def _result(
    task: BenchmarkTask,
    cases: Sequence[_Case],
    *,
    figures: Mapping[str, Any] | None = None,
    **facts: Any,
) -> BenchmarkResult:
    """A result; its figures say why records were refused, whether or not it has a score."""
    answered = [case for case in cases if not case.error]
    seconds = [case.seconds for case in answered]
    return BenchmarkResult(
        task_id=task.task_id,
        name=task.name,
        benchmark_type=task.benchmark_type,
        num_cases=len(cases),
        num_answered=len(answered),
        latency_ms=float(np.mean(seconds) * 1000) if seconds else None,
        figures={**(figures or {}), "refused": [case.error for case in cases if case.error]},
        **{"note": "", **facts},  # pyright: ignore[reportArgumentType]  # fields of the result
    )
