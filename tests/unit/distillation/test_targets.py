"""The specification's deployment targets, read; what cannot be read is named."""

import pytest

from spt_core.compression.limits import Limits
from spt_core.distillation.targets import DeploymentTarget, TargetResult, deployment_targets
from spt_core.errors import InputError
from spt_core.task import find

FRAUD, TEXT = find("financial_services/fraud_detection"), find("technology/security_analysis")
# The specification's snippet 5 and its production pipeline, as they stand there.
TARGETS = [
    {
        "name": "mobile_app",
        "compression_ratio": 0.3,
        "latency_requirement_ms": 50,
        "mobile_deployment": True,
    },
    {
        "name": "edge_device",
        "compression_ratio": 0.2,
        "memory_limit_mb": 100,
        "edge_deployment": True,
    },
]
PIPELINE = {
    "mobile_deployment": {
        "compression_ratio": 0.3,
        "quantization": "int8",
        "target_latency_ms": 50,
        "target_size_mb": 25,
    },
    "edge_deployment": {
        "compression_ratio": 0.2,
        "pruning_ratio": 0.3,
        "target_latency_ms": 100,
        "target_memory_mb": 50,
    },
    "cloud_deployment": {
        "compression_ratio": 0.6,
        "batch_optimization": True,
        "target_throughput_qps": 1000,
    },
}


def test_the_specification_s_targets_are_read():
    mobile, edge = deployment_targets(TARGETS, FRAUD)
    assert mobile == DeploymentTarget(
        name="mobile_app", place="mobile", compression_ratio=0.3, limits=Limits(latency_ms=50)
    )
    assert edge == DeploymentTarget(
        name="edge_device", place="edge", compression_ratio=0.2, limits=Limits(memory_mb=100)
    )


def test_the_specification_s_production_pipeline_is_read():
    mobile, edge, cloud = deployment_targets(PIPELINE, TEXT)
    assert [mobile.place, edge.place, cloud.place] == ["mobile", "edge", "cloud"]
    assert mobile.limits == Limits(latency_ms=50, size_mb=25, int8_only=True)
    assert (edge.pruning_ratio, edge.limits) == (0.3, Limits(latency_ms=100, memory_mb=50))
    assert cloud.limits == Limits(throughput_qps=1000, in_batches=True)


@pytest.mark.parametrize(
    ("targets", "fact"),
    [
        ([], "there is none"),
        ({}, "there is none"),
        ([{"compression_ratio": 0.5}], "has none"),
        ([{"name": "a"}, {"name": "a"}], "two are 'a'"),
        ([{"name": "a", "latency_ms": 3}], "'a' has 'latency_ms'; the nearest is"),
        ([{"name": "a", "compression_ratio": 1.5}], r"in \(0, 1\], however: 'a' has 1.5"),
        ([{"name": "a", "compression_ratio": "half"}], "'a' has 'half'"),
        ([{"name": "a", "target_size_mb": True}], "'a' has True"),
        ([{"name": "a", "pruning_ratio": 1}], r"in \[0, 1\), however: 'a' has 1"),
        ([{"name": "a", "target_memory_mb": 0}], "memory_mb must be above 0"),
        ([{"name": "a", "quantization": "fp4"}], "'a' has 'fp4'"),
        ([{"name": "a", "quantization": "int8"}], "'a' of financial_services/fraud_detection"),
        (
            [{"name": "a", "target_memory_mb": 5, "memory_limit_mb": 6}],
            "one memory_mb, however: 'a' has two",
        ),
        (
            [{"name": "a", "mobile_deployment": True, "edge_deployment": True}],
            "'a' is mobile and edge",
        ),
    ],
)
def test_a_target_that_cannot_be_read_is_named(targets, fact):
    with pytest.raises(InputError, match=fact):
        deployment_targets(targets, FRAUD)


def test_a_refused_target_has_no_model():
    result = TargetResult(target=DeploymentTarget(name="a"), refusal="too small")
    with pytest.raises(InputError, match="the target 'a' has no model: too small"):
        _ = result.model
