"""Tasks of factories. Adding one: a file, and one line here."""

from industries.manufacturing.feeds import FEEDS as FEEDS
from industries.manufacturing.feeds import KEYWORDS as KEYWORDS
from industries.manufacturing.predictive_maintenance import PREDICTIVE_MAINTENANCE
from industries.manufacturing.process_optimization import PROCESS_OPTIMIZATION
from industries.manufacturing.quality_control import QUALITY_CONTROL
from industries.manufacturing.supply_chain import SUPPLY_CHAIN
from spt_core.task import Task

TASKS: tuple[Task, ...] = (
    PREDICTIVE_MAINTENANCE,
    PROCESS_OPTIMIZATION,
    QUALITY_CONTROL,
    SUPPLY_CHAIN,
)
