"""The student of a table: rows with swapped cells, labelled by the teacher ensemble.

Splits + teacher -> rows with swapped cells and soft labels (Parquet) -> Ray Train -> files

A private teacher labels artificial rows in their place: its student learns from no training row.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights
from safetensors.torch import save as save_weights

from spt_core.artifacts import (
    FACTS,
    WEIGHTS,
    ModelArtifact,
    Role,
    as_uri,
    has_manifest,
    parquet_files,
    read_manifest,
    remove,
    write_manifest,
)
from spt_core.data.partition import Part
from spt_core.data.read import Dataset, read_files
from spt_core.data.splits import Splits
from spt_core.errors import InputError
from spt_core.families.tabular.config import TabularConfig
from spt_core.families.tabular.drawing import draw_rows
from spt_core.families.tabular.ensemble import BLEND, MEMBER_SETTINGS
from spt_core.families.tabular.learner import LEARNER, SCORING_ROWS, row_bytes
from spt_core.families.tabular.network import StudentNetwork
from spt_core.families.tabular.outputs import Target, target_from_json, unweighted
from spt_core.families.tabular.private_teaching import student_facts
from spt_core.families.tabular.rows import (
    drawn_dataset,
    encoded_arrays,
    encoded_dataset,
    row_weights,
)
from spt_core.families.tabular.settings import REFERENCE
from spt_core.families.tabular.softening import soften
from spt_core.families.tabular.teaching import (
    FACT_ROWS,
    HELD_OUT_ROWS,
    reference_files,
    validation_metrics,
)
from spt_core.fitting.lesson import Lesson
from spt_core.fitting.plan import Trained, TrainingRun
from spt_core.heads.base import Floats
from spt_core.task import Task, find

SOFT = "soft"
NUM_FOLDS = "num_folds"  # of its teachers, among a student's figures
SMALLEST_WIDTH = 4  # of a student's layer
BASELINE_ROWS = 10_000  # artificial ones


class TableDistilling:
    """The FitPlan of a student; rows that are labelled already are used again."""

    role: Role = "student"
    scratch: Sequence[str] = (SOFT,)

    def __init__(self, lesson: Lesson) -> None:
        if lesson.unlabelled is not None:
            raise InputError(
                "unlabelled must be left alone for the tabular family, whose students learn from "
                "copies of their own rows, however: it is set"
            )
        if lesson.teacher.privacy and lesson.hard_label_weight:
            raise InputError(
                "hard_label_weight must be 0 for the student of a private teacher, who sees no "
                f"label of a training row, however: it is {lesson.hard_label_weight}"
            )
        self._lesson, self._task = lesson, find(lesson.splits.task)
        self.identity: Sequence[Any] = lesson.identity

    def prepare(self, name: str) -> TrainingRun:
        """The student of the teacher's facts; the teacher labels its rows."""
        lesson, run = self._lesson, self.draft()
        self._soft = lesson.soft or f"{as_uri(lesson.training.output_dir)}/runs/{name}-{SOFT}"
        if not has_manifest(self._soft):
            _write_soft_rows(lesson, target_from_json(run.facts), self._soft)
        return run

    def draft(self) -> TrainingRun:
        """The student without its rows."""
        lesson, teacher = self._lesson, self._lesson.teacher
        facts = json.loads(teacher.read(FACTS))
        self._run = TrainingRun(
            learner=LEARNER,
            signature=teacher.signature,
            role=self.role,
            config=lesson.training,
            facts=facts,
            num_rows=lesson.splits.num_rows["train"] * (lesson.num_copies + 1),
            row_bytes=row_bytes(len(teacher.signature.columns), _num_outputs(facts)),
            scoring_rows=SCORING_ROWS,
            head=self._task.head,
        )
        self._run = _sized(self._run, lesson)
        return self._run

    def rows(self, part: Literal["train", "validation"]) -> Dataset:
        """The rows that the teacher labelled, or encoded validation rows."""
        if part == "train":
            folders = (f"{self._soft}/{name}" for name in read_manifest(self._soft)["folders"])
            return read_files([uri for folder in folders for uri in parquet_files(folder)])
        lesson, target = self._lesson, target_from_json(self._run.facts)
        return encoded_dataset(lesson.splits, part, lesson.teacher.signature, target)

    def finish(self, weights: bytes) -> Trained:
        """Calibrated on the calibration part, with what stands for nothing from training rows."""
        splits, twin = self._lesson.splits, self._lesson.twin
        if twin is None:
            files, metrics = _finish(self._task, self._run, self._lesson, weights)
        else:
            files, metrics = _finish_like(twin, self._run, splits, weights), twin.metrics
        metrics = {**metrics, NUM_FOLDS: float(self._lesson.num_folds)}
        if self._lesson.teacher.privacy:
            facts = student_facts(self._lesson.teacher, self._run.num_rows)
            return Trained(files, metrics, privacy=facts)
        return Trained({**files, **reference_files(splits, self._run)}, metrics)


