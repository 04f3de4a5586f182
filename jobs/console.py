"""What a person sees: progress on standard error, results on standard output."""

from __future__ import annotations

import contextlib
import datetime
import json
import threading
import time
from collections.abc import Generator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

PIPED_WIDTH = 140
LINE_S = 60.0  # apart: a log, such as that of `ray job submit`, has lines where there is no bar
_FIXED = Column(no_wrap=True)


class Screen:
    """One run's progress bars and messages; with `as_json` standard output holds one JSON line.

    Texts are shown as they are: rich's markup in what a stranger wrote means nothing.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.err = Console(stderr=True, highlight=False, markup=False, emoji=False)
        if not self.err.is_terminal:
            self.err.width = PIPED_WIDTH
        self.out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
        self._progress: Progress | None = None
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Generator[Stage]:
        """A bar for one stage; it ends with the stage's result and duration."""
        start = time.monotonic()
        with Progress(
            TextColumn("{task.fields[stage]:<10}", style="bold", markup=False, table_column=_FIXED),
            BarColumn(bar_width=20, table_column=_FIXED),
            TimeElapsedColumn(table_column=_FIXED),
            TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold")),
            console=self.err,
        ) as progress:
            stage = Stage(progress, progress.add_task("", total=None, stage=name))
            with (
                contextlib.nullcontext() if self.err.is_terminal else _lines(self.err, stage, name)
            ):
                yield stage
            stage.complete()
        self.seconds[name] = round(time.monotonic() - start, 1)

    def say(self, text: str) -> None:
        """A line for a person."""
        self.err.print(text)

    def warn(self, mark: str, text: str) -> None:
        """A line for a person that begins with a mark in yellow."""
        self.err.print(Text.assemble((mark, "yellow"), text))

    def table(self, title: str, header: list[str], rows: list[list[str]]) -> None:
        """A table for a person."""
        table = Table(title=title, title_justify="left")
        for number, name in enumerate(header):
            table.add_column(name, justify="left" if number == 0 else "right")
        for row in rows:
            table.add_row(*row)
        self.err.print(table)

    def result(self, content: Mapping[str, Any], text: str) -> None:
        """The job's result: one JSON line, or a text."""
        if self._as_json:
            print(json.dumps(content, default=str), flush=True)  # noqa: T201  # the contract of --json
        else:
            self.out.print(text)


class Stage:
    """The bar of a running stage."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self.text = ""

    def say(self, text: str) -> None:
        """What the stage is doing, or what came out."""
        self.text = text
        self._progress.update(self._task, description=text)

    def advance(self, completed: float, total: float, text: str = "") -> None:
        """How far the stage is."""
        self._progress.update(self._task, completed=min(completed, total), total=total)
        if text:
            self.say(text)

    def complete(self) -> None:
        """Fill the bar."""
        self._progress.update(self._task, total=1, completed=1)


@contextlib.contextmanager
def _lines(console: Console, stage: Stage, name: str) -> Generator[None]:
    """Prints what a stage is doing, now and then, while the block runs."""
    start, is_done = time.monotonic(), threading.Event()

    def tell() -> None:
        while not is_done.wait(LINE_S):
            passed = datetime.timedelta(seconds=round(time.monotonic() - start))
            console.print(f"{name:<10} {passed} {stage.text}")

    teller = threading.Thread(target=tell, name=f"lines of {name}", daemon=True)
    teller.start()
    try:
        yield
    finally:
        is_done.set()
        teller.join()
