"""The complete example of banks and lenders: python -m jobs.example financial_services

Credit risk, market risk, fraud and compliance models are trained and registered; credit scoring
starts from credit risk. Then regulators are watched, a model is benchmarked by the bank's own cases
too, made small for phones and branches, and optimized. A copy of this file with other tasks is
another industry's.
"""

from __future__ import annotations

from typing import Any, final

from spt_core.benchmark import BenchmarkTask, BenchmarkType
from spt_core.examples import ExampleConfig, ExampleRun, Tell
from spt_core.optimization import OptimizationType
from spt_core.task import IndustryType

BANK = IndustryType.FINANCIAL_SERVICES
RISK = "financial_services/risk_assessment"
MARKET_RISK = "financial_services/market_risk"
FRAUD = "financial_services/fraud_detection"
COMPLIANCE = "financial_services/regulatory_compliance"
CREDIT_SCORING = "financial_services/credit_scoring"
APPLICATION = {
    "customer_profile": {
        "credit_score": 720,
        "annual_income": 75000,
        "debt_to_income": 0.35,
        "employment_history": "5 years stable",
    },
    "loan_details": {"amount": 250000, "purpose": "home_purchase", "term": 30},
}
WEAK_APPLICATION = {
    "customer_profile": {
        "credit_score": 480,
        "annual_income": 18000,
        "debt_to_income": 0.85,
        "employment_history": "0 years unstable",
    },
    "loan_details": {"amount": 400000, "purpose": "business", "term": 7},
}
SOUND_APPLICATION = {
    "customer_profile": {
        "credit_score": 800,
        "annual_income": 120000,
        "debt_to_income": 0.15,
        "employment_history": "12 years stable",
    },
    "loan_details": {"amount": 120000, "purpose": "home_purchase", "term": 30},
}
MONITORING = {
    "financial_services": {
        "sources": [
            {"name": "SEC", "url": "https://www.sec.gov/news/pressreleases.rss"},
            {"name": "FINRA", "url": "https://www.finra.org/rules-guidance"},
            {"name": "Basel", "url": "https://www.bis.org/list/bcbs/index.htm"},
        ],
        "keywords": ["regulation", "compliance", "capital", "risk"],
        "trigger_threshold": 10,
        "validation_required": True,
    }
}
DELIVERY = {
    "automated_testing": True,
    "performance_regression_threshold": 0.05,
    "compliance_validation_required": True,
    "human_review_threshold": "high_risk_changes",
    "rollback_strategy": "automatic_on_failure",
}
TARGETS: list[dict[str, Any]] = [
    {"name": "mobile_app", "latency_requirement_ms": 50, "mobile_deployment": True},
    {"name": "edge_device", "memory_limit_mb": 100, "edge_deployment": True},
]


@final
class FinancialServicesTrainingExample:
    """All that a bank does with its models, once through."""

    def __init__(self, config: ExampleConfig | None = None, *, tell: Tell | None = None) -> None:
        self._run = ExampleRun(BANK, config, tell)

    def run_complete_training_pipeline(self) -> dict[str, Any]:
        """The story; the steps with their seconds, the versions, the benchmarks' results."""
        run = self._run
        with run.step("Credit risk: will this loan default?"):
            risk = run.trained(RISK)
            run.told(risk, APPLICATION if risk.splits.synthetic else None)
        with run.step("Market risk: what may this position lose by tomorrow?"):
            run.told(run.trained(MARKET_RISK))
        with run.step("Fraud detection: is this transaction fraudulent?"):
            run.told(run.trained(FRAUD))
        with run.step("Regulatory compliance: what does this clause risk?"):
            run.told(run.trained(COMPLIANCE))
        with run.step("Transfer: credit scoring starts from risk assessment"):
            run.told(run.transferred(risk, CREDIT_SCORING))
        with run.step("Continuous training: SEC, FINRA and the Basel Committee are watched"):
            run.watching(
                MONITORING,
                DELIVERY,
                [
                    "Final rule on capital requirements and counterparty risk (synthetic)",
                    "The authority's office is closed on Friday (synthetic)",
                ],
            )
        with run.step(
            "Benchmarks: accuracy, reasons, compliance, groups, and the bank's own cases"
        ):
            run.benchmarked(risk, *([_own_cases()] if risk.splits.synthetic else []))
        with run.step("Distillation: models for phones and branches"):
            run.targeted(risk, TARGETS)
        with run.step("Optimization: as accurate as can be, then with every check passed"):
            run.optimized(risk, OptimizationType.ACCURACY_OPTIMIZATION, "average_precision")
            run.optimized(risk, OptimizationType.COMPLIANCE_OPTIMIZATION, "average_precision")
        return run.outcome()


def _own_cases() -> BenchmarkTask:
    """Two applications whose answer the bank is sure of.

    By the sample's generator the first defaults with log-odds of 4.0 (a probability of 0.98), the
    second with -4.4 (0.01).
    """
    return BenchmarkTask(
        task_id="bank_policy_001",
        name="The bank's own policy",
        description="The plainly unaffordable is declined, the plainly sound approved.",
        industry=BANK,
        benchmark_type=BenchmarkType.DOMAIN_KNOWLEDGE,
        input_data=[WEAK_APPLICATION, SOUND_APPLICATION],
        expected_outputs=[
            {"recommendation": "decline", "risk_level": "high"},
            {"recommendation": "approve", "risk_level": "low"},
        ],
        evaluation_criteria={"accuracy_weight": 0.6, "reasoning_quality": 0.4},
    )