def narrowed_student(network: TabularConfig, teacher: ModelArtifact, share: float) -> TabularConfig:
    """The configuration of a student with a share of its hidden units."""
    del teacher
    hidden = tuple(max(int(width * share), SMALLEST_WIDTH) for width in network.student_hidden)
    if hidden == network.student_hidden:
        raise InputError(
            f"a student's layers are {SMALLEST_WIDTH} wide at least, however: student_hidden is "
            f"{hidden}"
        )
    return dataclasses.replace(network, student_hidden=hidden)


def _write_soft_rows(lesson: Lesson, target: Target, soft: str) -> None:
    """Augmented rows with the teacher's probabilities, as Parquet; the manifest comes last."""
    signature = lesson.teacher.signature
    remove(soft)
    if lesson.teacher.privacy:
        _write_drawn_rows(lesson, soft)
        return
    # The teacher is calibrated: of weights, a row's own remain.
    plain = unweighted(target)
    everybody = {each.uri: each for each in (lesson.teacher, *(own for _, own in lesson.folds))}
    for number, (splits, teacher) in enumerate(lesson.answers):
        others = [each for uri, each in everybody.items() if uri != teacher.uri]
        rows = encoded_dataset(splits, "train", signature, plain).map_batches(
            soften,
            batch_format="numpy",
            batch_size=4096,
            fn_kwargs={
                "teachers": [json.dumps(each.to_json()) for each in (teacher, *others)],
                "copies": lesson.num_copies,
                "num_numbers": len(signature.numbers),
                "swap_probability": lesson.copying.swap_probability,
                "forget_probability": lesson.copying.forget_probability,
                "hard_label_weight": lesson.hard_label_weight,
                "seed": lesson.training.seed,
            },
        )
        rows.write_parquet(f"{soft}/{number}")
    write_manifest(soft, {"folders": list(range(len(lesson.answers)))})


def _write_drawn_rows(lesson: Lesson, soft: str) -> None:
    """Artificial rows of a private teacher's encodings with its probabilities."""
    teacher = lesson.teacher
    num_rows = lesson.splits.num_rows["train"] * (lesson.num_copies + 1)
    num_numbers, seed = len(teacher.signature.numbers), lesson.training.seed
    cells = json.loads(teacher.read(FACTS))["cells"]
    rows = drawn_dataset(num_rows, cells, num_numbers, seed=seed).map_batches(
        soften,
        batch_format="numpy",
        batch_size=4096,
        fn_kwargs={
            "teachers": [json.dumps(teacher.to_json())],
            "copies": 0,
            "num_numbers": num_numbers,
            "swap_probability": 0.0,
            "forget_probability": 0.0,
            "hard_label_weight": 0.0,
            "seed": seed,
        },
    )
    rows.write_parquet(f"{soft}/0")
    write_manifest(soft, {"folders": [0]})


def _baseline_rows(splits: Splits, run: TrainingRun, *, is_private: bool) -> NDArray[np.float32]:
    """What a column contributes on average of: training rows, or artificial ones."""
    if is_private:
        cells, num_numbers = run.facts["cells"], len(run.signature.numbers)
        return draw_rows(cells, num_numbers, BASELINE_ROWS, seed=[run.config.seed])
    target = target_from_json(run.facts)
    sample, _ = encoded_arrays(splits, "train", run.signature, target, limit=FACT_ROWS)
    return sample


