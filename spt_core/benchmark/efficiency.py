"""What an answer costs: time, memory and size; figures beside the task's targets, no score."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from spt_core.artifacts import ExportedModel
from spt_core.benchmark.memory import resident_bytes
from spt_core.benchmark.subject import Subject
from spt_core.benchmark.tasks import BenchmarkResult, BenchmarkType
from spt_core.benchmark.timing import json_record, machine, quantiles, timed_calls
from spt_core.errors import InputError

NUM_RECORDS = 500
WARM_UP_ROWS = 50


class _Asked(NamedTuple):
    """Records of held-out rows, as clients send them, and those that were answered."""

    records: list[dict[str, Any]]
    answered: list[dict[str, Any]]


def efficiency(subject: Subject, *, memory_bytes: int | None = None) -> BenchmarkResult:
    """Latency of one answer with its reasons, answers a second, memory, size.

    `memory_bytes` is what opening the model adds to a process, if somebody has measured it.
    """
    task, asked = subject.answerer.task, _asked(subject)
    seconds = timed_calls(subject.answerer.answer, asked.answered, subject.config.num_calls)
    latency, size = quantiles(seconds), size_bytes(subject)
    source = subject.model.source
    if memory_bytes is None and isinstance(source, ExportedModel):
        memory_bytes = resident_bytes(source).with_code
    figures: dict[str, Any] = {
        "latency_ms": latency,
        "latency_target_ms": task.latency_target_ms,
        "latency_target_kept": latency["p99"] <= task.latency_target_ms,
        "answers_per_s": float(1.0 / seconds.mean()),
        "answers_per_s_in_batches": _in_batches(subject),
        "memory_mb": _megabytes(memory_bytes),
        "size_mb": size / 1e6,
        "size_target_mb": task.size_target_mb,
        "size_target_kept": size <= task.size_target_mb * 1e6,
        "machine": machine(),
    }
    if memory_bytes is None:
        figures["memory_not_measured"] = "the model is a checkpoint, and not what is served"
    return BenchmarkResult(
        task_id="efficiency",
        name="Time, memory and size",
        benchmark_type=BenchmarkType.EFFICIENCY,
        note="one answer with its reasons, in process, one after the other",
        figures=figures,
        num_cases=len(asked.records),
        num_answered=len(asked.answered),
        latency_ms=float(seconds.mean() * 1000),
    )


def size_bytes(subject: Subject) -> int:
    """Of the files that are served, or of the checkpoint's."""
    source = subject.model.source
    if isinstance(source, ExportedModel):
        return source.size_bytes
    return sum(len(source.read(name)) for name in source.files)


def _asked(subject: Subject) -> _Asked:
    task, signature = subject.answerer.task, subject.model.artifact.signature
    fields = signature.fields if task.subject is None else (task.subject,)
    table = subject.some(NUM_RECORDS)
    names = [field.name for field in fields if field.name in table.column_names]
    records = [json_record(record) for record in table.select(names).to_pylist()]
    answered = [record for record in records if _is_answered(subject, record)]
    if not answered:
        raise InputError(
            "a model must answer its own held-out rows to be benchmarked, however: it refuses "
            f"each of {len(records)}"
        )
    return _Asked(records, answered)


def _is_answered(subject: Subject, record: Mapping[str, Any]) -> bool:
    try:
        subject.answerer.answer(record)
    except InputError:
        return False
    return True


def _in_batches(subject: Subject) -> float:
    """Answers a second, reasons included, of rows that are scored as a batch."""
    table = subject.some(NUM_RECORDS)
    subject.answerer.table(table.slice(0, WARM_UP_ROWS))
    start = time.perf_counter()
    subject.answerer.table(table)
    return table.num_rows / max(time.perf_counter() - start, float(np.finfo(float).tiny))


def _megabytes(size: int | None) -> float | None:
    return None if size is None else size / 1e6
