"""Of a teacher and its students, the best model that keeps the limits.

teacher + students -> candidates -> exported, measured -> those within limits -> the one to serve
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from spt_core.artifacts import (
    FACTS,
    ExportedModel,
    ModelArtifact,
    code_fingerprint,
    digest,
    merge_licences,
    write_derived,
)
from spt_core.compression.limits import Limits
from spt_core.compression.measured import FrontPoint, measured, over_budget
from spt_core.compression.quantize import QuantizeConfig, quantize
from spt_core.data.splits import Splits
from spt_core.errors import InputError, QualityError
from spt_core.export import export
from spt_core.families.candidate import Candidate
from spt_core.families.training import TRAINING
from spt_core.heads import HEADS
from spt_core.model import SpecializedModel
from spt_core.scoring import fitted_policy
from spt_core.task import Task, find

Aim = Literal["quality", "latency", "memory", "throughput"]
# Of the best metric there is, what may be given up for another aim where nobody says how much.
MIN_SHARE = 0.99
# What keeps limits that nobody stated must have so much of the best metric to be served: a busy
# machine's milliseconds are no reason to serve a model that is of no use.
SHARE_UNASKED = 0.9
SHARES = (0.5, 0.25, 0.125)  # of the trees, where all of them are too many
_AIMS: Mapping[Aim, Callable[[FrontPoint], float]] = {
    "quality": lambda point: point.loss,
    "latency": lambda point: point.latency_ms["p50"],
    "memory": lambda point: point.size_mb if point.memory_mb is None else point.memory_mb,
    "throughput": lambda point: -point.throughput_qps,
}


class LimitError(InputError):
    """No candidate keeps the limits."""


class Selection(NamedTuple):
    """The model that is served, what it was chosen among, and what was not to be had, and why."""

    model: ExportedModel
    front: list[FrontPoint]
    notes: list[str]


def select(
    teacher: SpecializedModel,
    students: Mapping[str, SpecializedModel],
    splits: Splits,
    limits: Limits | None = None,
    *,
    aim: Aim = "quality",
    metric: str | None = None,
    with_int8: bool = True,
    fresh: bool = False,
    on_candidate: Callable[[str], None] | None = None,
) -> Selection:
    """The best candidate for the aim among those that keep the limits; of equals, the smallest.

    LimitError where none keeps them: it names the nearest; limits that nobody stated are the
    task's, which its report holds against what there is, and which give way, with a note, where
    they would cost more than a tenth of the task's metric. Quality is the least loss on validation
    rows; for another aim, what keeps MIN_SHARE of the best metric within limits is as good,
    unless the limits say what it must be.

    Args:
        teacher: the one that taught all of them.
        students: by what tells them apart, "" where there is one.
        splits: the rows of them all.
        limits: None takes the task's.
        aim: what the served model is to be best at.
        metric: quality is this metric on validation rows; None takes the loss.
        with_int8: whether the families that have INT8 offer it.
        fresh: export again what is exported.
        on_candidate: called with the name of each candidate before it is exported.
    """
    work = _Selecting(teacher, splits, limits or Limits(), with_int8, fresh, on_candidate)
    offered: list[FrontPoint] = []
    for number, (name, student) in enumerate(students.items()):
        offered += work.offer(student, name, with_forests=number == 0)
    for share in SHARES:
        if not work.is_too_much(offered):
            break
        name = work.best_student()
        offered = work.offer(students[name], name, share=share)
    return work.chosen(aim, metric)


class _Selecting:
    """The candidates so far."""

    def __init__(
        self,
        teacher: SpecializedModel,
        splits: Splits,
        limits: Limits,
        with_int8: bool,
        fresh: bool,
        on_candidate: Callable[[str], None] | None,
    ) -> None:
        self._teacher, self._splits, self._limits = teacher.artifact, splits, limits
        self._task, self._fresh = find(splits.task), fresh
        self._variants = _VARIANTS if self._task.facts.has_int8 and with_int8 else _FULL
        self._on_candidate = on_candidate
        self._exports: list[ExportedModel] = []
        self._points: list[FrontPoint] = []
        self._alone: dict[str, FrontPoint] = {}  # students as they are
        self._notes: list[str] = []

    def offer(
        self, student: SpecializedModel, name: str, *, share: float = 1.0, with_forests: bool = True
    ) -> list[FrontPoint]:
        """Export and measure what a student makes possible."""
        num_before, offered = len(self._points), TRAINING[self._task.family].candidates
        for candidate in offered(self._teacher, student.artifact, self._splits, share):
            if "student" in candidate.parts:
                self._measure(candidate, student, name)
            elif with_forests:  # they are the teacher's, whatever the student
                self._measure(candidate, student, "")
        return self._points[num_before:]

    def _measure(self, candidate: Candidate, student: SpecializedModel, suffix: str) -> None:
        artifact = _artifact(candidate, self._teacher, student.artifact)
        for variant, make in self._variants.items():
            name = f"{candidate.name}{variant} {suffix}".strip()
            if self._on_candidate is not None:
                self._on_candidate(name)
            try:
                exported = make(artifact, self._splits, self._fresh)
            except QualityError as error:
                self._notes.append(str(error))
                continue
            point = measured(candidate, exported, self._splits, self._limits, name)
            if self._limits.int8_only and not variant:
                refusal = "full precision, where INT8 is asked for"
                point = dataclasses.replace(point, refusal=refusal)
            if set(candidate.parts) == {"student"}:
                self._alone.setdefault(suffix, point)
            self._exports.append(exported)
            self._points.append(point)

    def is_too_much(self, offered: Sequence[FrontPoint]) -> bool:
        """Whether something with trees takes more than was stated: with fewer it may not."""
        limits, with_trees = self._limits, [p for p in offered if set(p.parts) != {"student"}]
        return limits != Limits() and any(over_budget(p, limits, self._task) for p in with_trees)

    def best_student(self) -> str:
        """The one of least loss, of those within limits if there are some."""
        of = self._alone
        return min(of, key=lambda name: (bool(of[name].refusal), of[name].loss))

    def chosen(self, aim: Aim, metric: str | None) -> Selection:
        """The candidate to serve."""
        points = self._points
        kept = [number for number, point in enumerate(points) if not point.refusal]
        if self._limits == Limits():
            kept = self._useful(kept)
        if not kept:
            raise LimitError(limits_sentence(points, self._limits, self._task))
        if aim != "quality" and not self._limits.quality:
            kept = self._good(kept, metric or self._task.metric)
        key = _AIMS[aim]
        if aim == "quality" and metric is not None:
            sign = HEADS[self._task.head].metrics[metric].sign
            key = functools.partial(_worse, metric, sign)
        best = min(kept, key=lambda number: (key(points[number]), points[number].size_mb))
        points[best] = dataclasses.replace(points[best], chosen=True)
        return Selection(self._exports[best], points, self._notes)

    def _useful(self, kept: list[int]) -> list[int]:
        """Those within the task's limits; of what nobody asked for, all where they are no use."""
        everything, metric = list(range(len(self._points))), self._task.metric
        good = self._good(everything, metric, SHARE_UNASKED)
        if kept and (not good or set(kept) & set(good)):  # none is good where the best is no number
            return kept
        if kept:
            self._notes.append(
                f"what keeps the task's limits, which nobody stated, has less than "
                f"{SHARE_UNASKED:.0%} of the best {metric}: the best is served, beyond them"
            )
        return everything

    def _good(self, kept: list[int], metric: str, share: float = MIN_SHARE) -> list[int]:
        """Those whose metric is at most by 1 - share worse than the best of them."""
        sign = HEADS[self._task.head].metrics[metric].sign
        values = {number: sign * self._points[number].metrics[metric] for number in kept}
        best = max(values.values())
        return [n for n in kept if values[n] >= best - (1.0 - share) * abs(best)]


