"""A search on one page: what was trained, what it takes, what is chosen and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jinja2
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from spt_core.benchmark.report import COLORS, png
from spt_core.compression.limits import Limits
from spt_core.compression.measured import FrontPoint
from spt_core.optimization.search import SearchResult
from spt_core.task import Task

TEMPLATE = Path(__file__).with_name("search.html.j2")


def search_page(
    task: Task, result: SearchResult, front: Sequence[FrontPoint], limits: Limits
) -> str:
    """An HTML page that needs nothing else."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True)
    budget = limits.of(task)

    def draw(axes: Axes) -> None:
        others = [trial for trial in result.trials if not trial.on_front]
        best = [trial for trial in result.trials if trial.on_front]
        for trials, color in ((others, "#999"), (best, COLORS[0])):
            axes.plot([t.latency_ms for t in trials], [t.loss for t in trials], "o", color=color)
        for color, point in zip(COLORS[1:] * len(front), front, strict=False):
            mark = "*" if point.chosen else "x"
            label = f"{point.name}{', chosen' if point.chosen else ''}"
            axes.plot(point.latency_ms["p50"], point.loss, mark, ms=9, color=color, label=label)
        axes.axvline(budget.latency_ms, color="#999", lw=1, ls="--")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="ms for one row, median", ylabel="loss on validation rows")
        axes.legend(frameon=False, fontsize=7)

    return environment.from_string(TEMPLATE.read_text()).render(
        task=task, result=result, front=front, budget=budget, limits=limits, plot=png(draw)
    )
