"""The specification's snippets and configurations as they stand, and how a test runs one.

Import paths apart: the specification's modules are this project's, by MODULES.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

# Each public name of the specification -> where it is here.
NAMES: Mapping[str, str] = {
    "BenchmarkSuite": "spt_core.benchmark",
    "BenchmarkTask": "spt_core.benchmark",
    "BenchmarkType": "spt_core.benchmark",
    "ContinuousTrainingPipeline": "spt_core.continuous",
    "DistillationConfig": "spt_core.distillation",
    "DistillationPipeline": "spt_core.distillation",
    "DistillationType": "spt_core.distillation",
    "DomainOptimizer": "spt_core.optimization",
    "DomainTransferTrainer": "spt_core.transfer",
    "DomainVocabularyManager": "spt_core.vocabulary",
    "FinancialServicesTrainingExample": "industries.financial_services.example",
    "HealthcareTrainingExample": "industries.healthcare.example",
    "IndustryType": "spt_core.task",
    "OptimizationConfig": "spt_core.optimization",
    "OptimizationTechnique": "spt_core.optimization",
    "OptimizationType": "spt_core.optimization",
    "SpecializedModelTrainer": "spt_core.training",
    "TrainingConfig": "spt_core.training",
}
_IMPORT = re.compile(r"^from training\.specialized\.\S+ import (.+)$", re.MULTILINE)


def run(name: str, **names: Any) -> dict[str, Any]:
    """The names that a snippet defines, run where `names` are defined before it."""
    code = _IMPORT.sub(lambda match: imports(match[1].split(", ")), SNIPPETS[name])
    space: dict[str, Any] = dict(names)
    made = eval(compile(code, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), space)
    if inspect.iscoroutine(made):
        asyncio.run(made)
    return space


def transfer_strategy() -> dict[str, Any]:
    """The configuration of progressive unfreezing, as the specification writes it."""
    trainer = SimpleNamespace(transfer_with_strategy=lambda *_: None)
    names = {"trainer": trainer, "source_model": None, "target_data": None}
    return run("transfer_strategy", **names)["transfer_config"]


def imports(names: list[str]) -> str:
    """The same names from where they are."""
    return "; ".join(f"from {NAMES[name]} import {name}" for name in names)


SNIPPETS: Mapping[str, str] = {
    "train": """
from training.specialized.core.base_trainer import SpecializedModelTrainer, TrainingConfig, IndustryType

# Configure training for financial services
config = TrainingConfig(
    model_name="financial-risk-bert",
    industry=IndustryType.FINANCIAL_SERVICES,
    num_epochs=10,
    batch_size=32,
    learning_rate=2e-5,
    output_dir="models/financial"
)

# Create trainer
trainer = SpecializedModelTrainer(config)

# Train model (with your data)
model = trainer.train(train_dataloader, eval_dataloader)
""",
    "transfer": """
from training.specialized.core.transfer_learning import DomainTransferTrainer

# Transfer from financial services to insurance
transfer_trainer = DomainTransferTrainer()

transferred_model = transfer_trainer.transfer_between_domains(
    source_model=financial_model,
    source_domain=IndustryType.FINANCIAL_SERVICES,
    target_domain=IndustryType.INSURANCE,
    target_data=insurance_dataloader
)
""",
    "watch": """
from training.specialized.core.continuous_training import ContinuousTrainingPipeline

# Monitor regulatory changes and retrain automatically
pipeline = ContinuousTrainingPipeline()

# Add monitoring sources
pipeline.add_monitoring_source({
    "name": "SEC_Updates",
    "url": "https://www.sec.gov/news/pressreleases.rss",
    "type": "rss",
    "industry": IndustryType.FINANCIAL_SERVICES
})

# Start monitoring
await pipeline.start_monitoring()
""",
    "benchmark": """
from training.specialized.core.benchmarks import BenchmarkSuite

# Run comprehensive benchmarks
benchmark_suite = BenchmarkSuite()

results = benchmark_suite.run_comprehensive_benchmark(
    model=your_model,
    model_name="financial_risk_model",
    industries=[IndustryType.FINANCIAL_SERVICES]
)

print(f"Overall accuracy: {results['overall_summary']['overall_accuracy']}")
""",
    "distill": """
from training.specialized.core.distillation import DistillationPipeline, DistillationConfig