def _worse(metric: str, sign: float, point: FrontPoint) -> float:
    return -sign * point.metrics[metric]


def _full_precision(artifact: ModelArtifact, splits: Splits, fresh: bool) -> ExportedModel:
    del splits
    return export(artifact, fresh=fresh)


def _int8(artifact: ModelArtifact, splits: Splits, fresh: bool) -> ExportedModel:
    """QualityError where it is not as good on validation rows."""
    full = export(artifact)
    table = splits.table("validation", limit=QuantizeConfig().max_rows)
    return quantize(full, table, splits.label, fitted_policy(full, splits), fresh=fresh)


_FULL: Mapping[str, Callable[[ModelArtifact, Splits, bool], ExportedModel]] = {"": _full_precision}
_VARIANTS = {**_FULL, " INT8": _int8}


def _artifact(
    candidate: Candidate, teacher: ModelArtifact, student: ModelArtifact
) -> ModelArtifact:
    """The candidate's artifact, beside the student's."""
    if not candidate.files:
        return student
    files = {**candidate.files, FACTS: student.read(FACTS)}
    name = digest([student.files, teacher.files, code_fingerprint(), candidate.name])
    uri = f"{student.uri.rpartition('/')[0]}/{candidate.role}-{name}"
    return write_derived(
        student,
        uri,
        files,
        role=candidate.role,
        metrics={**candidate.metrics, **{f"{n}_weight": s for n, s in candidate.parts.items()}},
        licences=merge_licences([student.licences, teacher.licences]),
        parents=(student.uri, teacher.uri),
    )


def limits_sentence(points: list[FrontPoint], limits: Limits, task: Task) -> str:
    """What no candidate keeps, and what each would take."""
    budget = limits.of(task)
    stated = {k: v for k, v in budget._asdict().items() if v is not None} | dict(limits.quality)
    limits_text = ", ".join(f"{name} {value:g}" for name, value in stated.items())
    refusals = "; ".join(
        f"{p.name} ({p.size_mb:.2f} MB, {p.latency_ms['high']:.3f} ms): {p.refusal}" for p in points
    )
    return f"limits must be kept by some candidate ({limits_text}), however: {refusals}"
