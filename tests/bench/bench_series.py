"""Series: the served students against their literature's protocols.

SPT_DATA_HOME=... python -m tests.bench.bench_series cmapss|smd|nab|carparts|planned
    [--seeds 5] [--quick]

cmapss: C-MAPSS FD001. Of the 100 training engines 15 are held out for early stopping, by seed; the
100 test engines are scored once each, by their last window: RMSE with true lives capped at 125 and
not, and the score of the PHM challenge (late answers cost more).
smd, nab: machines of SMD, files of NAB's realKnownCause, one model each: learned from the source's
training part (NAB: the first 15 % of a file), the last fifth of it for stopping and units. VUS-PR
over the rest, beside windowed PCA, an isolation forest of window statistics and a random score.
carparts: 45 months of 2,674 parts; the origin whose six months are the last ones is the test, the
ones seven months before each other move the quantiles and stop the training; of the baselines they
move the quantiles too, and choose the smoothing. --seeds 0 runs the baselines alone.

planned: the SYNTHETIC sample of demand, whose promotions double it, with them known in advance and
without; the last origins of each part are the test.

Everything runs in this process, without Ray: the family's own cutting, loop, softening and graph.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import torch
from safetensors.torch import load as load_weights
from sklearn.ensemble import IsolationForest

from cluster.settings import load_settings
from spt_core.compression.static import MAX_CALIBRATION_ROWS, static_graph
from spt_core.data.catalog.manufacturing import cmapss_table, read_carparts
from spt_core.data.catalog.technology import read_smd
from spt_core.data.infer import columns_of
from spt_core.data.sampling import sample_of
from spt_core.data.series import Cutting, cut, windows_of
from spt_core.families.graph import Method, graph
from spt_core.families.onnx import INPUT
from spt_core.families.series.boosters import fit_booster
from spt_core.families.series.checkpoint import StudentRuntime
from spt_core.families.series.config import SeriesConfig, SeriesCopying
from spt_core.families.series.encoding import standard, targets_of
from spt_core.families.series.ensemble import TeacherEnsemble, best_share, network_outputs
from spt_core.families.series.exporting import check_parity, trial_windows
from spt_core.families.series.facts import series_facts
from spt_core.families.series.forecasters import (
    BOOSTED,
    FORECASTS,
    SMOOTHINGS,
    UNSMOOTHED,
    boosted_forecast,
    foretelling,
)
from spt_core.families.series.learner import LEARNER
from spt_core.families.series.network import as_student
from spt_core.families.series.reading import filled
from spt_core.families.series.serving import OUTPUTS, OnnxSeriesRuntime
from spt_core.families.series.softening import copied_windows, soft_targets
from spt_core.families.series.statistics import window_statistics
from spt_core.families.series.usual import fit_usual
from spt_core.fitting.config import TrainingConfig
from spt_core.fitting.loop import BEST, fit
from spt_core.fitting.plan import TrainingRun
from spt_core.fitting.shards import MemoryShard
from spt_core.heads import ITEM_HEADS
from spt_core.heads.base import Truth
from spt_core.heads.volume import vus_pr
from spt_core.signature import SequenceShape, Signature
from spt_core.task import find
from tests.bench.results import finish

Arrays = tuple[np.ndarray, np.ndarray]
SCORED = 1024
PLANNED_ROWS = 16_800


def fitted(
    role: str, facts: Mapping[str, Any], config: TrainingConfig, train: Arrays, held: Arrays
) -> torch.nn.Module:
    """The network of the run with its best weights."""
    run = TrainingRun(
        learner=LEARNER,
        signature=Signature(fields=()),
        role=role,  # type: ignore[arg-type]
        config=config,
        facts=facts,
        num_rows=len(train[0]),
        row_bytes=1,
        scoring_rows=2048,
        head=facts["head"],
    )
    shards = [
        MemoryShard((x, y, np.ones(len(x), np.float32)), seed=config.seed) for x, y in (train, held)
    ]
    weights: dict[str, bytes] = {}

    def keep(metrics: Mapping[str, float], folder: Path | None) -> None:
        if "final" in metrics and folder is not None:
            weights["best"] = (folder / BEST).read_bytes()

    fit(run, *shards, report=keep, resume=None)
    network = LEARNER.network(run).eval()
    network.load_state_dict(load_weights(weights["best"]))
    return network


def taught(
    teacher: Callable[[np.ndarray], np.ndarray],
    windows: np.ndarray,
    facts: Mapping[str, Any],
    copies: int,
    seed: int,
) -> Arrays:
    """Windows and copies with the teacher's answers."""
    draw, copying = np.random.default_rng(seed), SeriesCopying()
    spread = np.array(facts["spread"], np.float32) * np.float32(copying.jitter)
    parts = [windows]
    for _ in range(copies):
        copy = copied_windows(windows, draw, copying.mix_probability, copying.gap_probability)
        parts.append(copy + spread * draw.standard_normal(copy.shape, np.float32))
    everything = np.concatenate(parts)
    outputs = soft_targets(teacher(everything), facts["head"])
    return everything, outputs.astype(np.float32)


