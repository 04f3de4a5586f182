"""Does a model of another task help where labels are few? Learning curves, beside their controls.

SPT_DATA_HOME=... python -m tests.bench.bench_transfer PAIR
    [--seeds 5] [--sizes 25,100,400] [--source-rows 8000]

PAIR is one of taiwan-german (loans of another country), phrasebank-fomc (texts of finance, another
question), and two in which nothing is to be gained, so that the guard is seen to hold: ulb-handbook
(transactions without a common column) and fraud-carclaims (transactions to claims).

Of the target's training rows the nearest to the later parts are taken until they hold so many
positives (of classes: so many rows); 0 takes all. Validation, calibration and test rows are the
same for all arms of a seed, and each seed deals rows anew (in time they are dealt once). Arms: a
teacher from scratch; one begun with the source; one begun with a source whose labels were shuffled;
LightGBM, tuned on validation rows. Figures are of test rows: log loss, and the task's metric. A
gain is how much the loss of the transferred teacher is lower than the lowest of the other three,
with a paired bootstrap interval over test rows and seeds (the least of three is the harder mark, as
it is chosen by test rows too). The guard's regret is the loss of what it kept over that of the
better of the two that it chose from. Networks are fitted in this process, not on Ray Train.
What a run that was stopped has trained is there for the same command.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from cluster.settings import load_settings
from jobs.overrides import override
from jobs.recipes import default
from jobs.recipes.config import PipelineConfig
from spt_core.artifacts import filesystem, has_manifest, write_manifest
from spt_core.data.catalog import DATASETS, open_dataset
from spt_core.data.corpus import ROW, Corpus, DatasetInfo, Roles
from spt_core.data.labels import num_saying
from spt_core.data.partition import PARTS
from spt_core.data.sources import open_corpus
from spt_core.data.splits import SplitConfig, Splits, load_splits
from spt_core.data.splitting import split
from spt_core.families.tabular.boosters import quality_of, tune
from spt_core.families.tabular.rows import booster_rows, encoded_arrays, target_of
from spt_core.fitting.in_process import fit_in_process
from spt_core.heads import HEADS
from spt_core.heads.outcomes import Outcomes
from spt_core.model import SpecializedModel
from spt_core.task import Task, find
from spt_core.training import SpecializedModelTrainer
from spt_core.transfer import DomainTransferTrainer, TransferConfig
from tests.bench import protocol

BOOSTER_TRIALS = 5
SHARES = SplitConfig(train=0.5, validation=0.15, calibration=0.1, test=0.25)
# A task of one class for each text, whose wording plays no part here.
CARRIER = "technology/security_analysis"
Floats = NDArray[np.float64]


class Side(NamedTuple):
    """Rows of a task, and what its data set asks of a recipe."""

    task: Task
    corpus: Corpus
    settings: tuple[str, ...]


class Pair(NamedTuple):
    """What to begin with, what for, and the positives (or rows) to try by default."""

    source: Callable[[str], Side]
    target: Callable[[str], Side]
    sizes: tuple[int, ...]


def catalogued(name: str) -> Callable[[str], Side]:
    """A data set of the catalog."""

    def opened(storage: str) -> Side:
        home = load_settings(storage=storage).data_home
        corpus = open_dataset(name, data_home=home, storage=storage)
        return Side(find(DATASETS[name].task), corpus, DATASETS[name].settings)

    return opened


def texts(pattern: str, text: str, label: str, licence: str) -> Callable[[str], Side]:
    """Sentences of a file that no task of the catalog names, each with one class."""

    def opened(storage: str) -> Side:
        home = Path(load_settings(storage=storage).data_home)
        (path,) = home.rglob(pattern)
        with path.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        unique = {row[text]: row[label] for row in rows}
        task = find(CARRIER)
        table = pa.table({"text": list(unique), "stance": [f"c{v}" for v in unique.values()]})
        info = DatasetInfo(name=path.parent.name, licences=(licence,))
        corpus = open_corpus(task, table, storage=storage, roles=Roles(label="stance"), info=info)
        return Side(task, corpus, ())

    return opened


PAIRS: Mapping[str, Pair] = {
    "taiwan-german": Pair(
        catalogued("credit-taiwan"), catalogued("credit-german-south"), (25, 100, 0)
    ),
    "phrasebank-fomc": Pair(
        texts("sentiment-phrasebank/*.csv", "sentence", "labels", "CC BY-NC-SA 3.0"),
        texts("fomc-stance/*train*.csv", "sentence", "label", "CC BY-NC 4.0"),
        (100, 400, 0),
    ),
    "ulb-handbook": Pair(
        catalogued("fraud-ulb-sampled"), catalogued("fraud-handbook-sim"), (25, 100, 400)
    ),
    "fraud-carclaims": Pair(
        catalogued("fraud-ulb-sampled"), catalogued("auto-claims-carclaims"), (25, 100, 400)
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each size and seed, then all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pair", choices=PAIRS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sizes", help="comma-separated; 0 takes all training rows")
    parser.add_argument("--source-rows", type=int, default=8_000, help="of the source's training")
    parser.add_argument("--strategy", default="full")
    args = parser.parse_args(arguments)
    pair = PAIRS[args.pair]
    sizes = pair.sizes if args.sizes is None else tuple(map(int, args.sizes.split(",")))
    transfer = TransferConfig(strategy=args.strategy, shares=())  # no figure here is of fewer rows
    torch.set_num_threads(os.cpu_count() or 1)
    storage = protocol.bench_storage(f"transfer-{args.pair}")
    runs: list[dict[str, Any]] = []
    with protocol.local_session(storage):
        side = pair.source(storage)
        sources = {
            name: source_model(side, storage, args.source_rows, is_shuffled=name == "shuffled")
            for name in _SOURCES
        }
        protocol.say(f"sources: { {n: dict(m.artifact.metrics) for n, m in sources.items()} }")
        target = pair.target(storage)
        for seed in range(args.seeds):
            splits = dealt(target, storage, seed)
            for size in sizes:
                few = with_few(splits, size)
                runs.append(arms(few, target, storage, sources, seed, size, transfer))
                shown = {k: round(v, 4) for k, v in runs[-1]["loss"].items()}
                protocol.say(f"seed {seed}, size {size}: {shown} kept {runs[-1]['kept']}")
    command = (
        f"python -m tests.bench.bench_transfer {args.pair} --seeds {args.seeds} "
        f"--sizes {','.join(map(str, sizes))} --source-rows {args.source_rows}"
    )
    lines = [_line(size, [r for r in runs if r["size"] == size]) for size in sizes]
    protocol.finish(f"transfer-{args.pair}", {"command": command, "sizes": lines})


_SOURCES = ("true", "shuffled")


def recipe(side: Side, storage: str, seed: int) -> PipelineConfig:
    """The default recipe with few trials of forests, which do not differ between arms."""
    config = protocol.recipe(side.task, storage, default)
    training = dataclasses.replace(config.training, seed=seed)
    if side.task.family == "tabular":
        network = dataclasses.replace(training.network, booster_trials=BOOSTER_TRIALS)
        training = dataclasses.replace(training, network=network)
    return override(dataclasses.replace(config, training=training), side.settings)


def source_model(side: Side, storage: str, num_rows: int, *, is_shuffled: bool) -> SpecializedModel:
    """A teacher of so many of the source's rows, or of their labels in another order."""
    config = recipe(side, storage, 0)
    splits = with_few(split(side.task, side.corpus, storage, config.split), rows=num_rows)
    splits = shuffled(splits) if is_shuffled else splits
    return SpecializedModelTrainer(config.training).train(splits, fit=fit_in_process)


