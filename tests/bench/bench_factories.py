"""Tables of classes and numbers: the served student beside tuned LightGBM on public factory data.

SPT_DATA_HOME=... python -m tests.bench.bench_factories plates|concrete|energy|turbine
    [--trials 20] [--folds 5] [--seed 0]

plates and concrete: folds of plates, and of whole mixes; a fold is predicted by models that saw
none of it, and all predictions are pooled. Of the rest a seventh chooses (validation) and a seventh
calibrates. energy: four blocks of time, each a tenth of the rows, each predicted by models of
everything before it, whose last tenths choose and calibrate. turbine: 2014 by the years before it,
the halves of 2013 choose and calibrate; the process had changed by then, and figures are stated as
they come. The same rows train, choose and calibrate for both; intervals are of the difference or
the ratio, rows (mixes, days) being resampled in pairs. Coverage is of the policy's 90 % interval.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cluster.settings import load_settings
from spt_core.data.catalog import DATASETS, open_dataset
from spt_core.data.corpus import Corpus
from spt_core.data.labels import class_counts, classes_of, rule_of
from spt_core.data.splits import Splits
from spt_core.families.baseline import BaselineWork
from spt_core.families.tabular.baselines import tune_baselines
from spt_core.heads import HEADS, metric_of
from spt_core.heads.outcomes import Outcomes
from spt_core.model import default_policy, open_answerer
from spt_core.task import Task, find
from tests.bench import protocol

NAMES = {
    "plates": "uci-steel-plates-faults",
    "concrete": "uci-concrete-strength",
    "energy": "uci-steel-industry-energy",
    "turbine": "uci-gas-turbine",
}
STUDENT, BOOSTER = "student", "LightGBM"
NUM_RESAMPLES = 1000
NUM_BLOCKS = 4
Part = dict[str, pa.Table]


def folds(table: pa.Table, units: NDArray[Any], num_folds: int) -> Iterator[Part]:
    """Each fold as the test part; of the other units a seventh chooses and a seventh calibrates."""
    names = np.unique(units)
    order = np.random.default_rng(0).permutation(len(names))
    fold_of = dict(zip(names[order], np.arange(len(names)) % num_folds, strict=True))
    places = np.array([fold_of[unit] for unit in units])
    for fold in range(num_folds):
        rest = np.random.default_rng(fold + 1).permutation(np.unique(units[places != fold]))
        seventh = len(rest) // 7
        members = {
            "test": places == fold,
            "validation": np.isin(units, rest[:seventh]),
            "calibration": np.isin(units, rest[seventh : 2 * seventh]),
            "train": np.isin(units, rest[2 * seventh :]),
        }
        yield {part: table.filter(pa.array(rows)) for part, rows in members.items()}


def blocks(table: pa.Table, time: str) -> Iterator[Part]:
    """The last tenths of the time, one by one, after all that was before."""
    order = pc.sort_indices(table, [(time, "ascending")])
    table = table.take(order)
    tenth = table.num_rows // 10
    for block in range(NUM_BLOCKS):
        end = table.num_rows - (NUM_BLOCKS - 1 - block) * tenth
        cuts = [0, end - 3 * tenth, end - 2 * tenth, end - tenth, end]
        parts = ("train", "validation", "calibration", "test")
        yield {
            part: table.slice(low, high - low)
            for part, low, high in zip(parts, cuts, cuts[1:], strict=False)
        }


def years(table: pa.Table, time: str) -> Iterator[Part]:
    """2014 after 2011 and 2012, whose settings the halves of 2013 chose and calibrated."""
    year = np.asarray(pc.year(table[time]))
    is_early = (
        np.asarray(pc.month(table[time])) <= 5
    )  # its hours end in October, as they are numbered
    members = {
        "train": year <= 2012,
        "validation": (year == 2013) & is_early,
        "calibration": (year == 2013) & ~is_early,
        "test": year == 2014,
    }
    yield {part: table.filter(pa.array(rows)) for part, rows in members.items()}


def parts_of(which: str, table: pa.Table, corpus: Corpus, num_folds: int) -> Iterator[Part]:
    """The parts of each round of a data set."""
    if which in ("energy", "turbine"):
        assert corpus.time is not None
        return (blocks if which == "energy" else years)(table, corpus.time)
    units = np.arange(table.num_rows) if corpus.group is None else np.asarray(table[corpus.group])
    return folds(table, units, num_folds)


def units_of(which: str, part: pa.Table, corpus: Corpus) -> NDArray[np.int64]:
    """What is resampled as a whole: rows, mixes, or days."""
    if corpus.group is not None:
        return np.unique(np.asarray(part[corpus.group]), return_inverse=True)[1].astype(np.int64)
    if corpus.time is not None:
        days = part[corpus.time].cast(pa.timestamp("us")).cast(pa.int64())
        return np.asarray(days) // (86_400 * 1_000_000)
    return np.arange(part.num_rows)


def outcomes_of(
    task: Task, splits: Splits, storage: str, *, num_trials: int, seed: int
) -> dict[str, Outcomes]:
    """What the served student and tuned LightGBM say of the test rows."""
    exported, _ = protocol.served_model(splits, protocol.recipe(task, storage), seed)
    plain = open_answerer(exported, default_policy(exported))
    rule = plain.outcomes(splits.table("calibration"), splits.label, group=splits.corpus.group)
    policy = plain.head.policy(task, rule)
    test = splits.table("test")
    tuned = tune_baselines(
        BaselineWork(
            task=task,
            signature=exported.artifact.signature,
            classes=splits.classes,
            splits=splits,
            policy=policy,
            num_trials=num_trials,
            max_rows=10**9,
            seed=seed,
        )
    )
    return {
        STUDENT: open_answerer(exported, policy).outcomes(test, splits.label),
        **{each.name: each.outcomes(test, splits.label, None) for each in tuned.fitted},
    }


def joined(parts: list[Outcomes], units: list[NDArray[np.int64]]) -> Outcomes:
    """All rounds together; units of different rounds are different ones."""
    return parts[0]._replace(
        labels=np.concatenate([of.labels for of in parts]),
        probabilities=np.concatenate([of.probabilities for of in parts]),
        given=np.concatenate([of.given for of in parts]),
        groups=np.concatenate([u + 10**9 * n for n, u in enumerate(units)]),
        support=np.sum([of.support for of in parts], axis=0),
    )


def compared(ours: Outcomes, theirs: Outcomes, task: Task) -> dict[str, float]:
    """Ours against theirs with its interval: a ratio of errors, or a difference of scores."""
    metric = metric_of(task)

    def figure(one: Outcomes, other: Outcomes) -> float:
        first, second = metric(one), metric(other)
        return first / second if metric.lower_is_better else first - second

    draw = np.random.default_rng(0)
    order = np.argsort(ours.groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(ours.groups[order])) + 1)
    values: list[float] = []
    for _ in range(NUM_RESAMPLES):
        rows = np.concatenate([members[i] for i in draw.integers(0, len(members), len(members))])
        values.append(figure(ours.take(rows), theirs.take(rows)))
    low, high = np.quantile(values, [0.025, 0.975])
    return {"value": figure(ours, theirs), "low": float(low), "high": float(high)}


def main() -> None:
    """Run the rounds, pool, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=NAMES)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    which, name = arguments.which, NAMES[arguments.which]
    task = find(DATASETS[name].task)
    storage = protocol.bench_storage(f"factories-{which}")
    pooled: dict[str, list[Outcomes]] = {}
    units: list[NDArray[np.int64]] = []
    with protocol.local_session(storage):
        corpus = open_dataset(name, data_home=load_settings().data_home, storage=storage)
        table, columns = protocol.typed_rows(task, corpus, storage)
        rule = rule_of(task)
        classes: tuple[str, ...] = ()
        if task.head != "regression":
            classes = classes_of(rule, class_counts(table[corpus.label], rule))
        for number, parts in enumerate(parts_of(which, table, corpus, arguments.folds)):
            splits = protocol.make_splits(
                task, corpus, columns, parts, storage, classes=classes, name=f"-{number}"
            )
            units.append(units_of(which, parts["test"], corpus))
            results = outcomes_of(
                task, splits, storage, num_trials=arguments.trials, seed=arguments.seed
            )
            for model, of in results.items():
                pooled.setdefault(model, []).append(of)
                protocol.say(f"round {number}, {model}: {_figures(task, of)}")
    everything = {model: joined(of, units) for model, of in pooled.items()}
    protocol.finish(
        f"factories-{which}",
        {
            "command": f"python -m tests.bench.bench_factories {which} "
            f"--trials {arguments.trials} --folds {arguments.folds} --seed {arguments.seed}",
            "dataset": name,
            "rows": len(everything[STUDENT].labels),
            "figures": {model: _figures(task, of) for model, of in everything.items()},
            "student_against_lightgbm": compared(everything[STUDENT], everything[BOOSTER], task),
        },
    )


def _figures(task: Task, of: Outcomes) -> Mapping[str, float]:
    return {key: round(metric(of), 4) for key, metric in HEADS[task.head].metrics.items()}


if __name__ == "__main__":
    main()