# Configure distillation for mobile deployment
config = DistillationConfig(
    teacher_model_path="large_model.pt",
    compression_ratio=0.3,
    target_accuracy=0.95,
    output_dir="distilled_models"
)

# Create distillation pipeline
pipeline = DistillationPipeline(config)

# Define deployment targets
targets = [
    {
        "name": "mobile_app",
        "compression_ratio": 0.3,
        "latency_requirement_ms": 50,
        "mobile_deployment": True
    },
    {
        "name": "edge_device",
        "compression_ratio": 0.2,
        "memory_limit_mb": 100,
        "edge_deployment": True
    }
]

# Run distillation
results = pipeline.run_comprehensive_distillation(
    teacher_model, train_data, eval_data, targets
)
""",
    "optimize": """
from training.specialized.core.domain_optimization import DomainOptimizer, OptimizationConfig

# Configure optimization for financial services
config = OptimizationConfig(
    industry=IndustryType.FINANCIAL_SERVICES,
    optimization_type=OptimizationType.ACCURACY_OPTIMIZATION,
    target_accuracy=0.95,
    max_latency_ms=100
)

# Apply optimization
optimizer = DomainOptimizer(config)
optimized_model, results = optimizer.optimize_model(
    model, train_data, eval_data, "accuracy"
)
""",
    "financial_example": """
from training.specialized.financial_services.financial_training_example import FinancialServicesTrainingExample

# Run complete financial services training pipeline
example = FinancialServicesTrainingExample()
example.run_complete_training_pipeline()
""",
    "risk": """
# Example risk assessment input
risk_input = {
    "customer_profile": {
        "credit_score": 720,
        "annual_income": 75000,
        "debt_to_income": 0.35,
        "employment_history": "5 years stable"
    },
    "loan_details": {
        "amount": 250000,
        "purpose": "home_purchase",
        "term": 30
    }
}

# Model provides structured risk assessment
risk_assessment = model.assess_risk(risk_input)
# Returns: risk_level, recommendation, conditions, reasoning
""",
    "fraud": """
# Real-time fraud detection
transaction = {
    "amount": 9500,
    "location": "different_country",
    "time": "03:00_local",
    "merchant": "unknown",
    "account_pattern": "unusual"
}

fraud_result = model.detect_fraud(transaction)
# Returns: fraud_probability, risk_factors, recommendation, confidence
""",
    "healthcare_example": """
from training.specialized.healthcare.healthcare_training_example import HealthcareTrainingExample

# Run complete healthcare training pipeline
example = HealthcareTrainingExample()
example.run_complete_training_pipeline()
""",
    "case": """
# Clinical case analysis
clinical_case = {
    "patient": {
        "age": 65,
        "gender": "male",
        "symptoms": ["chest_pain", "shortness_of_breath"],
        "vitals": {"bp": "150/95", "hr": 95},
        "history": ["hypertension", "diabetes"]
    }
}

diagnosis = model.analyze_case(clinical_case)
# Returns: differential_diagnoses, recommended_tests, urgency_level, reasoning
""",
    "imaging": """
# Medical image analysis with attention
image_analysis = model.analyze_image(chest_xray_image)
# Returns: findings, differential_diagnosis, recommendations, attention_map, confidence
""",
    "vocabulary": """
from training.specialized.core.base_trainer import DomainVocabularyManager

# Extend vocabulary for financial domain
vocab_manager = DomainVocabularyManager()

financial_terms = [
    "credit_default_swap", "collateralized_debt_obligation",
    "value_at_risk", "basel_capital_ratio"
]

vocab_manager.extend_vocabulary(
    industry=IndustryType.FINANCIAL_SERVICES,
    new_terms=financial_terms,
    context_examples=financial_contexts
)
""",
    "transfer_strategy": """
# Progressive unfreezing for domain adaptation
transfer_config = {
    "strategy": "progressive_unfreezing",
    "freeze_layers": ["embedding", "encoder.0", "encoder.1"],
    "unfreeze_schedule": {
        "epoch_2": ["encoder.2"],
        "epoch_4": ["encoder.1"],
        "epoch_6": ["encoder.0"],
        "epoch_8": ["embedding"]
    }
}

transferred_model = trainer.transfer_with_strategy(
    source_model, target_data, transfer_config
)
""",
    "monitoring": """
