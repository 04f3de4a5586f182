"""Distillation: a teacher's soft answers on augmented rows make a student of microseconds.

Splits + teacher -> rows with swapped cells and soft labels (Parquet) -> student -> ModelArtifact
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights
from safetensors.torch import save as save_weights

from spt_core.artifacts import (
    ModelArtifact,
    as_uri,
    has_manifest,
    load_artifact,
    parquet_files,
    remove,
    write_manifest,
)
from spt_core.data.partition import Part
from spt_core.data.read import read_files
from spt_core.data.splits import Splits
from spt_core.errors import InputError, SptError
from spt_core.model import SpecializedModel
from spt_core.models import FAMILIES
from spt_core.models.calibration import apply_calibration, fit_calibration
from spt_core.models.ensemble import FACTS, FORESTS, WEIGHTS
from spt_core.models.softening import soften
from spt_core.models.tabular import StudentNetwork
from spt_core.task import find
from spt_core.training.config import TrainingConfig
from spt_core.training.encoded import encoded_arrays, encoded_dataset
from spt_core.training.loop import TrainingRun
from spt_core.training.network import fit_network, run_digest, write_artifact
from spt_core.training.progress import OnMetrics
from spt_core.training.tables import (
    FACT_ROWS,
    HELD_OUT_ROWS,
    validation_dataset,
    validation_metrics,
)
from spt_core.training.trainer import checked_config


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """How a student is made from a teacher.

    Attributes:
        teacher_model_path: address of the teacher's artifact, for `distill` without a teacher.
        compression_ratio: the student's weights may take at most this share of the teacher's bytes.
        target_accuracy: share of the teacher's task metric on validation rows that the student must
            keep; None asks for nothing.
        output_dir: folder or URI that receives runs and models; None takes the training's.
        num_copies: augmented copies of each training row, beside the row itself.
        swap_probability: chance of each cell of a copy to come from another random row.
        forget_probability: chance of each cell of a copy to become missing or an unseen category,
            so that the student has an answer for what its training rows always knew.
        hard_label_weight: share of the true label in the target of an original row.
        max_rows: rows that training sees at most; fewer copies are made of a larger corpus.
        training: the student's training.
    """

    teacher_model_path: str | None = None
    compression_ratio: float = 1.0
    target_accuracy: float | None = None
    output_dir: str | None = None
    num_copies: int = 2
    swap_probability: float = 0.15
    forget_probability: float = 0.02
    hard_label_weight: float = 0.0
    max_rows: int = 20_000_000
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        """Refuse shares outside [0, 1] and negative counts."""
        for name in (
            "compression_ratio",
            "swap_probability",
            "forget_probability",
            "hard_label_weight",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be in [0, 1], however: {getattr(self, name)}")
        if self.num_copies < 0 or self.max_rows < 1:
            raise InputError(
                f"num_copies must be at least 0 and max_rows at least 1, however: "
                f"{self.num_copies=}, {self.max_rows=}"
            )


class DistillationPipeline:
    """Makes students of one configuration."""

    def __init__(self, config: DistillationConfig) -> None:
        self._config = config

    def distill(
        self,
        teacher: SpecializedModel | None,
        splits: Splits,
        *,
        fresh: bool = False,
        on_metrics: OnMetrics | None = None,
    ) -> SpecializedModel:
        """The student; an unfinished run of the same content resumes, a finished one is reused."""
        config = self._config
        source = self._teacher(teacher)
        if source.data_fingerprint != splits.data_fingerprint:
            raise InputError(
                "a student must be distilled on its teacher's data, however: the fingerprints are "
                f"{source.data_fingerprint} (teacher) and {splits.data_fingerprint} (splits)"
            )
        training = config.training
        if config.output_dir is not None:
            training = dataclasses.replace(training, output_dir=config.output_dir)
        training = checked_config(training, find(splits.task), splits)
        recipe = {
            name: value
            for name, value in dataclasses.asdict(config).items()
            if name not in ("training", "output_dir", "teacher_model_path")
        }
        name = f"student-{run_digest(training, splits, source.signature, recipe, source.files)}"
        root = as_uri(training.output_dir)
        uri = f"{root}/{splits.task}/{training.model_name}/{name}"
        soft = f"{root}/runs/{name}-soft"
        if fresh:  # what is finished stays until its successor is, as in training
            for folder in (soft, f"{root}/runs/{name}"):
                remove(folder)
        elif has_manifest(uri):
            return SpecializedModel(load_artifact(uri), reused=True)
        facts = json.loads(source.read(FACTS))
        num_rows = splits.num_rows["train"]
        copies = min(config.num_copies, max(config.max_rows // max(num_rows, 1) - 1, 0))
        if not has_manifest(soft):
            self._write_soft_rows(source, splits, soft, copies)
        run = TrainingRun(
            signature=source.signature,
            role="student",
            config=training,
            facts=facts,
            num_rows=num_rows * (copies + 1),
        )
        _check_size(run, source, config.compression_ratio)
        weights = fit_network(
            run,
            read_files(parquet_files(soft)),
            validation_dataset(splits, source.signature, training),
            name=name,
            on_metrics=on_metrics,
        )
        files, metrics = _finish(run, splits, weights)
        self._check_quality(metrics, source, find(splits.task).metric)
        artifact = write_artifact(uri, splits, run, files, metrics, parents=(source.uri,))
        remove(soft)
        return SpecializedModel(artifact)

    def _teacher(self, teacher: SpecializedModel | None) -> ModelArtifact:
        if teacher is not None:
            return teacher.artifact
        if self._config.teacher_model_path is None:
            raise InputError(
                "distillation needs a teacher, however: teacher_model_path is None too"
            )
        return load_artifact(self._config.teacher_model_path)

    def _write_soft_rows(
        self, teacher: ModelArtifact, splits: Splits, folder: str, copies: int
    ) -> None:
        """Augmented rows with the teacher's probabilities, as Parquet; the manifest comes last."""
        remove(folder)
        rows = encoded_dataset(splits, "train", teacher.signature).map_batches(
            soften,
            batch_format="numpy",
            batch_size=4096,
            fn_kwargs={
                "teacher": json.dumps(teacher.to_json()),
                "copies": copies,
                "num_numbers": len(teacher.signature.numbers),
                "swap_probability": self._config.swap_probability,
                "forget_probability": self._config.forget_probability,
                "hard_label_weight": self._config.hard_label_weight,
                "seed": self._config.training.seed,
            },
        )
        rows.write_parquet(folder)
        write_manifest(folder, {"teacher": teacher.uri, "copies": copies})

    def _check_quality(
        self, metrics: Mapping[str, float], teacher: ModelArtifact, metric: str
    ) -> None:
        target = self._config.target_accuracy
        if target is None:
            return
        name = f"validation_{metric}"
        kept = metrics[name] / teacher.metrics[name]
        if kept < target:
            raise SptError(
                f"the student must keep {target:.1%} of the teacher's {metric}, however: it keeps "
                f"{kept:.1%} ({metrics[name]:.4f} of {teacher.metrics[name]:.4f}); try more "
                "copies, epochs or a wider student"
            )


