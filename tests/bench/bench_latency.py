"""One row in process: the same dict in, a probability out, encoding included.

python -m tests.bench.bench_latency [--of sample|handbook|taiwan-taiwan-dev-] [--blocks 60]

The student (ONNX Runtime, one thread) against LightGBM through its fastest NumPy path
(LGBM_BoosterPredictForMatSingleRowFast, one thread, the same encoding in front): LightGBM as tuned
on the same rows, and at stated sizes. `sample` is the fraud task's SYNTHETIC sample; the others
take the student of seed 0 and the tuned parameters that the finished quality bench of that name
left in bench_results. Calls alternate in blocks; ratios are of blocks, with their quartiles.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from lightgbm.basic import _LIB

from jobs.recipes import sample
from spt_core.artifacts import ExportedModel, as_uri
from spt_core.data.corpus import DatasetInfo
from spt_core.data.sources import open_corpus
from spt_core.data.splits import Splits, load_splits
from spt_core.data.splitting import split
from spt_core.families.tabular.boosters import LightgbmForest, fit_lightgbm, tune
from spt_core.families.tabular.reading import Encoder
from spt_core.heads.metrics import average_precision
from spt_core.model import SpecializedModel
from spt_core.task import find
from tests.bench import protocol

SIZES = ((100, 31), (200, 31), (300, 31), (500, 31))
Call = Callable[[Mapping[str, Any]], float]


def fastest(booster: lightgbm.Booster, encoder: Encoder) -> Call:
    """LightGBM's single-row call with everything prepared beforehand."""
    num_features = len(encoder.signature.columns)
    row = np.zeros((1, num_features), np.float32)
    handle, found, length = ctypes.c_void_p(), ctypes.c_double(), ctypes.c_int64()
    float32, normal, from_start, all_trees = (ctypes.c_int(n) for n in (0, 0, 0, -1))
    code = _LIB.LGBM_BoosterPredictForMatSingleRowFastInit(
        booster._handle,
        normal,
        from_start,
        all_trees,
        float32,
        ctypes.c_int32(num_features),
        ctypes.c_char_p(b"num_threads=1"),
        ctypes.byref(handle),
    )
    assert code == 0
    pointer = row.ctypes.data_as(ctypes.c_void_p)
    out, size = ctypes.byref(found), ctypes.byref(length)
    predict, encode = _LIB.LGBM_BoosterPredictForMatSingleRowFast, encoder.record

    def call(record: Mapping[str, Any]) -> float:
        row[:] = encode(record)
        predict(handle, pointer, size, out)
        return found.value

    return call


def measure(
    calls: Mapping[str, Call], records: list[dict[str, Any]], blocks: int
) -> dict[str, Any]:
    """Microseconds per call, by block; the calls take turns."""
    for call in calls.values():
        for record in records:
            call(record)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(blocks):
        for name, call in calls.items():
            start = time.perf_counter()
            for record in records:
                call(record)
            times[name].append((time.perf_counter() - start) / len(records) * 1e6)
    return {name: np.array(values) for name, values in times.items()}


def of_sample(storage: str) -> tuple[Splits, ExportedModel]:
    """Splits of the synthetic sample, and the student that the sample's recipe makes of them."""
    task = find("financial_services/fraud_detection")
    config = protocol.recipe(task, storage, sample)
    rows, info = task.sample(30_000, 0), DatasetInfo(synthetic=True)
    corpus = open_corpus(task, rows, storage=storage, info=info)
    splits = split(task, corpus, storage, config.split)
    return splits, protocol.served_model(splits, config, 0)[0]


