"""Tasks of hospitals and health insurers. Adding one: a file, and one line here."""

from industries.healthcare.feeds import FEEDS as FEEDS
from spt_core.task import Task

TASKS: tuple[Task, ...] = ()
