"""What could be served of a table's teacher and student: the student, the forests, and both.

teacher + student -> what each says of validation rows -> shares of least loss -> calibration
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from spt_core.artifacts import FACTS, ModelArtifact
from spt_core.data.partition import Part
from spt_core.data.splits import Splits
from spt_core.families.candidate import Candidate
from spt_core.families.tabular.blending import (
    STUDENT,
    calibrated,
    forest_scores,
    members_of,
    mixed,
    shaped,
    student_scores,
)
from spt_core.families.tabular.boosters import open_forest
from spt_core.families.tabular.checkpoint import open_student
from spt_core.families.tabular.ensemble import BLEND, FORESTS, QUANTILE_FORESTS
from spt_core.families.tabular.outputs import target_from_json
from spt_core.families.tabular.rows import encoded_arrays, row_weights
from spt_core.families.tabular.teaching import HELD_OUT_ROWS, validation_metrics
from spt_core.heads.base import Floats
from spt_core.task import find

NUM_STEPS = 20  # of a share: finer ones are within the noise of validation rows


def table_candidates(
    teacher: ModelArtifact, student: ModelArtifact, splits: Splits, share: float = 1.0
) -> list[Candidate]:
    """The student first; the best forests and the best blend of both on validation rows.

    Weights are chosen by loss there, and calibrated on the calibration part. Where forests and
    student do not speak of the same scores, as of ordered classes, the student is alone. With a
    share below 1 the forests are of so many of their first trees, and the student is left out.
    """
    return _Search(teacher, student, splits, share).candidates()


class _Search:
    """What the members of all blends say of the held-out rows."""

    def __init__(
        self, teacher: ModelArtifact, student: ModelArtifact, splits: Splits, share: float
    ) -> None:
        self._student, self._task, self._share = student, find(splits.task), share
        self._target = target = target_from_json(json.loads(student.read(FACTS)))
        network = open_student(student)
        forests = {} if target.output.margin_units(target) is None else FORESTS
        quantiles = QUANTILE_FORESTS if forests and target.head == "regression" else ()
        self._files = {file: teacher.read(file) for file in (*forests.values(), *quantiles)}
        kinds = {file: kind for kind, file in forests.items()}
        opened = {
            file: open_forest(kinds.get(file, "lightgbm"), content)
            for file, content in self._files.items()
        }
        if share < 1.0:
            opened = {file: forest.first(share) for file, forest in opened.items()}
            self._files = {file: forest.to_bytes() for file, forest in opened.items()}
        self._scores: dict[Part, dict[str, Floats]] = {}
        self._targets: dict[Part, Floats] = {}
        self._weights: dict[Part, Floats | None] = {}
        for part in ("validation", "calibration"):
            features, targets = encoded_arrays(
                splits, part, student.signature, target, limit=HELD_OUT_ROWS
            )
            self._targets[part] = targets.astype(np.float64)
            self._weights[part] = row_weights(splits, part, limit=HELD_OUT_ROWS)
            scores = {STUDENT: student_scores(network, features)}
            of_forests = {f: forest_scores(opened[f], features, target) for f in opened}
            for kind, file in forests.items():
                scores[kind] = np.hstack([of_forests[f] for f in (file, *quantiles)])
            self._scores[part] = scores

    def candidates(self) -> list[Candidate]:
        """Those that differ."""
        student = {STUDENT: 1.0}
        alone = Candidate(
            STUDENT, "student", self._loss(student), self._student.metrics, student, {}
        )
        offered = [alone] if self._share == 1.0 else []
        if not self._files:
            return offered
        trees = "" if self._share == 1.0 else f" of {self._share:.0%} of the trees"
        forests, blend = self._best({STUDENT: 0.0}), self._best({})
        offered.append(self._candidate(f"forests{trees}", forests))
        if blend[STUDENT] not in (0.0, 1.0):
            offered.append(self._candidate(f"blend{trees}", blend))
        return offered

    def _best(self, fixed: Mapping[str, float]) -> dict[str, float]:
        """The shares of least loss on validation rows, in steps of 1 / NUM_STEPS."""
        names = list(self._scores["validation"])
        choices = [
            [round(fixed[name] * NUM_STEPS)] if name in fixed else range(NUM_STEPS + 1)
            for name in names
        ]
        tries = (
            {name: count / NUM_STEPS for name, count in zip(names, counts, strict=True)}
            for counts in itertools.product(*choices)
            if sum(counts) == NUM_STEPS
        )
        return min(tries, key=self._loss)

    def _loss(self, shares: Mapping[str, float]) -> float:
        target, output = self._target, self._target.output
        scores = shaped(mixed(self._scores["validation"], shares), target)
        return output.loss(
            self._targets["validation"], output.soft(scores, target), self._weights["validation"]
        )

    def _candidate(self, name: str, shares: Mapping[str, float]) -> Candidate:
        target = self._target
        calibration = self._calibration(shares)
        scores = calibrated(mixed(self._scores["validation"], shares), calibration, target)
        metrics = validation_metrics(
            self._task,
            target,
            self._targets["validation"],
            shaped(scores, target),
            self._weights["validation"],
        )
        files = {member.file: self._files[member.file] for member in members_of(shares, target)}
        if shares[STUDENT]:
            files |= {
                name: self._student.read(name) for name in self._student.files if name != FACTS
            }
        content = {"weights": dict(shares), "calibration": calibration}
        files[BLEND] = json.dumps(content).encode()
        parts = {name: share for name, share in shares.items() if share}
        return Candidate(name, "blend", self._loss(shares), metrics, parts, files)

    def _calibration(self, shares: Mapping[str, float]) -> list[Any]:
        target = self._target
        if target.head == "regression":  # scores have the label's units already
            size = target.output.num_outputs(target, is_student=True)
            return [[1.0] * size, [0.0] * size]
        return target.output.calibration(
            shaped(mixed(self._scores["calibration"], shares), target),
            self._targets["calibration"],
            target,
            self._weights["calibration"],
        )


def refitted_files(
    twin: ModelArtifact, teacher: ModelArtifact, student: ModelArtifact
) -> dict[str, bytes]:
    """The files of a blend like its twin, of a teacher and a student that were refitted.

    Weights and calibration are the twin's, forests have as many trees as its own.
    """
    kinds = {file: kind for kind, file in FORESTS.items()}
    files = {BLEND: twin.read(BLEND)}
    for name in twin.files:
        if name in kinds or name in QUANTILE_FORESTS:
            kind = kinds.get(name, "lightgbm")
            share = _num_trees(kind, twin.read(name)) / _num_trees(kind, teacher.read(name))
            files[name] = open_forest(kind, teacher.read(name)).first(min(share, 1.0)).to_bytes()
        elif name not in (BLEND, FACTS):
            files[name] = student.read(name)
    return files


def _num_trees(kind: str, content: bytes) -> int:
    return open_forest(kind, content).num_rounds