def dealt(side: Side, storage: str, seed: int) -> Splits:
    """The target's four parts; in time as its data set asks, else dealt anew by each seed."""
    config = recipe(side, storage, seed).split
    if side.corpus.time is None or config.kind == "random":
        config = dataclasses.replace(SHARES, kind=config.kind, seed=seed)
    return split(side.task, side.corpus, storage, config)


def with_few(splits: Splits, size: int = 0, *, rows: int = 0) -> Splits:
    """The splits with the last training rows that hold `size` positives, or that many `rows`."""
    table = splits.table("train").sort_by(ROW)
    if splits.kind != "time":  # in an order that the labels know nothing of
        table = table.take(np.random.default_rng(0).permutation(table.num_rows))
    if size and splits.labels.head == "binary":
        positives = np.cumsum(np.asarray(table[splits.label], float)[::-1])
        rows = int(np.searchsorted(positives, size)) + 1
    kept = table.slice(max(table.num_rows - (rows or size), 0)) if rows or size else table
    return _with_train(splits, kept, f"few-{size}-{rows}")


def shuffled(splits: Splits) -> Splits:
    """The splits whose training labels stand in another order: nothing can be learnt of them."""
    table = splits.table("train")
    order = np.random.default_rng(1).permutation(table.num_rows)
    place = table.column_names.index(splits.label)
    wrong = table.set_column(place, splits.label, table[splits.label].take(pa.array(order)))
    return _with_train(splits, wrong, "shuffled")


def _with_train(splits: Splits, table: pa.Table, name: str) -> Splits:
    uri = f"{splits.uri}-{name}"
    if has_manifest(uri):
        return load_splits(uri)
    for part in PARTS:
        files, path = filesystem(f"{uri}/{part}")
        files.create_dir(path, recursive=True)
        rows = table if part == "train" else splits.table(part)
        pq.write_table(rows, f"{path}/rows.parquet", filesystem=files)
    own = dataclasses.replace(
        splits,
        uri=uri,
        num_rows={**splits.num_rows, "train": table.num_rows},
        num_positives={
            **splits.num_positives,
            "train": num_saying(table[splits.label], splits.labels),
        },
        fingerprints={**splits.fingerprints, "train": f"{splits.fingerprints['train']}-{name}"},
    )
    write_manifest(uri, own.to_json())
    return own


