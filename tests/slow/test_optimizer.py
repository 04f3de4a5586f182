"""Snippet 6 of the specification and its optimization configuration, as they stand there."""

from __future__ import annotations

from pathlib import Path

import pytest

from spt_core.optimization import (
    DomainOptimizer,
    OptimizationConfig,
    OptimizationTechnique,
    OptimizationType,
)
from spt_core.task import IndustryType, find
from tests.small_runs import NUM_ROWS, SmallRun, as_file, as_list

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.timeout(900),
]
FRAUD = find("financial_services/fraud_detection")
SEED_OF_FEW_FRAUDS = 1  # three of a hundred: who approves everything is right in 97 %


def test_snippet_6_of_the_specification_optimizes_a_model(tmp_path: Path) -> None:
    train_data = as_file(FRAUD.sample(2 * NUM_ROWS, 3), tmp_path)
    eval_data = as_list(FRAUD.sample(100, SEED_OF_FEW_FRAUDS), tmp_path)
    run = SmallRun(FRAUD, tmp_path, train_data, eval_data)
    model = run.teacher

    config = OptimizationConfig(
        industry=IndustryType.FINANCIAL_SERVICES,
        optimization_type=OptimizationType.ACCURACY_OPTIMIZATION,
        target_accuracy=0.95,
        max_latency_ms=100,
    )
    optimizer = DomainOptimizer(config)
    optimized_model, results = optimizer.optimize_model(model, train_data, eval_data, "accuracy")

    assert results.after["accuracy"] >= 0.95
    (chosen,) = [point for point in results.front if point.chosen]
    assert chosen.latency_ms["high"] <= 100
    kept = [point.metrics["accuracy"] for point in results.front if not point.refusal]
    assert chosen.metrics["accuracy"] == max(kept)
    assert "20 students" in results.techniques[OptimizationTechnique.ARCHITECTURE_SEARCH]
    assert set(optimized_model.detect_fraud(FRAUD.example)) == set(FRAUD.answer)


def test_every_field_of_the_specification_s_configuration_is_obeyed(tmp_path: Path) -> None:
    train_data = as_file(FRAUD.sample(2 * NUM_ROWS, 3), tmp_path)
    eval_data = as_list(FRAUD.sample(100, SEED_OF_FEW_FRAUDS), tmp_path)
    run = SmallRun(FRAUD, tmp_path, train_data, eval_data)
    config = OptimizationConfig(
        industry=IndustryType.FINANCIAL_SERVICES,
        optimization_type=OptimizationType.THROUGHPUT_OPTIMIZATION,
        target_metrics=["roc_auc"],
        techniques=[OptimizationTechnique.DISTILLATION],
        target_accuracy=0.5,
        max_latency_ms=100.0,
        max_memory_mb=60.0,
        min_throughput_qps=10.0,
        domain_adaptation_weight=0.1,
        task_specific_layers=["output"],
    )
    model, results = DomainOptimizer(config).optimize_model(
        run.teacher, train_data, eval_data, "accuracy"
    )
    assert set(results.after) == {"roc_auc"}
    (chosen,) = [point for point in results.front if point.chosen]
    assert 0 < (chosen.memory_mb or 0) <= 60
    assert chosen.throughput_qps >= 10
    student = next(p for p in results.front if p.name == "student")
    assert student.parts == {"student": 1.0}
    assert set(model.detect_fraud(FRAUD.example)) == set(FRAUD.answer)
