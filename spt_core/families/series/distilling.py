"""The student of a series: small filters of each channel, taught by windows and copies of them.

teacher -> windows and augmented copies with its answers (Parquet) -> Ray Train -> files
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights
from safetensors.torch import save as save_weights
from torch import nn

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
from spt_core.families.series.config import NUMBER_WIDTH, SeriesConfig
from spt_core.families.series.ensemble import ROWS_AT_ONCE, network_outputs
from spt_core.families.series.facts import sequence_field
from spt_core.families.series.learner import LEARNER
from spt_core.families.series.network import (
    ForecastNetwork,
    ResidualNetwork,
    UsualWindows,
    as_student,
)
from spt_core.families.series.rows import encoded_dataset, encoded_part
from spt_core.families.series.scores import calibration_of, figures
from spt_core.families.series.softening import soften
from spt_core.families.series.teaching import HELD_OUT_ROWS, series_run
from spt_core.families.series.usual import anomaly_figures, fit_usual, usual_windows
from spt_core.fitting.lesson import Lesson
from spt_core.fitting.plan import Trained, TrainingRun
from spt_core.task import find

SOFT = "soft"
TYPICAL_ROWS = 2_000
SMALLEST_WIDTH = 4


class SeriesDistilling:
    """The FitPlan of a student; windows that are labelled already are used again."""

    role: Role = "student"
    scratch: Sequence[str] = (SOFT,)

    def __init__(self, lesson: Lesson) -> None:
        if lesson.unlabelled is not None:
            raise InputError(
                "unlabelled must be left alone for the series family, whose students learn from "
                "copies of their own windows, however: it is set"
            )
        self._lesson, self._task = lesson, find(lesson.splits.task)
        self._field = sequence_field(lesson.teacher.signature).name
        self.identity: Sequence[Any] = lesson.identity

    def prepare(self, name: str) -> TrainingRun:
        """The student of the teacher's facts; the teacher labels its windows."""
        lesson, run = self._lesson, self.draft()
        self._soft = lesson.soft or f"{as_uri(lesson.training.output_dir)}/runs/{name}-{SOFT}"
        if not has_manifest(self._soft):
            self._write_soft_rows()
        return run

    def draft(self) -> TrainingRun:
        """The student without its windows."""
        lesson = self._lesson
        facts = json.loads(lesson.teacher.read(FACTS))
        num_rows = lesson.splits.num_rows["train"] * (lesson.num_copies + 1)
        run = series_run(
            self.role,
            lesson.splits,
            lesson.training,
            facts,
            lesson.teacher.signature,
            num_rows=num_rows,
        )
        self._run = _sized(run, lesson)
        return self._run

    def rows(self, part: Literal["train", "validation"]) -> Dataset:
        """The windows that the teacher labelled, or encoded validation windows."""
        if part == "train":
            return read_files(parquet_files(self._soft))
        return encoded_dataset(self._lesson.splits, part, self._field, self._run.facts)

    def finish(self, weights: bytes) -> Trained:
        """Calibrated like its teacher, with what stands for nothing from training windows."""
        splits, facts, twin = self._lesson.splits, self._run.facts, self._lesson.twin
        network = as_student(LEARNER.network(self._run)).eval()
        network.load_state_dict(load_weights(weights))
        if isinstance(network, ResidualNetwork):
            return self._finish_usual(network)
        if isinstance(network, ForecastNetwork):
            return self._finish_forecasts(network)
        train, _ = encoded_part(splits, "train", self._field, facts, TYPICAL_ROWS)
        network.set_typical(torch.from_numpy(train))
        if twin is not None:
            own = load_weights(twin.read(WEIGHTS))
            network.calibrate(own["scale"].tolist(), own["shift"].tolist())
            metrics = dict(twin.metrics)
        else:
            calibration = calibration_of(
                self._task,
                splits,
                self._field,
                facts,
                lambda windows: network_outputs(network, windows, facts),
            )
            network.calibrate(*calibration)
            windows, targets = encoded_part(splits, "validation", self._field, facts, HELD_OUT_ROWS)
            outputs = network_outputs(network, windows, facts)
            metrics = figures(self._task, facts, targets, outputs, calibration)
        return Trained({WEIGHTS: _saved(network)}, metrics)

    def _finish_usual(self, network: ResidualNetwork) -> Trained:
        """With what is usual beside it: its teacher's components, its own noise and units."""
        splits, facts, twin = self._lesson.splits, self._run.facts, self._lesson.twin
        if twin is not None:
            own = load_weights(twin.read(WEIGHTS))
            network.set_usual(UsualWindows(*(own[name].numpy() for name in UsualWindows._fields)))
            return Trained({WEIGHTS: _saved(network)}, dict(twin.metrics))

        def expect(windows: NDArray[np.float32]) -> NDArray[np.float64]:
            return network_outputs(network, windows, facts)

        size = self._lesson.training.network.components
        windows = usual_windows(splits, self._field, facts)
        network.set_usual(fit_usual(*windows, facts, size, expect))

        @torch.no_grad()
        def score(windows: NDArray[np.float32]) -> NDArray[np.float64]:
            parts = torch.from_numpy(windows).split(ROWS_AT_ONCE)
            return torch.cat([network.explain(part)[0] for part in parts]).double().numpy()

        metrics = anomaly_figures(self._task, splits, self._field, score)
        return Trained({WEIGHTS: _saved(network)}, metrics)

    def _finish_forecasts(self, network: ForecastNetwork) -> Trained:
        """As it is: quantiles are moved by the policy."""
        splits, facts, twin = self._lesson.splits, self._run.facts, self._lesson.twin
        if twin is not None:
            return Trained({WEIGHTS: _saved(network)}, dict(twin.metrics))
        windows, targets = encoded_part(splits, "validation", self._field, facts, HELD_OUT_ROWS)
        outputs = network_outputs(network, windows, facts)
        size = outputs.shape[1]
        calibration = ([1.0] * size, [0.0] * size)
        metrics = figures(self._task, facts, targets, outputs, calibration)
        return Trained({WEIGHTS: _saved(network)}, metrics)

    def _write_soft_rows(self) -> None:
        """Windows and copies with the teacher's answers, as Parquet; the manifest comes last."""
        lesson, copying = self._lesson, self._lesson.copying
        remove(self._soft)
        rows = encoded_dataset(lesson.splits, "train", self._field, self._run.facts).map_batches(
            soften,  # pyright: ignore[reportArgumentType]  # ray's type has no keywords
            batch_format="numpy",
            batch_size=2048,
            fn_kwargs={
                "teacher": json.dumps(lesson.teacher.to_json()),
                "copies": lesson.num_copies,
                "jitter": copying.jitter,
                "mix_probability": copying.mix_probability,
                "gap_probability": copying.gap_probability,
                "hard_label_weight": lesson.hard_label_weight,
                "seed": lesson.training.seed,
            },
        )
        rows.write_parquet(self._soft)
        write_manifest(self._soft, {"teacher": lesson.teacher.uri, "copies": lesson.num_copies})


