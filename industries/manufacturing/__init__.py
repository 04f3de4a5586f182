"""Tasks of factories. Adding one: a file, and one line here."""

from industries.manufacturing.failure_detection import FAILURE_DETECTION
from industries.manufacturing.feeds import FEEDS as FEEDS
from industries.manufacturing.feeds import KEYWORDS as KEYWORDS
from industries.manufacturing.late_delivery import LATE_DELIVERY
from industries.manufacturing.process_optimization import PROCESS_OPTIMIZATION
from industries.manufacturing.quality_control import QUALITY_CONTROL
from industries.manufacturing.visual_inspection import VISUAL_INSPECTION
from spt_core.task import Task

TASKS: tuple[Task, ...] = (
    FAILURE_DETECTION,
    LATE_DELIVERY,
    PROCESS_OPTIMIZATION,
    QUALITY_CONTROL,
    VISUAL_INSPECTION,
)
