"""Tasks of software companies. Adding one: a file, and one line here."""

from industries.technology.feeds import FEEDS as FEEDS
from spt_core.task import Task

TASKS: tuple[Task, ...] = ()
