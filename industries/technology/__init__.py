"""Tasks of software and security teams. Adding one: a file, and one line here."""

from industries.technology.code_analysis import CODE_ANALYSIS
from industries.technology.feeds import FEEDS as FEEDS
from industries.technology.feeds import KEYWORDS as KEYWORDS
from industries.technology.performance_monitoring import PERFORMANCE_MONITORING
from industries.technology.security_analysis import SECURITY_ANALYSIS
from spt_core.task import Task

TASKS: tuple[Task, ...] = (CODE_ANALYSIS, PERFORMANCE_MONITORING, SECURITY_ANALYSIS)
