"""Tasks of factories. Adding one: a file, and one line here."""

from industries.manufacturing.feeds import FEEDS as FEEDS
from industries.manufacturing.feeds import KEYWORDS as KEYWORDS
from spt_core.task import Task

TASKS: tuple[Task, ...] = ()
