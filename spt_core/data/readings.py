"""Corpora of readings in a split: the windows' step, how they are cut, channels that are the label.

sampled readings -> columns with the windows' length, step and horizon; readings -> windows
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from spt_core.data.conform import conform
from spt_core.data.corpus import Corpus, Finding
from spt_core.data.hashing import column_hashes
from spt_core.data.infer import Columns
from spt_core.data.read import Dataset, num_partitions, size_bytes
from spt_core.data.sampling import Sample
from spt_core.data.series import (
    Cutting,
    Pace,
    calendar_of,
    cuts,
    pace,
    telling_channels,
)
from spt_core.data.split_plan import kind_of_series
from spt_core.data.splits import SplitConfig, StepUnit
from spt_core.data.sufficiency import and_more
from spt_core.errors import InputError
from spt_core.signature import SequenceShape
from spt_core.task import Task

UNITS_S: Mapping[StepUnit, float] = {
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86_400.0,
    "week": 604_800.0,
}
LARGE_BYTES = 10_000_000_000  # what a laptop's disk feels
BUCKET = "__bucket"
MOSTLY = 0.5  # of readings at the time of another, from which on they are of several units
UNEVEN = 0.5  # of distances, from which on none is usual


def paced(
    task: Task, columns: Columns, sampled: Sample, corpus: Corpus, config: SplitConfig
) -> Columns:
    """The columns; of readings with the windows' length, step and horizon."""
    if not columns.readings:
        return columns
    (field,) = columns.features
    shape = field.shape
    assert shape is not None
    if field.name in {carried.name for carried in columns.carried}:
        raise InputError(
            f"{field.name!r} is what the windows are called, however: a column that says when or "
            "of which unit a reading was has this name; rename it"
        )
    typed, _ = conform(sampled.table, columns.carried, gaps=frozenset(corpus.gaps))
    share = sampled.table.num_rows / max(sampled.num_rows, 1)
    paced = pace(typed, shape.time, shape.unit, share=share)
    if paced is None:
        raise InputError(
            f"readings of one unit must differ in time, however: no two in {shape.time!r} do"
        )
    if shape.unit is None and paced.repeated >= MOSTLY:
        raise InputError(
            f"readings of one unit must differ in time, however: {paced.repeated:.0%} of those "
            f"sampled have the {shape.time!r} of another; name the column of their units "
            "(--group), or lay each unit's files in a folder such as unit=7"
        )
    findings = list(columns.findings)
    if task.head == "forecasts" and config.horizon_steps == 0:
        raise InputError(
            "a forecast looks at least one step ahead, however: split.horizon_steps is 0"
        )
    shape = dataclasses.replace(
        shape,
        **_step(paced, config, shape),
        length=config.window_steps or shape.length,
        horizon=shape.horizon if config.horizon_steps is None else config.horizon_steps,
    )
    is_whole = sampled.is_whole and sampled.num_rows == sampled.table.num_rows
    if paced.uneven and is_whole and config.step is None and not shape.in_readings:
        detail = (
            f"{paced.uneven:.1%} of the distances between readings are not {paced.step:g}: each "
            "step takes the last reading within half a step of it, or is a gap"
        )
        findings.append(Finding(kind="gaps", column=shape.time, detail=detail))
    if paced.repeated:
        taken = "each as a step of its own" if shape.in_readings else "the last one"
        detail = (
            f"{paced.repeated:.1%} of the sampled readings have the time of another of their unit: "
            f"of such, a window takes {taken}"
        )
        findings.append(Finding(kind="gaps", column=shape.time, detail=detail))
    if task.head == "forecasts":
        is_by_time = kind_of_series(corpus, columns, config) == "time"
        calendar = calendar_of(shape, (config.train if is_by_time else 1.0) * paced.span_s)
        shape = dataclasses.replace(shape, calendar=calendar)
        if calendar:
            parts = ", ".join(part.replace("_", " ") for part in calendar)
            detail = (
                f"the {parts} of each step is an input: a request's readings say when they were"
            )
            findings.append(Finding(kind="calendar", column=shape.time, detail=detail))
    features = (dataclasses.replace(field, shape=shape),)
    return dataclasses.replace(columns, features=features, findings=tuple(findings))


