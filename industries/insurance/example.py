"""The complete example of insurers: python -m jobs.example insurance

Claims and policies have few rows of their own, and start from what a lender's models have learnt.
"""

from __future__ import annotations

from typing import Any, final

from spt_core.examples import ExampleConfig, ExampleRun, Tell
from spt_core.optimization import OptimizationType
from spt_core.task import IndustryType

INSURER = IndustryType.INSURANCE
CLAIMS = "insurance/claims_fraud"
UPTAKE = "insurance/policy_uptake"
FRAUD = "financial_services/fraud_detection"  # whose model claims start from
RISK = "financial_services/risk_assessment"  # whose model policies start from
MONITORING = {
    "insurance": {
        "sources": [
            {"name": "EIOPA", "url": "https://www.eiopa.europa.eu/media/news_en"},
        ]
    }
}
TARGETS: list[dict[str, Any]] = [
    {"name": "adjuster_phone", "latency_requirement_ms": 50, "mobile_deployment": True},
]


@final
class InsuranceTrainingExample:
    """All that an insurer does with its models, once through."""

    def __init__(self, config: ExampleConfig | None = None, *, tell: Tell | None = None) -> None:
        self._run = ExampleRun(INSURER, config, tell)

    def run_complete_training_pipeline(self) -> dict[str, Any]:
        """The story; the steps with their seconds, the versions, the benchmarks' results."""
        run = self._run
        with run.step("A lender's models, which the insurer's start from"):
            fraud, risk = run.trained(FRAUD), run.trained(RISK)
        with run.step("Claims: is this claim fraudulent? By transfer from fraud detection"):
            claims = run.transferred(fraud, CLAIMS)
            run.told(claims)
        with run.step("Policies: who will want this one? By transfer from credit risk"):
            run.told(run.transferred(risk, UPTAKE))
        with run.step("Continuous training: the supervisor is watched"):
            run.watching(MONITORING)
        with run.step("Benchmarks: accuracy, reasons, compliance, groups of the insured"):
            run.benchmarked(claims)
        with run.step("Distillation: a model for the adjuster's phone"):
            run.targeted(claims, TARGETS)
        with run.step("Optimization: served only if every check passes, for every group"):
            run.optimized(claims, OptimizationType.COMPLIANCE_OPTIMIZATION, "average_precision")
        return run.outcome()
