"""Of a teacher and its student, the best model that keeps the limits.

teacher + student -> candidates -> exported, measured -> those within limits -> the least loss
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from spt_core.artifacts import (
    FACTS,
    ExportedModel,
    ModelArtifact,
    code_fingerprint,
    digest,
    has_manifest,
    load_artifact,
    merge_licences,
    write_bytes,
    write_manifest,
)
from spt_core.benchmark.memory import resident_bytes
from spt_core.benchmark.timing import json_record, timed_calls
from spt_core.compression.limits import Budget, Limits
from spt_core.compression.quantize import QuantizeConfig, quantize
from spt_core.data.splits import Splits
from spt_core.errors import InputError, QualityError
from spt_core.export import export
from spt_core.families.candidate import Candidate
from spt_core.families.training import TRAINING
from spt_core.model import SpecializedModel, default_policy, open_answerer
from spt_core.scoring import fitted_policy
from spt_core.task import find

NUM_ROUNDS = 5  # of calls: what a busy machine does to one, it seldom does to all
MIN_CALLS, MAX_CALLS, ROUND_S = 50, 500, 0.3
BATCH_ROWS = 256
TIMED_ROWS = 200


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FrontPoint:
    """A candidate as it was measured.

    `latency_ms` holds the median of single answers (`p50`) and their 99th percentile, the least and
    the greatest of NUM_ROUNDS rounds (`low`, `high`). `metric` is
    the task's on validation rows, `throughput_qps` records answered in a second, `memory_mb` is
    measured where it is limited. `refusal` says which limit is not kept.
    """

    name: str
    parts: Mapping[str, float]
    loss: float
    metric: float
    size_mb: float
    latency_ms: Mapping[str, float]
    throughput_qps: float = 0.0
    memory_mb: float | None = None
    refusal: str = ""
    chosen: bool = False

    def to_json(self) -> dict[str, Any]:
        """A JSON object with all fields."""
        return dataclasses.asdict(self)


class Selection(NamedTuple):
    """The model that is served, what it was chosen among, and what was not to be had, and why."""

    model: ExportedModel
    front: list[FrontPoint]
    notes: list[str]


def select(
    teacher: SpecializedModel,
    student: SpecializedModel,
    splits: Splits,
    limits: Limits | None = None,
    *,
    fresh: bool = False,
    on_candidate: Callable[[str], None] | None = None,
) -> Selection:
    """The candidate of least loss on validation rows among those that keep the limits.

    Of those that are as good, the smallest. InputError where none keeps them: it names the nearest;
    limits that nobody stated are the task's, which its report holds against what there is.
    """
    task = find(splits.task)
    stated = limits or Limits()
    budget = stated.of(task)
    table = splits.table("validation", limit=TIMED_ROWS)
    exports: list[ExportedModel] = []
    points: list[FrontPoint] = []
    notes: list[str] = []
    for candidate in TRAINING[task.family].candidates(teacher.artifact, student.artifact, splits):
        artifact = _artifact(candidate, teacher.artifact, student.artifact)
        for name, make in _VARIANTS.items():
            if name and not task.facts.has_int8:
                continue
            if on_candidate is not None:
                on_candidate(f"{candidate.name}{name}")
            try:
                exported = make(artifact, splits, fresh)
            except QualityError as error:
                notes.append(str(error))
                continue
            exports.append(exported)
            point = _measured(candidate, exported, table, stated, budget)
            if stated.int8_only and not name:
                refusal = "full precision, where INT8 is asked for"
                point = dataclasses.replace(point, refusal=refusal)
            points.append(dataclasses.replace(point, name=f"{candidate.name}{name}"))
    kept = [number for number, point in enumerate(points) if not point.refusal]
    if not kept and stated == Limits():
        kept = list(range(len(points)))  # nobody asked for what nothing here can keep
    if not kept:
        raise InputError(_sentence(points, budget))
    best = min(kept, key=lambda number: (points[number].loss, points[number].size_mb))
    points[best] = dataclasses.replace(points[best], chosen=True)
    return Selection(exports[best], points, notes)


def _full_precision(artifact: ModelArtifact, splits: Splits, fresh: bool) -> ExportedModel:
    del splits
    return export(artifact, fresh=fresh)


def _int8(artifact: ModelArtifact, splits: Splits, fresh: bool) -> ExportedModel:
    """QualityError where it is not as good on validation rows."""
    full = export(artifact)
    table = splits.table("validation", limit=QuantizeConfig().max_rows)
    return quantize(full, table, splits.label, fitted_policy(full, splits), fresh=fresh)


_VARIANTS: Mapping[str, Callable[[ModelArtifact, Splits, bool], ExportedModel]] = {
    "": _full_precision,
    " INT8": _int8,
}


def _artifact(
    candidate: Candidate, teacher: ModelArtifact, student: ModelArtifact
) -> ModelArtifact:
    """The candidate's artifact, beside the student's."""
    if not candidate.files:
        return student
    files = {**candidate.files, FACTS: student.read(FACTS)}
    name = digest([student.files, teacher.files, code_fingerprint(), candidate.name])
    uri = f"{student.uri.rpartition('/')[0]}/{candidate.role}-{name}"
    if has_manifest(uri):
        return load_artifact(uri)
    artifact = dataclasses.replace(
        student,
        uri=uri,
        role=candidate.role,
        files={file: write_bytes(f"{uri}/{file}", content) for file, content in files.items()},
        metrics={**candidate.metrics, **{f"{n}_weight": s for n, s in candidate.parts.items()}},
        licences=merge_licences([student.licences, teacher.licences]),
        parents=(student.uri, teacher.uri),
    )
    write_manifest(uri, json.loads(json.dumps(artifact.to_json())))
    return artifact


def _measured(
    candidate: Candidate, exported: ExportedModel, table: pa.Table, limits: Limits, budget: Budget
) -> FrontPoint:
    answerer = open_answerer(exported, default_policy(exported))
    fields = [f.name for f in exported.artifact.signature.fields if f.name in table.column_names]
    records = [json_record(record) for record in table.select(fields).to_pylist()]
    each_s = float(np.median(timed_calls(answerer.answer, records[:MIN_CALLS], MIN_CALLS)))
    num_calls = int(min(max(ROUND_S / each_s, MIN_CALLS), MAX_CALLS))
    rounds = [timed_calls(answerer.answer, records, num_calls) * 1000 for _ in range(NUM_ROUNDS)]
    tails = [float(np.quantile(times, 0.99)) for times in rounds]
    p50 = float(np.median(np.concatenate(rounds)))
    throughput = 1000 / p50
    if limits.in_batches:
        batches = [(records * (BATCH_ROWS // len(records) + 1))[:BATCH_ROWS]]
        seconds = timed_calls(answerer.answers, batches, MIN_CALLS)
        throughput = BATCH_ROWS / float(np.median(seconds))
    memory = None if budget.memory_mb is None else resident_bytes(exported) / 1e6
    point = FrontPoint(
        name=candidate.name,
        parts=candidate.parts,
        loss=candidate.loss,
        metric=candidate.metrics[f"validation_{answerer.task.metric}"],
        size_mb=exported.size_bytes / 1e6,
        latency_ms={
            "p50": p50,
            "low": min(tails),
            "high": max(tails),
        },
        throughput_qps=throughput,
        memory_mb=memory,
    )
    is_stated = limits.latency_ms is not None
    return dataclasses.replace(point, refusal=_refusal(point, budget, is_stated=is_stated))


def _refusal(point: FrontPoint, budget: Budget, *, is_stated: bool) -> str:
    """Which limit a candidate does not keep, in a few words.

    A latency that somebody asked for must be kept in every round; one that is the task's own is not
    broken by a machine that was busy in some.
    """
    if point.size_mb > budget.size_mb:
        return f"{point.size_mb:.2f} MB, of {budget.size_mb:g}"
    if budget.memory_mb is not None and (point.memory_mb or 0.0) > budget.memory_mb:
        return f"{point.memory_mb:.1f} MB of memory, of {budget.memory_mb:g}"
    if budget.throughput_qps is not None and point.throughput_qps < budget.throughput_qps:
        return f"{point.throughput_qps:,.0f} records a second, of {budget.throughput_qps:g}"
    low, high = point.latency_ms["low"], point.latency_ms["high"]
    if low > budget.latency_ms:
        return f"{low:.3f} ms at the 99th percentile, of {budget.latency_ms:g}"
    if is_stated and high > budget.latency_ms:
        return (
            f"{low:.3f} to {high:.3f} ms at the 99th percentile, of {budget.latency_ms:g}: the "
            "machine is too busy to tell"
        )
    return ""


def _sentence(points: list[FrontPoint], budget: Budget) -> str:
    stated = ", ".join(f"{k} {v:g}" for k, v in budget._asdict().items() if v is not None)
    refusals = "; ".join(
        f"{p.name} ({p.size_mb:.2f} MB, {p.latency_ms['high']:.3f} ms): {p.refusal}" for p in points
    )
    return f"limits must be kept by some candidate ({stated}), however: {refusals}"
