"""Records of a table's fields -> answers.

record -> Encoder -> Runtime -> Judgement (probability, policy, reasons) -> the task's answer
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.encoder import Encoder, flatten
from spt_core.errors import InputError
from spt_core.policy import DecisionPolicy
from spt_core.runtime.base import Runtime
from spt_core.signature import Signature
from spt_core.task import Judgement, Reason, Task


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


def _strength(reason: Reason) -> float:
    return abs(reason.effect)