def arms(
    splits: Splits,
    side: Side,
    storage: str,
    sources: Mapping[str, SpecializedModel],
    seed: int,
    size: int,
    transfer: TransferConfig,
) -> dict[str, Any]:
    """What each arm says of the test rows, and what the guard kept."""
    training = recipe(side, storage, seed).training
    trainer = DomainTransferTrainer(transfer, training=training)
    results = {
        name: trainer.transfer(model, splits, fit=fit_in_process) for name, model in sources.items()
    }
    true = results["true"]
    of = {
        "transferred": judged(true.transferred, splits),
        "scratch": judged(true.scratch, splits),
        "shuffled source": judged(results["shuffled"].transferred, splits),
    }
    losses = {name: row_losses(outcomes) for name, outcomes in of.items()}
    metric = HEADS[side.task.head].metrics[side.task.metric]
    figures = {name: metric(outcomes) for name, outcomes in of.items()}
    if side.task.family == "tabular":
        outcomes = booster(splits, side.task, of["scratch"], seed)
        losses["LightGBM"], figures["LightGBM"] = row_losses(outcomes), metric(outcomes)
    means = {name: float(values.mean()) for name, values in losses.items()}
    kept = true.verdict.kept
    return {
        "size": size,
        "seed": seed,
        "num_rows": splits.num_rows["train"],
        "num_positives": splits.num_positives["train"],
        "loss": means,
        "metric": figures,
        "kept": kept,
        "gain_on_validation": true.verdict.gain,
        "regret": means[kept] - min(means["transferred"], means["scratch"]),
        "losses": losses,
    }


def judged(model: SpecializedModel, splits: Splits) -> Outcomes:
    """What a model says of the test rows."""
    return model.open().outcomes(splits.table("test"), splits.label)


def booster(splits: Splits, task: Task, like: Outcomes, seed: int) -> Outcomes:
    """A tuned LightGBM's answers to the test rows."""
    target = target_of(task, splits, "none")
    rows = booster_rows(splits, splits.signature, target, limit=10**9)
    forest = tune(
        "lightgbm", rows, quality_of(task, target), num_trials=2 * BOOSTER_TRIALS, seed=seed
    )
    features, _ = encoded_arrays(splits, "test", splits.signature, target, limit=10**9)
    return like._replace(probabilities=np.asarray(forest.predict(features), float)[:, None])


def row_losses(of: Outcomes) -> Floats:
    """The negative log-likelihood of each row, in nats."""
    if of.probabilities.shape[1] == 1:
        p = np.clip(of.probabilities[:, 0], 1e-7, 1 - 1e-7)
        return -np.where(of.labels[:, 0] > 0, np.log(p), np.log(1 - p))
    return -np.log(np.clip((of.labels * of.probabilities).sum(1), 1e-7, None))


def _line(size: int, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over seeds, gains with their intervals, the guard's regret."""
    names = list(runs[0]["loss"])
    others = [name for name in names if name != "transferred"]
    means = {name: float(np.mean([r["loss"][name] for r in runs])) for name in names}
    best = min(others, key=lambda name: means[name])
    return {
        "size": size,
        "num_rows": [r["num_rows"] for r in runs],
        "loss": means,
        "metric": {n: float(np.mean([r["metric"][n] for r in runs])) for n in names},
        "gain_over": {name: _gain(runs, name) for name in others},
        "gain": {"over": best, **_gain(runs, best)},
        "kept": [r["kept"] for r in runs],
        "mean_regret": float(np.mean([r["regret"] for r in runs])),
        "regret_of_always_transferring": float(
            np.mean([max(r["loss"]["transferred"] - r["loss"]["scratch"], 0.0) for r in runs])
        ),
        "regret_of_never_transferring": float(
            np.mean([max(r["loss"]["scratch"] - r["loss"]["transferred"], 0.0) for r in runs])
        ),
    }


def _gain(runs: Sequence[Mapping[str, Any]], other: str) -> dict[str, float]:
    """How much lower the transferred loss is: mean over seeds, rows and seeds drawn anew."""
    gaps = [r["losses"][other] - r["losses"]["transferred"] for r in runs]
    draw = np.random.default_rng(0)
    values = []
    for _ in range(500):
        chosen = [gaps[i] for i in draw.integers(0, len(gaps), len(gaps))]
        values.append(np.mean([g[draw.integers(0, len(g), len(g))].mean() for g in chosen]))
    low, high = np.quantile(values, [0.025, 0.975])
    return {"value": float(np.mean([g.mean() for g in gaps])), "low": low, "high": high}


if __name__ == "__main__":
    main()