def _step(paced: Pace, config: SplitConfig, shape: SequenceShape) -> dict[str, Any]:
    """The step and what it is counted in: as the configuration says, else as readings come."""
    unit, step = config.step_unit, config.step or 1.0
    if unit == "reading" or (unit is None and config.step is None and shape.in_readings):
        if step != 1.0:
            raise InputError(
                f"where readings are counted, each must be a step, however: split.step is {step:g}"
            )
        apart = paced.step if paced.uneven < UNEVEN else 0.0
        return {"step": 1.0, "in_months": False, "in_readings": True, "apart": apart}
    if unit is None:
        if config.step is None:
            return {"step": paced.step, "in_months": paced.in_months}
        return {"step": step, "in_months": False, "in_readings": False}
    if not paced.span_s:
        raise InputError(
            f"split.step_unit={unit} is for times, however: {shape.time!r} holds numbers, which "
            "are their own unit"
        )
    if unit == "month":
        return {"step": step, "in_months": True, "in_readings": False}
    return {"step": step * UNITS_S[unit], "in_months": False, "in_readings": False}


def cutting_of(corpus: Corpus, columns: Columns, config: SplitConfig) -> Cutting:
    """How windows are cut of the corpus's readings."""
    (field,) = columns.features
    assert field.shape is not None
    return Cutting(
        name=field.name,
        shape=field.shape,
        head=columns.labels.head,
        label=corpus.label,
        stride=config.stride_steps,
    )


def cut_windows(rows: Dataset, corpus: Corpus, columns: Columns, config: SplitConfig) -> Dataset:
    """Windows of the readings."""
    size = num_partitions(size_bytes(corpus))
    return cut_dataset(rows, cutting_of(corpus, columns, config), num_partitions=size)


def cut_dataset(readings: Dataset, cutting: Cutting, *, num_partitions: int) -> Dataset:
    """The windows of readings as a dataset: one shuffle by unit, and each bucket cut by itself.

    A bucket's readings must fit in a worker's memory, as must those of the busiest unit; of its
    windows some are held at a time.
    """
    if num_partitions == 1 or cutting.shape.unit is None:
        return readings.repartition(1).map_batches(
            functools.partial(cuts, cutting=cutting),
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
        )
    bucketed = readings.map_batches(
        functools.partial(_with_bucket, unit=cutting.shape.unit, num_buckets=num_partitions),
        batch_size=None,
        batch_format="pyarrow",
    )
    grouped = bucketed.groupby(BUCKET, num_partitions=num_partitions)
    return grouped.map_groups(
        functools.partial(_one_bucket, cutting=cutting), batch_format="pyarrow"
    )


def large_windows(num_rows: int, columns: Columns) -> list[Finding]:
    """What is said of so many training windows where they are much larger than their readings."""
    (field,) = columns.features
    shape = field.shape
    assert shape is not None
    size = 4 * num_rows * shape.num_rows * shape.num_columns
    if size < LARGE_BYTES:
        return []
    detail = (
        f"{num_rows:,} training windows of {shape.length} steps hold {size / 1e9:,.0f} GB: parts "
        "have each reading once, but every epoch reads all windows, and what a teacher tells its "
        "student is written with them: --set split.stride_steps=N takes every Nth"
    )
    return [Finding(kind="windows", column=field.name, detail=detail)]


def refuse_telling(train: pa.Table, cutting: Cutting) -> None:
    """Refuse channels that are the label under another name."""
    telling = telling_channels(train, cutting)
    if telling:
        raise InputError(
            f"no channel may give the label {cutting.label!r} away, however: {telling[0]!r} does "
            f"by its last reading alone{and_more(telling)}; --set data.drop={','.join(telling)}"
        )


def _with_bucket(table: pa.Table, unit: str, num_buckets: int) -> pa.Table:
    buckets = column_hashes(table[unit]) % np.uint64(num_buckets)
    return table.append_column(BUCKET, pa.array(buckets.astype(np.int64)))


def _one_bucket(table: pa.Table, cutting: Cutting) -> Iterator[pa.Table]:
    yield from cuts(table.drop_columns([BUCKET]), cutting)
