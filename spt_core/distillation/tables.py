"""The student of a table: rows with swapped cells, labelled by the teacher ensemble.

Splits + teacher -> rows with swapped cells and soft labels (Parquet) -> student -> ModelArtifact
"""

from __future__ import annotations

import json

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights
from safetensors.torch import save as save_weights

from spt_core.artifacts import ModelArtifact, has_manifest, parquet_files, remove, write_manifest
from spt_core.data.partition import Part
from spt_core.data.read import read_files
from spt_core.data.splits import Splits
from spt_core.distillation.work import Distillation, Student
from spt_core.errors import InputError
from spt_core.models import FAMILIES
from spt_core.models.calibration import apply_calibration, fit_calibration
from spt_core.models.ensemble import FACTS, FORESTS, WEIGHTS
from spt_core.models.softening import soften
from spt_core.models.tabular import StudentNetwork
from spt_core.training.encoded import encoded_arrays, encoded_dataset
from spt_core.training.loop import TrainingRun
from spt_core.training.network import fit_network
from spt_core.training.tables import (
    FACT_ROWS,
    HELD_OUT_ROWS,
    validation_dataset,
    validation_metrics,
)


def distill_table(work: Distillation) -> Student:
    """The student; rows that are labelled already are used again."""
    source, splits, config = work.teacher, work.splits, work.config.training
    if not has_manifest(work.soft):
        _write_soft_rows(work)
    run = TrainingRun(
        signature=source.signature,
        role="student",
        config=config,
        facts=json.loads(source.read(FACTS)),
        num_rows=splits.num_rows["train"] * (work.num_copies + 1),
    )
    _check_size(run, source, work.config.compression_ratio)
    weights = fit_network(
        run,
        read_files(parquet_files(work.soft)),
        validation_dataset(splits, source.signature, config),
        name=work.name,
        on_metrics=work.on_metrics,
    )
    return Student(run, *_finish(run, splits, weights))


def _write_soft_rows(work: Distillation) -> None:
    """Augmented rows with the teacher's probabilities, as Parquet; the manifest comes last."""
    config, teacher = work.config, work.teacher
    remove(work.soft)
    rows = encoded_dataset(work.splits, "train", teacher.signature).map_batches(
        soften,
        batch_format="numpy",
        batch_size=4096,
        fn_kwargs={
            "teacher": json.dumps(teacher.to_json()),
            "copies": work.num_copies,
            "num_numbers": len(teacher.signature.numbers),
            "swap_probability": config.swap_probability,
            "forget_probability": config.forget_probability,
            "hard_label_weight": config.hard_label_weight,
            "seed": config.training.seed,
        },
    )
    rows.write_parquet(work.soft)
    write_manifest(work.soft, {"teacher": teacher.uri, "copies": work.num_copies})


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
