"""The specification's deployment targets, as they stand there, from a teacher to models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spt_core.artifacts import ExportedModel
from spt_core.compression.mobile import ORT
from spt_core.data.sources import open_corpus
from spt_core.data.splitting import split
from spt_core.distillation import DistillationConfig, DistillationPipeline
from spt_core.distillation.targets import TargetResult
from spt_core.families.text.config import TextConfig
from spt_core.fitting.config import TrainingConfig
from spt_core.registry import Registry
from spt_core.task import find
from spt_core.training import SpecializedModelTrainer
from tests.small_runs import NUM_ROWS, SmallRun, as_file, as_list
from tests.unit.distillation.test_targets import PIPELINE, TARGETS

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.timeout(900),
]
FRAUD, TEXT = find("financial_services/fraud_detection"), find("technology/security_analysis")


def exported_of(results: dict[str, TargetResult], name: str) -> ExportedModel:
    result = results[name]
    assert result.exported is not None, result.refusal
    return result.exported


def test_snippet_5_of_the_specification_makes_a_model_for_each_target(tmp_path: Path) -> None:
    rows = as_file(FRAUD.sample(2 * NUM_ROWS, 3), tmp_path)
    validation = as_list(FRAUD.sample(80, 4), tmp_path)
    run = SmallRun(FRAUD, tmp_path, rows, validation)
    config = DistillationConfig(
        teacher_model_path=run.teacher.artifact.uri,
        compression_ratio=0.3,
        training=run.training,
        num_copies=1,
    )
    targets: list[Any] = [*TARGETS, {"name": "watch", "target_size_mb": 1e-6}]
    results = DistillationPipeline(config).run_comprehensive_distillation(
        None, rows, validation, targets
    )
    assert list(results) == ["mobile_app", "edge_device", "watch"]
    phone, edge = exported_of(results, "mobile_app"), exported_of(results, "edge_device")
    assert ORT in phone.files
    assert ORT not in edge.files
    chosen = [point for point in results["edge_device"].front if point.chosen]
    assert 0 < (chosen[0].memory_mb or 0) <= 100
    answer = results["mobile_app"].model.detect_fraud(FRAUD.example)
    assert set(answer) == set(FRAUD.answer)
    policy = results["edge_device"].policy
    assert policy is not None
    version = Registry(f"sqlite:///{tmp_path}/spt.db").add(edge, policy, {}, created_by="olga")
    assert version.version == 1
    assert "size_mb 1e-06" in results["watch"].refusal


def test_the_specification_s_production_pipeline_keeps_its_limits(tmp_path: Path) -> None:
    storage = str(tmp_path)
    corpus = open_corpus(TEXT, TEXT.sample(200, 1), storage=storage)
    training = TrainingConfig(
        task=TEXT.path,
        industry=TEXT.industry,
        family="text",
        network=TextConfig(max_tokens=32, window_overlap=4),
        num_epochs=1,
        batch_size=32,
        learning_rate=2e-4,
        evaluation_strategy="no",
        output_dir=storage,
    )
    splits = split(TEXT, corpus, storage)
    teacher = SpecializedModelTrainer(training).train(splits)
    results = DistillationPipeline(
        DistillationConfig(training=training, num_copies=1)
    ).run_comprehensive_distillation(teacher, splits, None, PIPELINE)
    teacher_bytes = len(teacher.artifact.read("network.safetensors"))
    for name, content in PIPELINE.items():
        exported = exported_of(results, name)
        weights = len(exported.artifact.read("network.safetensors"))
        assert weights <= content["compression_ratio"] * teacher_bytes * 1.01  # and a header
    phone = exported_of(results, "mobile_deployment")
    assert phone.parity["quality"]["metric"] == TEXT.metric  # of INT8
    assert ORT in phone.files
    edge, cloud = (
        exported_of(results, name).artifact.config["network"]["student_width"]
        for name in ("edge_deployment", "cloud_deployment")
    )
    assert edge <= 256  # of 384: eight heads of twelve, as 0.7 of them are, or what fits
    assert (cloud or 384) <= 384  # as wide as a thousand a second lets it be here
    (point,) = [p for p in results["cloud_deployment"].front if p.chosen]
    assert point.throughput_qps >= 1000