# Industry-specific monitoring
monitoring_config = {
    "financial_services": {
        "sources": [
            {"name": "SEC", "url": "https://www.sec.gov/news/pressreleases.rss"},
            {"name": "FINRA", "url": "https://www.finra.org/rules-guidance"},
            {"name": "Basel", "url": "https://www.bis.org/list/bcbs/index.htm"}
        ],
        "keywords": ["regulation", "compliance", "capital", "risk"],
        "trigger_threshold": 10,
        "validation_required": True
    }
}
""",
    "custom_benchmark": """
# Custom benchmark creation
from training.specialized.core.benchmarks import BenchmarkTask, BenchmarkType

custom_benchmark = BenchmarkTask(
    task_id="custom_risk_001",
    name="Custom Risk Assessment",
    description="Industry-specific risk evaluation",
    industry=IndustryType.FINANCIAL_SERVICES,
    benchmark_type=BenchmarkType.DOMAIN_KNOWLEDGE,
    input_data=custom_test_cases,
    expected_outputs=expected_results,
    evaluation_criteria={
        "accuracy_weight": 0.6,
        "reasoning_quality": 0.4
    }
)

benchmark_suite.add_custom_benchmark(
    IndustryType.FINANCIAL_SERVICES, custom_benchmark
)
""",
    "benchmark_output": """
{
  "model_name": "financial_risk_model",
  "overall_summary": {
    "overall_accuracy": 0.947,
    "total_benchmarks": 12,
    "industries_tested": 1,
    "performance_by_industry": {
      "financial_services": 0.947
    },
    "performance_by_type": {
      "domain_knowledge": 0.952,
      "compliance": 0.941,
      "reasoning": 0.948
    }
  },
  "industry_summaries": {
    "financial_services": {
      "num_benchmarks": 12,
      "avg_accuracy": 0.947,
      "avg_latency_ms": 85.3,
      "success_rate": 0.983
    }
  }
}
""",
    "training_config": """
@dataclass
class TrainingConfig:
    model_name: str = "specialized-model"
    industry: IndustryType = IndustryType.FINANCIAL_SERVICES
    num_epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 2e-5
    warmup_ratio: float = 0.1
    weight_decay: float = 0.01
    
    # Industry-specific parameters
    domain_vocabulary_size: int = 10000
    specialized_layers: List[str] = None
    compliance_requirements: List[str] = None
    
    # Performance parameters
    use_mixed_precision: bool = True
    gradient_checkpointing: bool = False
    dataloader_num_workers: int = 4
    
    # Output configuration
    output_dir: str = "specialized_models"
    save_strategy: str = "epoch"
    evaluation_strategy: str = "steps"
    eval_steps: int = 500
    logging_steps: int = 100
""",
    "optimization_config": """
@dataclass
class OptimizationConfig:
    industry: IndustryType
    optimization_type: OptimizationType
    target_metrics: List[str]
    techniques: List[OptimizationTechnique]
    
    # Performance targets
    target_accuracy: Optional[float] = None
    max_latency_ms: Optional[float] = None
    max_memory_mb: Optional[float] = None
    min_throughput_qps: Optional[float] = None
    
    # Domain-specific parameters
    domain_adaptation_weight: float = 0.1
    task_specific_layers: List[str] = None
""",
    "deployment": """
# Production deployment pipeline
deployment_pipeline = {
    "mobile_deployment": {
        "compression_ratio": 0.3,
        "quantization": "int8",
        "target_latency_ms": 50,
        "target_size_mb": 25
    },
    "edge_deployment": {
        "compression_ratio": 0.2,
        "pruning_ratio": 0.3,
        "target_latency_ms": 100,
        "target_memory_mb": 50
    },
    "cloud_deployment": {
        "compression_ratio": 0.6,
        "batch_optimization": True,
        "target_throughput_qps": 1000
    }
}
""",
    "cicd": """
# CI/CD integration for model updates
cicd_config = {
    "automated_testing": True,
    "performance_regression_threshold": 0.05,
    "compliance_validation_required": True,
    "human_review_threshold": "high_risk_changes",
    "rollback_strategy": "automatic_on_failure",
    "monitoring_integration": ["prometheus", "grafana", "wandb"]
}
""",
}
