"""How a corpus is split, before any row is dealt: by what, at which moments, and what is a twin."""

from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np
import pyarrow.compute as pc

from spt_core.artifacts import remove
from spt_core.data.conform import conform, has_dates, time_column
from spt_core.data.corpus import INSTANT, SUBFOLDER, Corpus, Finding
from spt_core.data.hashing import column_hashes, uniform
from spt_core.data.infer import Columns
from spt_core.data.partition import DAY_US, Partition, TimeHistogram, histogram_of
from spt_core.data.read import read, rows_of
from spt_core.data.sampling import Sample
from spt_core.data.splits import SplitConfig, SplitKind
from spt_core.errors import InputError
from spt_core.task import Task

FEW_GROUPS = 50  # of which chance often leaves a part without any
SEEDS_TRIED = 2_000  # four groups for four parts need some 20, at usual shares up to 500


def kind_of(corpus: Corpus, columns: Columns, config: SplitConfig, sampled: Sample) -> SplitKind:
    """As the configuration says; else by time where times have dates, by group, or at random."""
    if config.kind == "time" and corpus.time is None:
        raise InputError(f"a time split needs a time column, however: {corpus.name} names none")
    if config.kind == "group" and corpus.group is None:
        raise InputError(f"a group split needs a group column, however: {corpus.name} names none")
    if columns.readings:
        return kind_of_series(corpus, columns, config)
    if config.kind is not None:
        return config.kind
    if corpus.time is not None:
        (field,) = (field for field in columns.all if field.name == corpus.time)
        times = time_column(sampled.table[corpus.time].combine_chunks(), field.notation).values
        if has_dates(times):
            return "time"
    return "random" if corpus.group is None else "group"


def kind_of_series(corpus: Corpus, columns: Columns, config: SplitConfig) -> SplitKind:
    """By time, or by unit: windows of one unit overlap, and never go apart at random."""
    (clock,) = (field for field in columns.carried if field.name == corpus.time)
    if config.kind == "random" or (
        config.kind is None and clock.kind != "time" and not corpus.group
    ):
        raise InputError(
            "windows of readings overlap, so that they are split by time or by group, however: "
            f"{corpus.name} is to be split at random; name the column of its units (--group)"
        )
    if config.kind == "time" and clock.kind != "time":
        raise InputError(
            f"a time split needs times, however: {corpus.time!r} of {corpus.name} holds numbers"
        )
    return config.kind or ("time" if clock.kind == "time" else "group")


def ungrouped(task: Task, corpus: Corpus, kind: SplitKind, sampled: Sample) -> list[Finding]:
    """That a split at random parts what the task, or a folder of images, holds together."""
    if kind != "random" or corpus.group is not None:
        return []
    flatters = "the split is at random, and figures may flatter"
    if corpus.format == "images" and sampled.table[SUBFOLDER].null_count < sampled.table.num_rows:
        num_folders = pc.count_distinct(sampled.table[SUBFOLDER], mode="only_valid").as_py()
        detail = f"images lie in {num_folders:,} subfolders of the classes: {flatters}; "
        detail += f"--group {SUBFOLDER} keeps those of one together"
        return [Finding(kind="group", column=SUBFOLDER, detail=detail)]
    if task.group is None:
        return []
    detail = f"no column says which rows are of one {task.group}: {flatters}; --group names one"
    return [Finding(kind="group", column=task.group, detail=detail)]


