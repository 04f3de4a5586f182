"""What could be served of a table's teacher and student: the student, the forests, and both.

teacher + student -> what each says of held-out rows -> shares of least loss -> calibration
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from spt_core.artifacts import FACTS, ModelArtifact, lineage, load_artifact
from spt_core.data.folds import folds_of
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
from spt_core.families.tabular.boosters import Forest, open_forest
from spt_core.families.tabular.checkpoint import open_student
from spt_core.families.tabular.distilling import NUM_FOLDS
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
    """The student first; the best forests and the best blend of both on rows that trained neither.

    Shares are chosen by loss on validation rows, and calibrated on the calibration part; on the
    rows of folds too where the student has teachers of folds. Where forests and student do not
    speak of the same scores, as of ordered classes, or where a private teacher has no forests, the
    student is alone. With a share below 1 the
    forests are of so many of their first trees, and the student is left out.
    """
    return _Search(teacher, student, splits, share).candidates()


class _Scores(NamedTuple):
    """What each member says of rows [N, K], the rows' targets and weights."""

    members: Mapping[str, Floats]
    targets: Floats
    weights: Floats | None


class _Search:
    """What the members of all blends say of rows that trained none of them."""

    def __init__(
        self, teacher: ModelArtifact, student: ModelArtifact, splits: Splits, share: float
    ) -> None:
        self._student, self._task, self._share = student, find(splits.task), share
        self._target = target = target_from_json(json.loads(student.read(FACTS)))
        has_forests = all(file in teacher.files for file in FORESTS.values())
        is_mixable = target.output.margin_units(target) is not None
        self._forests = FORESTS if has_forests and is_mixable else {}
        is_value = target.head == "regression"
        self._quantiles = QUANTILE_FORESTS if self._forests and is_value else ()
        self._network = open_student(student)
        own = self._opened(teacher)
        self._files = {
            file: teacher.read(file) if share == 1.0 else forest.to_bytes()
            for file, forest in own.items()
        }
        self._validation = self._scores(splits, "validation", own)
        calibration = self._scores(splits, "calibration", own)
        folds = [
            self._scores(rows, "train", self._opened(other))
            for rows, other in _folds(teacher, student, splits)
        ]
        self._choosing = _joined([self._validation, *folds])
        self._calibrating = _joined([calibration, *folds])

    def _opened(self, teacher: ModelArtifact) -> dict[str, Forest]:
        """A teacher's forests by their files."""
        kinds = {file: kind for kind, file in self._forests.items()}
        files = (*kinds, *self._quantiles)
        own = {f: open_forest(kinds.get(f, "lightgbm"), teacher.read(f)) for f in files}
        return own if self._share == 1.0 else {f: own[f].first(self._share) for f in own}

    def _scores(self, splits: Splits, part: Part, forests: Mapping[str, Forest]) -> _Scores:
        target, signature = self._target, self._student.signature
        features, targets = encoded_arrays(splits, part, signature, target, limit=HELD_OUT_ROWS)
        members = {STUDENT: student_scores(self._network, features)}
        of_files = {f: forest_scores(forest, features, target) for f, forest in forests.items()}
        for kind, file in self._forests.items():
            members[kind] = np.hstack([of_files[f] for f in (file, *self._quantiles)])
        weights = row_weights(splits, part, limit=HELD_OUT_ROWS)
        return _Scores(members, targets.astype(np.float64), weights)

    def candidates(self) -> list[Candidate]:
        """Those that differ."""
        student = {STUDENT: 1.0}
        loss = self._loss(student, self._validation)
        alone = Candidate(STUDENT, "student", loss, self._student.metrics, student, {})
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
        """The shares of least loss, in steps of 1 / NUM_STEPS."""
        names = list(self._choosing.members)
        choices = [
            [round(fixed[name] * NUM_STEPS)] if name in fixed else range(NUM_STEPS + 1)
            for name in names
        ]
        tries = (
            {name: count / NUM_STEPS for name, count in zip(names, counts, strict=True)}
            for counts in itertools.product(*choices)
            if sum(counts) == NUM_STEPS
        )
        return min(tries, key=lambda shares: self._loss(shares, self._choosing))

    def _loss(self, shares: Mapping[str, float], rows: _Scores) -> float:
        target, output = self._target, self._target.output
        scores = shaped(mixed(rows.members, shares), target)
        return output.loss(rows.targets, output.soft(scores, target), rows.weights)

    def _candidate(self, name: str, shares: Mapping[str, float]) -> Candidate:
        target, validation = self._target, self._validation
        calibration = self._calibration(shares)
        scores = calibrated(mixed(validation.members, shares), calibration, target)
        metrics = validation_metrics(
            self._task, target, validation.targets, shaped(scores, target), validation.weights
        )
        files = {member.file: self._files[member.file] for member in members_of(shares, target)}
        if shares[STUDENT]:
            files |= {
                name: self._student.read(name) for name in self._student.files if name != FACTS
            }
        content = {"weights": dict(shares), "calibration": calibration}
        files[BLEND] = json.dumps(content).encode()
        parts = {name: share for name, share in shares.items() if share}
        return Candidate(name, "blend", self._loss(shares, validation), metrics, parts, files)

    def _calibration(self, shares: Mapping[str, float]) -> list[Any]:
        target, rows = self._target, self._calibrating
        if target.head == "regression":  # scores have the label's units already
            size = target.output.num_outputs(target, is_student=True)
            return [[1.0] * size, [0.0] * size]
        scores = shaped(mixed(rows.members, shares), target)
        return target.output.calibration(scores, rows.targets, target, rows.weights)


def _folds(
    teacher: ModelArtifact, student: ModelArtifact, splits: Splits
) -> list[tuple[Splits, ModelArtifact]]:
    """Training rows in folds, each with a teacher that has not learnt from them."""
    num_folds = int(student.metrics.get(NUM_FOLDS, 0))
    if not num_folds:
        return []
    of_folds = dict.fromkeys(each.uri for each in lineage(student) if each.twin == teacher.uri)
    folds = folds_of(splits, num_folds, student.config["output_dir"])
    return [
        (fold.answered, load_artifact(uri))
        for fold, uri in zip((f for f in folds if f.learnt is not None), of_folds, strict=True)
    ]


def _joined(rows: Sequence[_Scores]) -> _Scores:
    weights = [each.weights for each in rows if each.weights is not None]
    return _Scores(
        {name: np.concatenate([each.members[name] for each in rows]) for name in rows[0].members},
        np.concatenate([each.targets for each in rows]),
        np.concatenate(weights) if weights else None,
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
