"""Record -> answer: the one path of `model.answer(...)`, batch scoring and HTTP.

record -> Predictor (the family's) -> AnswerHead + policy -> Judgement -> the task's words
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from spt_core.errors import InputError
from spt_core.heads import HEADS
from spt_core.heads.base import Floats, Prediction, Scores, Truth
from spt_core.heads.outcomes import Outcomes, groups_of, weights_of
from spt_core.judgement import Judgement, seen_in
from spt_core.overlays import overlay
from spt_core.policy import Policy
from spt_core.task import Task

MAX_OVERLAY_PX = 1024  # of the longer side, in an answer


class Cautions(NamedTuple):
    """Fields of requests that were answered all the same, by what training rows never had.

    `missing` were always there, `outside` are numbers beyond all others, `unseen` are categories.
    """

    missing: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


class Predictor(Protocol):
    """An opened model: reads records, scores them, says why. Thread-safe, holds the weights.

    What `read` and `encode` return is the family's own and goes nowhere but into the other two.
    """

    classes: tuple[str, ...]  # that it tells apart; none of decisions and numbers

    def read(self, record: Mapping[str, Any]) -> Any:
        """One request, encoded; raises InputError with one sentence about the first bad field."""
        ...

    def encode(self, table: pa.Table) -> Sequence[Any]:
        """Typed rows (see data/read.py), encoded."""
        ...

    def predict(self, rows: Sequence[Any]) -> Sequence[Scores]:
        """The scores of each row."""
        ...

    def explain(self, rows: Sequence[Any]) -> Iterable[Prediction]:
        """The scores of each row, with why."""
        ...

    def cautions(self, rows: Sequence[Any]) -> Cautions:
        """What of the rows was not so in any training row."""
        ...


class Answerer:
    """Everything between a record and its answer, looked up once. Thread-safe."""

    def __init__(self, task: Task, predictor: Predictor, policy: Policy) -> None:
        self.task, self.predictor, self.policy = task, predictor, policy
        self.head = HEADS[task.head]
        self.classes = predictor.classes

    def answer(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one record; raises InputError with one sentence about a bad one."""
        return self.task.respond(self.judge(record))

    def judge(self, record: Mapping[str, Any]) -> Judgement:
        """What is said of one record, before the task words it."""
        return self.judged(self.predictor.read(record))

    def judged(self, row: Any) -> Judgement:
        """What is said of one record that the predictor has read."""
        (prediction,) = self.predictor.explain((row,))
        return self.head.judgement(self.task, self.classes, prediction, self.policy)

    def answers(self, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The answers to several records; the error names the bad record, before any is run."""
        return [answer for _, answer in self._worded(self._rows(records))]

    def answers_with_cautions(
        self, records: Sequence[Mapping[str, Any]]
    ) -> tuple[list[dict[str, Any]], Cautions]:
        """The answers, and what of the records no training row had."""
        rows = self._rows(records)
        return [answer for _, answer in self._worded(rows)], self.predictor.cautions(rows)

    def answer_with_cautions(self, record: Mapping[str, Any]) -> tuple[dict[str, Any], Cautions]:
        """The same of one record."""
        row = self.predictor.read(record)
        return self.task.respond(self.judged(row)), self.predictor.cautions((row,))

    def overlaid(self, record: Mapping[str, Any]) -> tuple[dict[str, Any], Cautions]:
        """The answer to one record that is an image, with `overlay`: what it rests on, drawn.

        `png` is the image in base64 (overlays.py), its longer side MAX_OVERLAY_PX at most; `of`
        the class whose places it shows, of a yes or no the label's name.
        """
        subject = self.task.subject
        if subject is None or subject.kind != "image":
            raise InputError(
                f"an overlay is drawn of images, however: {self.task.path} is asked about "
                f"{'records' if subject is None else f'a {subject.kind}'}"
            )
        row = self.predictor.read(record)
        judgement = self.judged(row)
        label, attention = seen_in(judgement)
        longest_px = min(max(attention.width_px, attention.height_px), MAX_OVERLAY_PX)
        drawn = overlay(record[subject.name], attention.effects, longest_px=longest_px)
        shown = {"of": label or self.task.label, "png": base64.b64encode(drawn).decode()}
        answer = {**self.task.respond(judgement), "overlay": shown}
        return answer, self.predictor.cautions((row,))

    def _rows(self, records: Sequence[Mapping[str, Any]]) -> list[Any]:
        rows: list[Any] = []
        for number, record in enumerate(records):
            try:
                rows.append(self.predictor.read(record))
            except InputError as error:
                raise InputError(f"record {number}: {error}") from error
        return rows

    def score(self, table: pa.Table) -> Floats:
        """One figure [B] of typed rows: the head's headline."""
        rows = self.predictor.predict(self.predictor.encode(table))
        return np.array([self.head.headline(self.task, self.classes, row) for row in rows])

    def table(self, table: pa.Table) -> tuple[Floats, list[dict[str, Any]]]:
        """Headlines [B] and answers of typed rows, for batch scoring."""
        pairs = self._worded(self.predictor.encode(table))
        answers = list(pairs)
        return np.array([score for score, _ in answers]), [answer for _, answer in answers]

    def outputs(self, record: Mapping[str, Any]) -> Floats:
        """Probabilities or values [N, K] of one record's items."""
        (scores,) = self.predictor.predict((self.predictor.read(record),))
        return self.head.outputs(scores.values)

    def outcomes(
        self,
        table: pa.Table,
        label: str,
        *,
        group: str | None = None,
        weight: str | None = None,
    ) -> Outcomes:
        """What is true of labelled rows beside what is said of them, under the policy.

        `group` names the column of documents, if it is not the task's, `weight` that of how many
        rows each stands for.
        """
        groups = groups_of(table, group or self.task.group)
        scores = self.predictor.predict(self.predictor.encode(table))
        truth = Truth(table, label, groups)
        of = self.head.outcomes(self.task, self.classes, truth, scores, self.policy)
        return of._replace(weights=weights_of(table, weight))

    def _worded(self, rows: Sequence[Any]) -> Iterable[tuple[float, dict[str, Any]]]:
        task, classes, head = self.task, self.classes, self.head
        for prediction in self.predictor.explain(rows):
            judgement = head.judgement(task, classes, prediction, self.policy)
            yield head.headline(task, classes, prediction.scores), task.respond(judgement)
