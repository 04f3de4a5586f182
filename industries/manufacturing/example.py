"""The complete example of factories: python -m jobs.example manufacturing

Machines are kept running, pieces and plates inspected, a process set, parts ordered in time.
"""

from __future__ import annotations

from typing import Any, final

from spt_core.examples import ExampleConfig, ExampleRun, Tell
from spt_core.optimization import OptimizationType
from spt_core.task import IndustryType

FACTORY = IndustryType.MANUFACTURING
MAINTENANCE = "manufacturing/predictive_maintenance"
QUALITY = "manufacturing/quality_control"
INSPECTION = "manufacturing/visual_inspection"
PROCESS = "manufacturing/process_optimization"
SUPPLY = "manufacturing/supply_chain"
FAILURE = "manufacturing/failure_detection"
DELAY = "manufacturing/late_delivery"
MONITORING = {
    "manufacturing": {
        "sources": [
            {"name": "OSHA", "url": "https://www.osha.gov/news/newsreleases.xml", "type": "rss"},
        ]
    }
}
# The box beside a machine: a small processor without much memory.
TARGETS: list[dict[str, Any]] = [
    {"name": "machine_box", "memory_limit_mb": 100, "edge_deployment": True},
]


@final
class ManufacturingTrainingExample:
    """All that a factory does with its models, once through."""

    def __init__(self, config: ExampleConfig | None = None, *, tell: Tell | None = None) -> None:
        self._run = ExampleRun(FACTORY, config, tell)

    def run_complete_training_pipeline(self) -> dict[str, Any]:
        """The story; the steps with their seconds, the versions, the benchmarks' results."""
        run = self._run
        with run.step("Predictive maintenance: how long will this machine run?"):
            run.told(run.trained(MAINTENANCE))
        with run.step("Quality control: what is wrong with this piece?"):
            quality = run.trained(QUALITY)
            run.told(quality)
        with run.step("Visual inspection: what is wrong with this plate, and where?"):
            run.told(run.trained(INSPECTION))
        with run.step("Process optimization: which settings would do better?"):
            run.told(run.trained(PROCESS))
        with run.step("Supply chain: how many parts are to be ordered?"):
            run.told(run.trained(SUPPLY))
        with run.step("Transfer: late deliveries start from failures of machines"):
            failure = run.trained(FAILURE)
            run.told(run.transferred(failure, DELAY))
        with run.step("Continuous training: safety rules are watched"):
            run.watching(MONITORING)
        with run.step("Benchmarks: accuracy, reasons, gaps, typos, time and size"):
            run.benchmarked(failure)
        with run.step("Distillation: a model for the box beside the machine"):
            run.targeted(quality, TARGETS)
        with run.step("Optimization: the fastest that is as good"):
            run.optimized(failure, OptimizationType.LATENCY_OPTIMIZATION, "average_precision")
        return run.outcome()