def of_bench(name: str, storage: str) -> tuple[Splits, ExportedModel, Mapping[str, Any]]:
    """Of a finished quality bench: splits, the student of seed 0, LightGBM's tuned parameters."""
    result = Path("bench_results") / f"{name}.json"
    if not result.exists():
        raise SystemExit(f"--of names a finished quality bench, however: {result} is not there")
    (manifest,) = Path("bench_results", name, "bench-splits").glob("*/_manifest.json")
    splits = load_splits(as_uri(manifest.parent))
    recipe = protocol.recipe(find(splits.task), storage)
    parameters = json.loads(result.read_text())["parameters"]["lightgbm"]
    chosen = {name: value for name, value in parameters.items() if name != "num_trees"}
    return splits, protocol.served_model(splits, recipe, 0)[0], chosen


def main() -> None:
    """Train or find the models, then measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--of", default="sample", help="sample, or the name of a quality bench")
    parser.add_argument("--blocks", type=int, default=60)
    given = parser.parse_args()
    name = "latency" if given.of == "sample" else given.of
    storage = protocol.bench_storage(name)
    with protocol.local_session(storage):
        if given.of == "sample":
            splits, exported = of_sample(storage)
            rows = protocol.rows_of(splits)
            tuned = tune("lightgbm", rows, average_precision, num_trials=20, seed=0)
        else:
            splits, exported, parameters = of_bench(given.of, storage)
            rows = protocol.rows_of(splits)
            tuned = fit_lightgbm(parameters, rows, 0)
        table = splits.table("test", limit=400)
    assert isinstance(tuned, LightgbmForest)
    forests = {"tuned": tuned}
    model = SpecializedModel(exported).open()
    predictor: Any = model.predictor
    encoder = Encoder(splits.signature)
    fields = [f.name for f in splits.signature.fields if f.name in table.column_names]
    records = [json.loads(json.dumps(r, default=str)) for r in table.select(fields).to_pylist()]
    train = lightgbm.Dataset(
        rows.train,
        rows.train_labels,
        categorical_feature=list(range(rows.first_category, rows.train.shape[1])),
    )
    for num_trees, num_leaves in SIZES:
        settings = {
            "objective": "binary",
            "num_leaves": num_leaves,
            "verbosity": -1,
            "learning_rate": 0.02,
        }
        booster = lightgbm.train({**settings, "min_data_in_leaf": 5}, train, num_trees)
        forests[f"{num_trees} trees of {num_leaves} leaves"] = LightgbmForest(
            booster.model_to_string().encode(), {"num_trees": num_trees}
        )
    calls: dict[str, Call] = {
        "student": lambda record: float(predictor.runtime.score(encoder.record(record))[0]),
        "student with reasons": lambda record: float(
            predictor.runtime.explain(encoder.record(record))[0][0]
        ),
        "student, whole answer": model.answer,
    }
    calls |= {f"LightGBM {name}": fastest(f.booster, encoder) for name, f in forests.items()}
    times = measure(calls, records, given.blocks)
    sizes = {
        name: {"trees": f.booster.num_trees(), "leaves": int(np.mean(_leaves(f.booster)))}
        for name, f in forests.items()
    }
    ratios = {
        f"{ours} / LightGBM {name}": _ratio(times[ours], times[f"LightGBM {name}"])
        for ours in ("student", "student with reasons")
        for name in forests
    }
    protocol.finish(
        f"latency-{given.of}",
        {
            "command": f"python -m tests.bench.bench_latency --of {given.of} "
            f"--blocks {given.blocks}",
            "features": {
                "numbers": len(splits.signature.numbers),
                "categories": len(splits.signature.categories),
            },
            "microseconds": {
                name: {"median": float(np.median(t)), "min": float(t.min())}
                for name, t in times.items()
            },
            "lightgbm": sizes,
            "ratios": ratios,
        },
    )


def _leaves(booster: lightgbm.Booster) -> list[int]:
    return [tree["num_leaves"] for tree in booster.dump_model()["tree_info"]]


def _ratio(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Median and quartiles of the blocks' ratios."""
    low, middle, high = np.quantile(ours / theirs, [0.25, 0.5, 0.75])
    return {"median": float(middle), "quartile_1": float(low), "quartile_3": float(high)}


if __name__ == "__main__":
    main()