def partition_of(
    task: Task,
    corpus: Corpus,
    columns: Columns,
    config: SplitConfig,
    kind: SplitKind,
    folder: str,
    sampled: Sample,
) -> Partition:
    """How rows are dealt to parts; of a time split, after one pass over the time column.

    Few groups are dealt by another seed than the configuration's where that leaves a part without.
    """
    assert corpus.label is not None
    content = tuple(field.name for field in columns.all)
    figures = tuple(window.name for window in corpus.windows)
    # Sums depend on the order of addition in the last bit, counts and shares of labels do not.
    exact = tuple(w.name for w in corpus.windows if w.function in ("count", "label_rate"))
    apart = {"time": corpus.time, "group": corpus.group, "random": None}[kind]
    plain = tuple(name for name in content if name not in figures)
    seen = (*plain, *exact) if kind == "time" else plain
    if task.subject is not None:  # what is carried beside a text does not make it another text
        seen = (task.subject.name,)
    partition = Partition(
        folder=folder,
        label=corpus.label,
        identity=tuple(dict.fromkeys(name for name in seen if name != apart)),
        content=(*content, corpus.label),
        categories=tuple(f.name for f in columns.features if f.kind == "category"),
        terms=tuple(f.name for f in columns.features if f.kind == "terms"),
        shares=config.shares,
        seed=config.seed,
        max_categories=config.max_categories,
        labels=columns.labels,
        group=corpus.group if kind == "group" else None,
        window=columns.features[0].name if columns.readings else None,
    )
    if kind == "group":
        return dataclasses.replace(partition, seed=_seed_of_groups(sampled, columns, partition))
    if kind != "time":
        return partition
    assert corpus.time is not None
    histogram = _histogram(corpus, columns, corpus.time, f"{folder}/.ignored")
    start = histogram.first_us() + round(config.history_days * DAY_US)
    if config.history_days:
        histogram = histogram.since(start)
    return dataclasses.replace(
        partition,
        time=INSTANT,
        cuts_us=histogram.cuts_us(config.shares),
        delay_us=round(config.label_delay_days * DAY_US),
        start_us=start if config.history_days else None,
    )


def _seed_of_groups(sampled: Sample, columns: Columns, partition: Partition) -> int:
    """The partition's, or of those after it one that gives each part its share of few groups."""
    (field,) = (field for field in columns.all if field.name == partition.group)
    typed, _ = conform(sampled.table, [field])
    counted = pc.value_counts(typed[field.name].combine_chunks().drop_null())
    groups, num_rows = counted.field("values"), np.asarray(counted.field("counts"))
    if not 0 < len(groups) <= FEW_GROUPS:
        return partition.seed
    num_parts, hashes = len(partition.shares), column_hashes(groups)
    if sampled.is_whole and len(groups) < num_parts:
        raise InputError(
            f"a group split needs a group for each of its {num_parts} parts, however: "
            f"{field.name!r} has {len(groups)}; choose a random or time split (split.kind)"
        )
    bounds = np.cumsum(partition.shares)[:-1]
    best, least = partition.seed, np.inf
    for seed in range(partition.seed, partition.seed + SEEDS_TRIED):
        parts = np.searchsorted(bounds, uniform(hashes, seed), side="right")
        shares = np.bincount(parts, num_rows, num_parts) / num_rows.sum()
        if shares.all() and seed == partition.seed:
            return seed
        away = np.abs(shares - partition.shares).sum()
        if shares.all() and away < least:
            best, least = seed, away
    return best


def _histogram(corpus: Corpus, columns: Columns, time: str, ignored: str) -> TimeHistogram:
    """How the rows lie in time; one pass over the time column."""
    field = next(field for field in columns.as_read if field.name == time)
    rows = read(
        corpus,
        [field],
        quarantine=ignored,
        columns=[time],
        with_label=False,
        time=time,
        kept=(),  # nobody reads it, and it may hold what is to be rewritten
    )
    blocks = rows.map_batches(
        functools.partial(histogram_of, time=INSTANT), batch_size=None, batch_format="pyarrow"
    )
    histogram = TimeHistogram()
    for row in rows_of(blocks):
        shift, buckets, counts = json.loads(row["histogram"])
        histogram.add(shift, np.array(buckets, np.int64), np.array(counts, np.int64))
    remove(ignored)
    if not len(histogram.buckets):
        raise InputError(f"a time split needs times, however: the column {time!r} has none")
    return histogram
