"""The student of an image task: the teacher's first stages, and its soft answers.

teacher -> stages that stay -> images and altered copies with soft labels (Parquet) -> Ray Train
-> files
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Literal

from spt_core.artifacts import (
    FACTS,
    WEIGHTS,
    ModelArtifact,
    Role,
    as_uri,
    has_manifest,
    parquet_files,
    remove,
    write_manifest,
)
from spt_core.data.read import Dataset, read_files
from spt_core.errors import InputError
from spt_core.families.image.config import ImageConfig
from spt_core.families.image.learner import LEARNER, run_square
from spt_core.families.image.network import architecture_of, student_architecture
from spt_core.families.image.rows import BATCH_ROWS, image_dataset
from spt_core.families.image.softening import soften_images
from spt_core.families.image.teaching import finish_image, image_run
from spt_core.fitting.lesson import Lesson
from spt_core.fitting.plan import Trained, TrainingRun
from spt_core.task import find

SOFT = "soft"
LEAST_EXPANSION = 0.0625  # of the channels inside the teacher's blocks


class ImageDistilling:
    """The FitPlan of a student; images that are labelled already are used again."""

    role: Role = "student"
    scratch: Sequence[str] = (SOFT,)

    def __init__(self, lesson: Lesson) -> None:
        if lesson.unlabelled is not None:
            raise InputError(
                "unlabelled must be left alone for the image family, whose students learn from "
                "copies of their own rows, however: it is set"
            )
        self._lesson, self._task = lesson, find(lesson.splits.task)
        self.identity: Sequence[Any] = lesson.identity

    def prepare(self, name: str) -> TrainingRun:
        """The student of the teacher's facts; the teacher labels its images."""
        lesson, run = self._lesson, self.draft()
        self._soft = lesson.soft or f"{as_uri(lesson.training.output_dir)}/runs/{name}-{SOFT}"
        if not has_manifest(self._soft):
            self._write_soft_rows()
        return run

    def draft(self) -> TrainingRun:
        """The student without its rows."""
        lesson, teacher = self._lesson, self._lesson.teacher
        network = lesson.training.network
        assert isinstance(network, ImageConfig), "the configuration has checked it"
        facts = json.loads(teacher.read(FACTS))
        if network.size_px != teacher.config["network"]["size_px"]:
            raise InputError(
                "a student takes images of its teacher's size, however: size_px is "
                f"{network.size_px} and the teacher's {teacher.config['network']['size_px']}"
            )
        own = {
            **facts,
            "architecture": student_architecture(architecture_of(facts), network),
            "start": f"{teacher.uri}/{WEIGHTS}" if network.student_width == 1.0 else None,
        }
        self._run = image_run(
            self.role,
            self._task,
            lesson.splits,
            lesson.training,
            json.loads(json.dumps(own)),
            lesson.splits.num_rows["train"] * (lesson.num_copies + 1),
            temperature=lesson.copying.temperature,
        )
        weights = LEARNER.network(self._run).state_dict().values()
        size = sum(tensor.numel() * tensor.element_size() for tensor in weights)
        what = f"student_stages {network.student_stages}, student_width {network.student_width:g}"
        if network.student_expansion < 1:
            what += f", student_expansion {network.student_expansion:g}"
        lesson.check_size(size, len(teacher.read(WEIGHTS)), what)
        return self._run

    def rows(self, part: Literal["train", "validation"]) -> Dataset:
        """The images that the teacher answered, or validation images."""
        if part == "train":
            return read_files(parquet_files(self._soft))
        square, facts = run_square(self._run), self._run.facts
        return image_dataset(self._lesson.splits, part, self._task, square, facts).materialize()

    def finish(self, weights: bytes) -> Trained:
        """Calibrated like its teacher."""
        lesson = self._lesson
        files, metrics = finish_image(self._run, self._task, lesson.splits, weights, lesson.twin)
        return Trained(files, metrics)

    def _write_soft_rows(self) -> None:
        """Images and copies with the teacher's answers, as Parquet; the manifest comes last."""
        lesson, square, facts = self._lesson, run_square(self._run), self._run.facts
        remove(self._soft)
        rows = image_dataset(lesson.splits, "train", self._task, square, facts)
        rows.map_batches(
            soften_images,  # pyright: ignore[reportArgumentType]  # ray's type has no keywords
            batch_format="numpy",
            batch_size=BATCH_ROWS,
            fn_kwargs={
                "teacher": json.dumps(lesson.teacher.to_json()),
                "square": tuple(square),
                "copies": lesson.num_copies,
                "variation": dataclasses.asdict(lesson.copying.variation),
                "symmetries": tuple(facts["symmetries"]),
                "temperature": lesson.copying.temperature,
                "hard_label_weight": lesson.hard_label_weight,
                "seed": lesson.training.seed,
            },
        ).write_parquet(self._soft)
        write_manifest(self._soft, {"teacher": lesson.teacher.uri, "copies": lesson.num_copies})


def narrowed_image(network: ImageConfig, teacher: ModelArtifact, share: float) -> ImageConfig:
    """The configuration of a student of a share of the width, whose square is what it computes.

    Its blocks lose channels inside, so that it starts from its teacher's weights as before.
    """
    del teacher
    expansion = network.student_expansion * share**2
    if expansion < LEAST_EXPANSION:
        raise InputError(
            f"a student keeps {LEAST_EXPANSION:g} of the channels inside its blocks at least, "
            f"however: it would keep {expansion:.3f}"
        )
    return dataclasses.replace(network, student_expansion=round(expansion, 4))