def _check_size(run: TrainingRun, teacher: ModelArtifact, ratio: float) -> None:
    student = FAMILIES[run.config.family].build(
        run.signature, "student", run.config.network, run.facts
    )
    size = sum(t.numel() * t.element_size() for t in student.state_dict().values())
    weights = (WEIGHTS, *FORESTS.values())
    allowed = ratio * sum(len(teacher.read(name)) for name in weights)
    if size > allowed:
        raise InputError(
            f"the student may take {allowed:,.0f} bytes (compression_ratio {ratio:g}), however: "
            f"student_hidden {run.config.network.student_hidden} takes {size:,}"
        )


def _finish(
    run: TrainingRun, splits: Splits, weights: bytes
) -> tuple[dict[str, bytes], dict[str, float]]:
    """Calibrate on the calibration part, take the baseline from training rows, measure."""
    network = FAMILIES[run.config.family].build(
        run.signature, run.role, run.config.network, run.facts
    )
    assert isinstance(network, StudentNetwork)
    network.load_state_dict(load_weights(weights))
    network.eval()
    sample, _ = encoded_arrays(splits, "train", run.signature, limit=FACT_ROWS)
    network.set_baseline(torch.from_numpy(sample))
    logits, labels = _logits(network, run, splits, "calibration")
    calibration = fit_calibration(logits, labels)
    network.calibrate(calibration)
    logits, labels = _logits(network, run, splits, "validation")
    metrics = validation_metrics(labels.astype(np.float32), apply_calibration(logits, calibration))
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    return {WEIGHTS: save_weights(state)}, metrics


@torch.no_grad()
def _logits(
    network: StudentNetwork, run: TrainingRun, splits: Splits, part: Part
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    features, labels = encoded_arrays(splits, part, run.signature, limit=HELD_OUT_ROWS)
    parts = [network(rows).squeeze(1) for rows in torch.from_numpy(features).split(8192)]
    return torch.cat(parts).double().numpy(), labels.astype(np.float64)
