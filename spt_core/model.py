"""SpecializedModel: a trained or exported model that answers records as its task words it.

record -> Encoder -> Runtime -> Judgement (probability, policy, reasons) -> the task's answer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.artifacts import ExportedModel, ModelArtifact
from spt_core.encoder import Encoder, flatten
from spt_core.errors import InputError
from spt_core.policy import DecisionPolicy, fit_policy
from spt_core.runtime.base import Runtime
from spt_core.runtime.onnx import EXPLAIN_GRAPH, SCORE_GRAPH, OnnxRuntime
from spt_core.signature import Signature
from spt_core.task import Judgement, Reason, Task, find


class Answerer:
    """Everything between a record and its answer, looked up once. Thread-safe.

    This is the one path for `model.answer(...)`, batch scoring and HTTP.
    """

    def __init__(
        self, task: Task, signature: Signature, runtime: Runtime, policy: DecisionPolicy
    ) -> None:
        self.task, self.signature, self.policy = task, signature, policy
        self._encoder = Encoder(signature)
        self.runtime = runtime
        names = list(dict.fromkeys(column.field for column in signature.columns))
        self._fields = [
            (name, [i for i, c in enumerate(signature.columns) if c.field == name])
            for name in names
        ]

    def answer(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one record; raises InputError with one sentence about a bad one."""
        flat = flatten(record)
        probabilities, effects = self.runtime.explain(self._encoder.record(flat))
        return self.task.respond(self._judge(flat, float(probabilities[0]), effects[0].tolist()))

    def answers(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The answers to several records, scored as one batch; the error names the bad record."""
        flat: list[dict[str, Any]] = []
        rows: list[NDArray[np.float32]] = []
        for number, record in enumerate(records):
            try:
                flat.append(flatten(record))
                rows.append(self._encoder.record(flat[-1]))
            except InputError as error:
                raise InputError(f"record {number}: {error}") from error
        probabilities, effects = self.runtime.explain(np.concatenate(rows))
        return [
            self.task.respond(self._judge(record, float(p), e.tolist()))
            for record, p, e in zip(flat, probabilities, effects, strict=True)
        ]

    def score(self, table: pa.Table) -> NDArray[np.floating[Any]]:
        """Calibrated probabilities [B] of typed rows."""
        return self.runtime.score(self._encoder.table(table))

    def table(self, table: pa.Table) -> tuple[NDArray[np.floating[Any]], list[dict[str, Any]]]:
        """Probabilities [B] and answers of typed rows, for batch scoring."""
        probabilities, effects = self.runtime.explain(self._encoder.table(table))
        names = [name for name, _ in self._fields if name in table.column_names]
        records = table.select(names).to_pylist()
        answers = [
            self.task.respond(self._judge(record, float(p), e.tolist()))
            for record, p, e in zip(records, probabilities, effects, strict=True)
        ]
        return probabilities, answers

    def _judge(
        self, record: Mapping[str, Any], probability: float, effects: list[float]
    ) -> Judgement:
        reasons = [
            Reason(
                name,
                record.get(name),
                effects[at[0]] if len(at) == 1 else sum(effects[i] for i in at),
            )
            for name, at in self._fields
        ]
        reasons.sort(key=_strength, reverse=True)
        return Judgement(
            probability,
            self.policy.recommend(probability),
            max(probability, 1.0 - probability),
            tuple(reasons),
            self.policy,
        )


class SpecializedModel:
    """What training and export return; answers to exactly the verb that its task declares.

    Opens its weights on first use. `reused` says that a finished run was found instead of trained.
    """

    def __init__(
        self,
        source: ModelArtifact | ExportedModel,
        *,
        policy: DecisionPolicy | None = None,
        reused: bool = False,
    ) -> None:
        self.source = source
        self.artifact = source.artifact if isinstance(source, ExportedModel) else source
        self.task = find(self.artifact.task)
        self.policy = policy or default_policy(self.task)
        self.reused = reused
        self._answerer: Answerer | None = None

    def answer(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The task's answer to one record."""
        return self.open().answer(record)

    def score(self, table: pa.Table) -> NDArray[np.floating[Any]]:
        """Calibrated probabilities [B] of typed rows."""
        return self.open().score(table)

    def open(self) -> Answerer:
        """The answering path, its weights loaded."""
        if self._answerer is None:
            runtime = open_runtime(self.source)
            self._answerer = Answerer(self.task, self.artifact.signature, runtime, self.policy)
        return self._answerer

    def __getattr__(self, name: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        """The task's verb, such as `detect_fraud`."""
        task = self.__dict__.get("task")
        if task is not None and name == task.verb:
            return self.answer
        verb = "" if task is None else f"; this model answers to {task.verb!r}"
        raise AttributeError(f"SpecializedModel has no attribute {name!r}{verb}")


def open_runtime(source: ModelArtifact | ExportedModel) -> Runtime:
    """The runtime for a model's files."""
    if isinstance(source, ExportedModel):
        # Only here: training workers import this module too, and have no use for a compiler.
        from spt_core.runtime.kernel import KERNEL, KernelRuntime, kernel_from_bytes

        batches = OnnxRuntime(source.read(SCORE_GRAPH), source.read(EXPLAIN_GRAPH))
        return KernelRuntime(kernel_from_bytes(source.read(KERNEL)), batches)
    # Only here: a serving replica would pay seconds and 300 MB for a torch that it never uses.
    from spt_core.runtime.pytorch import StudentRuntime, TeacherRuntime

    return TeacherRuntime(source) if source.role == "teacher" else StudentRuntime(source)


def default_policy(task: Task) -> DecisionPolicy:
    """The policy of a task's stated costs alone, before held-out rows say what reviews it makes."""
    return fit_policy(
        task.costs,
        np.empty(0),
        reason_codes=task.reason_codes,
        conditions=task.conditions,
    )


def _strength(reason: Reason) -> float:
    return abs(reason.effect)