def _sized(run: TrainingRun, lesson: Lesson) -> TrainingRun:
    """The run of a student that is as small as it must be.

    Where nobody chose its width, it is halved until it is: many columns make a wide first layer,
    and a small teacher little room.
    """
    teacher, network = lesson.teacher, run.config.network
    files = [
        name for name in teacher.files if name not in (FACTS, BLEND, MEMBER_SETTINGS, REFERENCE)
    ]
    teacher_size = sum(len(teacher.read(name)) for name in files)
    is_default = network.student_hidden == TabularConfig().student_hidden
    while True:
        size = sum(t.numel() * t.element_size() for t in LEARNER.network(run).state_dict().values())
        hidden = run.config.network.student_hidden
        fits = size <= lesson.compression_ratio * teacher_size
        if fits or not is_default or min(hidden) <= SMALLEST_WIDTH:
            lesson.check_size(size, teacher_size, f"student_hidden {hidden}")
            return run
        smaller = dataclasses.replace(network, student_hidden=tuple(n // 2 for n in hidden))
        network = smaller
        run = dataclasses.replace(run, config=dataclasses.replace(run.config, network=smaller))


def _finish_like(
    twin: ModelArtifact, run: TrainingRun, splits: Splits, weights: bytes
) -> dict[str, bytes]:
    """With the calibration of a twin: every row that could fit one has trained this student."""
    network = LEARNER.network(run)
    assert isinstance(network, StudentNetwork)
    own = load_weights(twin.read(WEIGHTS))
    calibration = {k: v for k, v in own.items() if k in ("calibration", "scale", "shift")}
    network.load_state_dict({**load_weights(weights), **calibration})
    network.eval()
    target = target_from_json(run.facts)
    sample, _ = encoded_arrays(splits, "train", run.signature, target, limit=FACT_ROWS)
    network.set_baseline(torch.from_numpy(sample))
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    return {WEIGHTS: save_weights(state)}


def _finish(
    task: Task, run: TrainingRun, lesson: Lesson, weights: bytes
) -> tuple[dict[str, bytes], dict[str, float]]:
    """Calibrate on the calibration part and on folds, measure; the baseline is of training rows.

    The rows of a fold have taught the student what a teacher said that had not learnt from them:
    their own labels it has not seen, but through their neighbours' answers.
    """
    splits = lesson.splits
    network = LEARNER.network(run)
    assert isinstance(network, StudentNetwork)
    network.load_state_dict(load_weights(weights))
    network.eval()
    target = target_from_json(run.facts)
    output = target.output
    sample = _baseline_rows(splits, run, is_private=bool(lesson.teacher.privacy))
    network.set_baseline(torch.from_numpy(sample))
    parts: list[tuple[Splits, Part]] = [(splits, "calibration")]
    for rows, teacher in lesson.folds:
        if teacher.uri != lesson.teacher.uri and not lesson.hard_label_weight:
            parts.append((rows, "train"))
    of_parts = [_logits(network, run, rows, part, target) for rows, part in parts]
    logits, targets = (np.concatenate(column) for column in zip(*of_parts, strict=True))
    each = [row_weights(rows, part, limit=HELD_OUT_ROWS) for rows, part in parts]
    of_rows = np.concatenate([w for w in each if w is not None]) if splits.corpus.weight else None
    calibration = output.calibration(logits, targets, unweighted(target), of_rows)
    network.calibrate(calibration)
    logits, targets = _logits(network, run, splits, "validation", target)
    scores = output.calibrated(logits, calibration)
    of_rows = row_weights(splits, "validation", limit=HELD_OUT_ROWS)
    metrics = validation_metrics(task, target, targets, scores, of_rows)
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    return {WEIGHTS: save_weights(state)}, metrics


@torch.no_grad()
def _logits(
    network: StudentNetwork, run: TrainingRun, splits: Splits, part: Part, target: Target
) -> tuple[Floats, Floats]:
    """Uncalibrated logits and targets: [N] of decisions, else [N, K]."""
    features, targets = encoded_arrays(splits, part, run.signature, target, limit=HELD_OUT_ROWS)
    parts = [network(rows) for rows in torch.from_numpy(features).split(8192)]
    logits = torch.cat(parts).double().numpy()
    is_decision = targets.ndim == 1
    return logits[:, 0] if is_decision else logits, targets.astype(np.float64)


def _num_outputs(facts: Mapping[str, Any]) -> int:
    target = target_from_json(facts)
    return target.output.num_outputs(target, is_student=True)
