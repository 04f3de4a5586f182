"""The complete example of software companies: python -m jobs.example technology

Code and its architecture are reviewed, hosts watched, reports of attacks read.
"""

from __future__ import annotations

from typing import Any, final

from spt_core.examples import ExampleConfig, ExampleRun, Tell
from spt_core.optimization import OptimizationType
from spt_core.task import IndustryType

SOFTWARE = IndustryType.TECHNOLOGY
CODE = "technology/code_analysis"
ARCHITECTURE = "technology/architecture_analysis"
MONITORING_TASK = "technology/performance_monitoring"
SECURITY = "technology/security_analysis"
DEFECTS = "technology/defect_prediction"
SMELLS = "technology/code_smells"
MONITORING = {
    "technology": {
        "sources": [
            {"name": "CISA", "url": "https://www.cisa.gov/cybersecurity-advisories/all.xml"},
            {"name": "NIST", "url": "https://www.nist.gov/news-events/news/rss.xml"},
        ],
        "keywords": ["vulnerability", "exploit", "malware", "ransomware"],
        "trigger_threshold": 10,
        "validation_required": True,
    }
}
DELIVERY = {"performance_regression_threshold": 0.05, "rollback_strategy": "automatic_on_failure"}
TARGETS: list[dict[str, Any]] = [
    {"name": "build_server", "memory_limit_mb": 200, "cloud_deployment": True},
]


@final
class TechnologyTrainingExample:
    """All that a software company does with its models, once through."""

    def __init__(self, config: ExampleConfig | None = None, *, tell: Tell | None = None) -> None:
        self._run = ExampleRun(SOFTWARE, config, tell)

    def run_complete_training_pipeline(self) -> dict[str, Any]:
        """The story; the steps with their seconds, the versions, the benchmarks' results."""
        run = self._run
        with run.step("Code analysis: is this function vulnerable, and where?"):
            run.told(run.trained(CODE))
        with run.step("System architecture: which pattern is this class a part of?"):
            run.told(run.trained(ARCHITECTURE))
        with run.step("Performance monitoring: is this host behaving as usual?"):
            run.told(run.trained(MONITORING_TASK))
        with run.step("Security analysis: which technique does this report describe?"):
            run.told(run.trained(SECURITY))
        with run.step("Transfer: defects start from smells of code"):
            defects = run.transferred(run.trained(SMELLS), DEFECTS)
            run.told(defects)
        with run.step("Continuous training: advisories are watched"):
            run.watching(
                MONITORING,
                DELIVERY,
                [
                    "Ransomware exploits a vulnerability in a file transfer service (synthetic)",
                    "The agency opens an office (synthetic)",
                ],
            )
        with run.step("Benchmarks: accuracy, reasons, gaps, typos, time and size"):
            run.benchmarked(defects)
        with run.step("Distillation: a model for the build server"):
            run.targeted(defects, TARGETS)
        with run.step("Optimization: the fastest that is as good"):
            run.optimized(defects, OptimizationType.LATENCY_OPTIMIZATION, "roc_auc")
        return run.outcome()