def _sized(run: TrainingRun, lesson: Lesson) -> TrainingRun:
    """The run of a student that is as small as it must be.

    Where nobody chose its width, it is halved until it is: long windows make a wide first layer,
    and a teacher of one member little room.
    """
    teacher_size = len(lesson.teacher.read(WEIGHTS))
    network = run.config.network
    is_default = network.student_width in (SeriesConfig().student_width, NUMBER_WIDTH)
    while True:
        size = sum(t.numel() * t.element_size() for t in LEARNER.network(run).state_dict().values())
        width = run.config.network.student_width
        fits = size <= lesson.compression_ratio * teacher_size
        if fits or not is_default or width <= SMALLEST_WIDTH:
            what = f"student_filters {network.student_filters} and student_width {width}"
            lesson.check_size(size, teacher_size, what)
            return run
        smaller = dataclasses.replace(network, student_width=width // 2)
        run = dataclasses.replace(run, config=dataclasses.replace(run.config, network=smaller))


def _saved(network: nn.Module) -> bytes:
    return save_weights({name: v.contiguous() for name, v in network.state_dict().items()})


def narrowed_series(network: SeriesConfig, teacher: ModelArtifact, share: float) -> SeriesConfig:
    """The configuration of a student with a share of its hidden units; then, of its filters."""
    del teacher
    narrower = int(network.student_width * share)
    if narrower >= SMALLEST_WIDTH:
        return dataclasses.replace(network, student_width=narrower)
    if network.student_filters < 2:
        raise InputError(
            "a student keeps one filter of each channel at least, however: it has no more"
        )
    return dataclasses.replace(network, student_filters=network.student_filters - 1)
