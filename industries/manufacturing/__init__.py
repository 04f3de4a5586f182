"""Tasks of factories. Adding one: a file, and one line here."""

from industries.manufacturing.failure_detection import FAILURE_DETECTION
from industries.manufacturing.feeds import FEEDS as FEEDS
from industries.manufacturing.feeds import KEYWORDS as KEYWORDS
from industries.manufacturing.late_delivery import LATE_DELIVERY
from industries.manufacturing.predictive_maintenance import PREDICTIVE_MAINTENANCE
from industries.manufacturing.process_optimization import PROCESS_OPTIMIZATION
from industries.manufacturing.quality_control import QUALITY_CONTROL
from industries.manufacturing.supply_chain import SUPPLY_CHAIN
from industries.manufacturing.visual_inspection import VISUAL_INSPECTION
from spt_core.task import Task

TASKS: tuple[Task, ...] = (
    FAILURE_DETECTION,
    LATE_DELIVERY,
    PREDICTIVE_MAINTENANCE,
    PROCESS_OPTIMIZATION,
    QUALITY_CONTROL,
    SUPPLY_CHAIN,
    VISUAL_INSPECTION,
)