def exported(student: Any, facts: Mapping[str, Any], *, has_map: bool = True) -> OnnxSeriesRuntime:
    """The student as it is served, once it agrees with its checkpoint."""
    runtime = OnnxSeriesRuntime(graph_of(student, facts, has_map=has_map))
    check_parity(StudentRuntime(student), runtime, facts)
    return runtime


def graph_of(student: Any, facts: Mapping[str, Any], *, has_map: bool) -> bytes:
    """The student's graph."""
    batch = torch.export.Dim("batch", min=1, max=1 << 16)
    example = torch.from_numpy(trial_windows(facts, 3, seed=0))
    method = student.explain if has_map else student.forward
    outputs = OUTPUTS if has_map else OUTPUTS[:1]
    return graph(Method(student, method), [example], {INPUT: {0: batch}}, outputs)


def scored(runtime: OnnxSeriesRuntime, windows: np.ndarray) -> np.ndarray:
    """Scores [N, K], some windows at a time."""
    parts = np.array_split(windows, max(len(windows) // SCORED, 1))
    return np.concatenate([runtime.explain(part)[0] for part in parts]).astype(np.float64)


def configured(task: str, network: SeriesConfig, seed: int, **more: Any) -> TrainingConfig:
    """The default recipe's training."""
    from jobs.recipes.series import default

    training = default(find(task)).training
    return dataclasses.replace(training, network=network, seed=seed, **more)


def student_training(task: str, network: SeriesConfig, seed: int, **more: Any) -> TrainingConfig:
    """The default recipe's training of students."""
    from jobs.recipes.series import default

    training = default(find(task)).distillation.training
    return dataclasses.replace(training, network=network, seed=seed, **more)


def recipe_network(task: str, **changes: Any) -> SeriesConfig:
    """The default recipe's sizes with some changed."""
    from jobs.recipes.series import default

    return dataclasses.replace(default(find(task)).training.network, **changes)


def channels_of(table: pa.Table, task: str, **roles: Any) -> SequenceShape:
    """The shape of windows of a table, its channels as a corpus of it would have them."""
    from spt_core.data.corpus import Corpus

    columns = {name: 1 for name in table.column_names}
    corpus = Corpus(
        uris=("file:///bench",),
        format="parquet",
        name="bench",
        identity="",
        columns=columns,
        **roles,
    )
    (field,) = columns_of(sample_of(table.slice(0, 20_000)), corpus, find(task)).features
    assert field.shape is not None
    return field.shape


def cmapss(home: Path, seeds: int, quick: bool) -> dict[str, Any]:
    """RMSE and score of the official test."""
    task, folder = "manufacturing/predictive_maintenance", home / "manufacturing/nasa-cmapss-fd001"
    lives = np.array(gzip.decompress((folder / "RUL_FD001.txt.gz").read_bytes()).split(), float)
    train = cmapss_table(f"file://{folder}/train_FD001.txt.gz")
    test = cmapss_table(f"file://{folder}/test_FD001.txt.gz", lives)
    shape = channels_of(
        train,
        task,
        label="remaining_useful_life",
        time="cycle",
        group="engine",
        drop=("uncapped_life",),
    )
    label = "remaining_useful_life"
    cutting = Cutting(name="w", shape=shape, head="regression", label=label)
    rows = cut(train, cutting)
    rows = rows.filter(rows["w"].is_valid())
    windows = filled(windows_of(rows["w"], shape))
    engines = np.array([int(name[-3:]) for name in rows["engine"].to_pylist()])
    last = cut(test, cutting)
    names = np.array(last["engine"].to_pylist())
    ends = np.append(np.flatnonzero(names[1:] != names[:-1]), len(names) - 1)
    final = last.take(pa.array(ends))
    test_windows = filled(windows_of(final["w"], shape))
    true = np.asarray(final["uncapped_life"], np.float64)
    results = []
    for seed in range(seeds):
        held = np.isin(engines, np.random.default_rng(seed).permutation(np.arange(1, 101))[:15])
        values = np.asarray(rows[label], np.float64)
        facts = series_facts(shape, windows[~held], head="regression", values=values[~held])
        targets = targets_of(rows[label], windows, facts)
        parts = (windows[~held], targets[~held]), (windows[held], targets[held])
        network = recipe_network(task, teacher_members=1 if quick else 2)
        epochs = 6 if quick else 12
        began = time.perf_counter()
        teacher_net = fitted(
            "teacher", facts, configured(task, network, seed, num_epochs=epochs), *parts
        )
        booster = fit_booster("regression", *parts, num_trees=300, seed=seed)
        said, boosted = (
            network_outputs(teacher_net, parts[1][0], facts),
            booster.outputs(parts[1][0]),
        )
        share = best_share(said, boosted, parts[1][1].astype(np.float64), facts)
        teacher = TeacherEnsemble(teacher_net, facts, booster, share)
        soft = taught(teacher.outputs, parts[0][0], facts, 1 if quick else 3, seed)
        config = student_training(task, network, seed, num_epochs=8 if quick else 15)
        student = as_student(fitted("student", facts, config, soft, parts[1]))
        student.calibrate([facts["value_spread"]] * 3, [facts["value_center"]] * 3)  # type: ignore[union-attr]
        runtime = exported(student, facts)
        whole = graph_of(student, facts, has_map=True)
        drawn = np.random.default_rng(seed).permutation(len(parts[0][0]))[:MAX_CALIBRATION_ROWS]
        eight = static_graph(whole, ({INPUT: parts[0][0][row][None]} for row in drawn))
        in_int8 = OnnxSeriesRuntime(eight)
        unit, center = facts["value_spread"], facts["value_center"]
        answers = {
            "student (ONNX)": scored(runtime, test_windows)[:, 0],
            "student (INT8)": scored(in_int8, test_windows)[:, 0],
            "teacher": teacher.outputs(test_windows)[:, 0] * unit + center,
            "booster": booster.outputs(test_windows)[:, 0] * unit + center,
        }
        results.append(
            {
                "seed": seed,
                "booster_share": share,
                "fit_s": time.perf_counter() - began,
                "p50_ms": _median_ms(runtime, test_windows),
                "int8_p50_ms": _median_ms(in_int8, test_windows),
                "size_kb": [len(whole) / 1024, len(eight) / 1024],
                **{name: _lives(answer, true) for name, answer in answers.items()},
            }
        )
        sys.stderr.write(f"{results[-1]}\n")
    means = {
        name: {
            figure: float(np.mean([each[name][figure] for each in results]))
            for figure in results[0][name]
        }
        for name in ("student (ONNX)", "student (INT8)", "teacher", "booster")
    }
    return {"protocol": "official test, last window, cap 125", "mean": means, "seeds": results}


def _lives(answers: np.ndarray, true: np.ndarray) -> dict[str, float]:
    answers = np.clip(answers, 0.0, 125.0)
    miss, capped = answers - true, answers - np.minimum(true, 125.0)
    cost = np.where(capped < 0, np.exp(-capped / 13.0) - 1.0, np.exp(capped / 10.0) - 1.0)
    return {
        "rmse_capped": float(np.sqrt(np.mean(capped**2))),
        "rmse_uncapped": float(np.sqrt(np.mean(miss**2))),
        "nasa_score": float(cost.sum()),
    }


def _median_ms(runtime: OnnxSeriesRuntime, windows: np.ndarray) -> float:
    times = []
    for number in range(500):
        own = windows[number % len(windows)][None]
        began = time.perf_counter()
        runtime.explain(own)
        times.append(time.perf_counter() - began)
    return float(np.median(times) * 1000)


def anomalies(tables: Mapping[str, tuple[pa.Table, int]], quick: bool) -> dict[str, Any]:
    """VUS-PR of each series, learned from its first rows."""
    task = "technology/performance_monitoring"
    results: dict[str, Any] = {}
    for name, (table, num_train) in tables.items():
        shape = channels_of(table, task, label="is_anomaly", time="time")
        shape = dataclasses.replace(shape, step=_step(table))
        rows = cut(table, Cutting(name="w", shape=shape, head="anomalies", label="is_anomaly"))
        place = np.arange(rows.num_rows)
        whole = np.asarray(rows["w"].is_valid())
        windows = filled(windows_of(rows["w"].filter(rows["w"].is_valid()), shape))
        labels, place = np.asarray(rows["is_anomaly"], np.float64)[whole], place[whole]
        cut_at = num_train * 4 // 5
        of = {"train": place < cut_at, "held": (place >= cut_at) & (place < num_train)}
        facts = series_facts(shape, windows[of["train"]], head="anomalies")
        targets = targets_of(rows["is_anomaly"], windows, facts)
        network = SeriesConfig(teacher_members=1)
        parts = [(windows[mask], targets[mask]) for mask in of.values()]
        epochs = 4 if quick else 12
        config = configured(task, network, 0, num_epochs=epochs)
        teacher = fitted("teacher", facts, config, *parts)
        soft = taught(
            lambda some, net=teacher, known=facts: network_outputs(net, some, known),
            parts[0][0],
            facts,
            1,
            0,
        )
        config = student_training(task, network, 0, num_epochs=epochs)
        student = as_student(fitted("student", facts, config, soft, parts[1]))
        usual = fit_usual(
            parts[0][0][:4000],
            parts[1][0],
            facts,
            network.components,
            lambda some, net=student, known=facts: network_outputs(net, some, known),
        )
        student.set_usual(usual)  # type: ignore[union-attr]
        scores = scored(exported(student, facts), windows)[:, 0]
        later = place >= num_train
        cells = standard(windows.reshape(-1, windows.shape[2]), facts).reshape(len(windows), -1)
        left = cells - usual.typical
        left = left - left @ usual.components.T @ usual.components
        answers = {
            "student (ONNX)": scores,
            "windowed PCA": (left**2).mean(1),
            "isolation forest": _forest_scores(windows[of["train"]], windows),
            "random score": np.random.default_rng(0).random(len(windows)),
        }
        sys.stderr.write(f"{name}\n")
        results[name] = {
            each: vus_pr(labels[later], answer[later]) for each, answer in answers.items()
        } | {"base_rate": float(labels[later].mean())}
    names = ("student (ONNX)", "windowed PCA", "isolation forest", "random score")
    means = {each: float(np.mean([row[each] for row in results.values()])) for each in names}
    return {"protocol": "VUS-PR behind the training part", "mean": means, "series": results}


def _forest_scores(train: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """How soon a forest of training windows' statistics has isolated each window [N]."""
    model = IsolationForest(n_estimators=100, random_state=0)
    model.fit(np.nan_to_num(window_statistics(train)))
    return -model.score_samples(np.nan_to_num(window_statistics(windows)))


def _step(table: pa.Table) -> float:
    times = np.asarray(table["time"]).astype("datetime64[us]").astype(np.int64) / 1e6
    return float(np.median(np.diff(times)))


def smd(home: Path) -> dict[str, tuple[pa.Table, int]]:
    """Both machines, the first half for training."""
    table = read_smd(f"file://{home}/technology/smd")
    machines = sorted(set(table["machine"].to_pylist()))
    named = {m: table.filter(pc.equal(table["machine"], m)) for m in machines}
    return {m: (own.drop_columns(["machine"]), own.num_rows // 2) for m, own in named.items()}


def nab(home: Path) -> dict[str, tuple[pa.Table, int]]:
    """The files of realKnownCause, each with its own step; 15 % of each are probation."""
    folder = home / "technology/nab"
    known = json.loads((folder / "labels/combined_windows.json").read_text())
    tables: dict[str, tuple[pa.Table, int]] = {}
    for path in sorted((folder / "data/realKnownCause").glob("*.csv.gz")):
        table = pyarrow.csv.read_csv(io.BytesIO(gzip.decompress(path.read_bytes())))
        times = np.asarray(table["timestamp"]).astype("datetime64[us]")
        flags = np.zeros(len(times), np.int8)
        for first, last in known[f"realKnownCause/{path.name.removesuffix('.gz')}"]:
            flags |= (times >= np.datetime64(first)) & (times <= np.datetime64(last))
        own = pa.table({"time": times, "value": table["value"].cast(pa.float64())})
        tables[path.stem] = (
            own.append_column("is_anomaly", pa.array(flags)),
            len(times) * 15 // 100,
        )
    return tables


def carparts(home: Path, seeds: int, quick: bool) -> dict[str, Any]:
    """Scaled quantile loss of the last six months."""
    task = find("manufacturing/supply_chain")
    table = read_carparts(f"file://{home}/manufacturing/carparts-demand")
    base = task.fields[0].shape
    assert base is not None
    table = table.drop_columns(["month"])
    shape = dataclasses.replace(
        base, channels=("demand",), time="period", in_months=False, in_advance=(), calendar=()
    )
    rows = cut(table, Cutting(name="w", shape=shape, head="forecasts", label="demand"))
    rows = rows.filter(rows["w"].is_valid())
    windows = filled(windows_of(rows["w"], shape))
    origin = np.asarray(rows["period"])
    last, step = int(origin.max()), shape.horizon + 1
    head = ITEM_HEADS["forecasts"]
    usual = head.default_policy(task, ())

    def decided(mask: np.ndarray, quantiles: np.ndarray, policy: Any) -> Any:
        own = rows.filter(pa.array(mask))
        return head.decided(
            task, (), Truth(own, "demand", np.arange(own.num_rows)), quantiles, policy
        )

    test, moving, stopping = (origin == last - step * i for i in range(3))
    train = origin <= last - step * 3
    facts = series_facts(shape, windows[train], head="forecasts", target="demand")
    targets = targets_of(rows["demand"], windows, facts)
    results: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        network = SeriesConfig(teacher_members=1)
        epochs = 3 if quick else 12
        parts = (windows[train], targets[train]), (windows[stopping], targets[stopping])
        config = configured(task.path, network, seed, num_epochs=epochs, batch_size=256)
        teacher = fitted("teacher", facts, config, *parts)
        soft = taught(
            lambda some, net=teacher: network_outputs(net, some, facts), parts[0][0], facts, 1, seed
        )
        config = student_training(task.path, network, seed, num_epochs=epochs)
        student = fitted("student", facts, config, soft, parts[1])
        runtime = exported(student, facts, has_map=False)
        size = (-1, shape.horizon, len(usual.levels))
        policy = head.policy(
            task, decided(moving, np.round(scored(runtime, windows[moving])).reshape(size), usual)
        )
        said = np.round(scored(runtime, windows[test])).reshape(size)  # counts, as it is served
        of = decided(test, said, policy)
        results.setdefault("student (ONNX)", []).append(
            {name: metric(of) for name, metric in head.metrics.items()}
        )
    loss = head.metrics["scaled_quantile_loss"]
    came = np.array(
        [json.loads(each) for each in rows["demand"].filter(pa.array(train)).to_pylist()]
    )
    chosen: dict[str, float] = {}
    for name in (*FORECASTS, BOOSTED):  # as the student: stopped on one origin, moved on the next
        if name == BOOSTED:
            tried = [(0.0, boosted_forecast(windows[train], came, 0, shape, seed=0))]
        else:
            alphas = SMOOTHINGS[:1] if name in UNSMOOTHED else SMOOTHINGS
            tried = [(alpha, foretelling(name, alpha, 0, shape)) for alpha in alphas]
        losses = [
            loss(decided(stopping, foretell(windows[stopping]), usual)) for _, foretell in tried
        ]
        alpha, foretell = tried[int(np.argmin(losses))]
        if len(tried) > 1:
            chosen[name] = alpha
        policy = head.policy(task, decided(moving, foretell(windows[moving]), usual))
        of = decided(test, foretell(windows[test]), policy)
        results[name] = [{name: metric(of) for name, metric in head.metrics.items()}]
    means = {
        name: {figure: float(np.mean([each[figure] for each in rows])) for figure in rows[0]}
        for name, rows in results.items()
    }
    return {
        "protocol": f"one origin, {int(test.sum())} parts, {shape.horizon} months",
        "mean": means,
        "alpha": chosen,
    }


def planned(seeds: int, quick: bool) -> dict[str, Any]:
    """Scaled quantile loss of the synthetic sample, with promotions known in advance or not."""
    task = find("manufacturing/supply_chain")
    base, head = task.fields[0].shape, ITEM_HEADS["forecasts"]
    assert base is not None
    table = task.sample(PLANNED_ROWS, 0).drop_columns(["warehouse_code"])
    months = np.asarray(table["month"]).astype("datetime64[M]")
    results: dict[str, list[float]] = {}
    for seed in range(seeds):
        for name, shape in (
            ("known in advance", base),
            ("not known", dataclasses.replace(base, in_advance=())),
            ("neither that nor the season", dataclasses.replace(base, in_advance=(), calendar=())),
        ):
            rows = cut(table, Cutting(name="w", shape=shape, head="forecasts", label="demand"))
            rows = rows.filter(rows["w"].is_valid())
            windows = filled(windows_of(rows["w"], shape))
            origin = np.asarray(rows["month"]).astype("datetime64[M]")
            last = months.max() - shape.horizon
            train, held = origin <= last - 24, (origin > last - 18) & (origin <= last - 12)
            test = origin > last - 6
            facts = series_facts(shape, windows[train], head="forecasts", target="demand")
            targets = targets_of(rows["demand"], windows, facts)
            parts = (windows[train], targets[train]), (windows[held], targets[held])
            network, epochs = SeriesConfig(teacher_members=1), 3 if quick else 12
            config = configured(task.path, network, seed, num_epochs=epochs, batch_size=256)
            teacher = fitted("teacher", facts, config, *parts)
            soft = taught(
                lambda some, net=teacher, of=facts: network_outputs(net, some, of),
                parts[0][0],
                facts,
                1,
                seed,
            )
            config = student_training(task.path, network, seed, num_epochs=epochs)
            runtime = exported(
                fitted("student", facts, config, soft, parts[1]), facts, has_map=False
            )
            said = np.round(scored(runtime, windows[test]))
            own = rows.filter(pa.array(test))
            of = head.decided(
                task,
                (),
                Truth(own, "demand", np.arange(own.num_rows)),
                said.reshape(len(said), shape.horizon, -1),
                head.default_policy(task, ()),
            )
            results.setdefault(name, []).append(head.metrics["scaled_quantile_loss"](of))
    return {
        "protocol": f"SYNTHETIC sample, {PLANNED_ROWS:,} months, the last 6 origins of each part",
        "mean": {name: float(np.mean(losses)) for name, losses in results.items()},
        "seeds": results,
    }


def main() -> None:
    """Run one of the protocols."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["cmapss", "smd", "nab", "carparts", "planned"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fewer epochs and copies, as a trial")
    given = parser.parse_args()
    torch.set_num_threads(1)
    home = Path(load_settings(storage=tempfile.gettempdir()).data_home)
    if given.name == "cmapss":
        result = cmapss(home, given.seeds, given.quick)
    elif given.name == "carparts":
        result = carparts(home, given.seeds, given.quick)
    elif given.name == "planned":
        result = planned(given.seeds, given.quick)
    else:
        result = anomalies(smd(home) if given.name == "smd" else nab(home), given.quick)
    finish(f"series_{given.name}", {**result, "is_quick": given.quick})


if __name__ == "__main__":
    main()
