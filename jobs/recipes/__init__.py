"""Recipes: functions that return the whole configuration of a run, named for what it runs on.

A family has a file of its own. Adding one: that file, and one line in `FAMILIES`.
"""

from collections.abc import Callable, Mapping
from types import ModuleType

from jobs.recipes import image, series, tabular, text
from jobs.recipes.config import PipelineConfig
from spt_core.task import Task

FAMILIES: Mapping[str, ModuleType] = {
    "tabular": tabular,
    "text": text,
    "image": image,
    "series": series,
}


def default(task: Task) -> PipelineConfig:
    """A real corpus on a few cores."""
    return FAMILIES[task.family].default(task)


def sample(task: Task) -> PipelineConfig:
    """The bundled synthetic sample on two cores, in about three minutes."""
    return FAMILIES[task.family].sample(task)


def smoke(task: Task) -> PipelineConfig:
    """Seconds: everything once, nothing well."""
    return FAMILIES[task.family].smoke(task)


RECIPES: Mapping[str, Callable[[Task], PipelineConfig]] = {
    "default": default,
    "sample": sample,
    "smoke": smoke,
}
