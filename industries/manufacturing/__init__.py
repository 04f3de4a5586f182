"""Tasks of factories. Adding one: a file, and one line here."""

from industries.manufacturing.feeds import FEEDS as FEEDS
from spt_core.task import Task

TASKS: tuple[Task, ...] = ()
