"""BenchmarkSuite: one exported model on one frozen evaluation set, with baselines beside it."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from spt_core.answering.tabular import Answerer
from spt_core.artifacts import ExportedModel
from spt_core.benchmark.baselines import Baseline, OnTrial, tune_baselines
from spt_core.benchmark.compliance import run_checks
from spt_core.benchmark.report import Report
from spt_core.benchmark.subgroups import subgroup_figures
from spt_core.data.splits import EvaluationSet, Splits
from spt_core.encoder import Encoder
from spt_core.errors import InputError
from spt_core.metrics import METRICS, bootstrap_interval
from spt_core.model import open_runtime
from spt_core.models.boosters import Rows
from spt_core.policy import DecisionPolicy
from spt_core.runtime.kernel import KERNEL
from spt_core.runtime.memory import resident_bytes
from spt_core.runtime.onnx import EXPLAIN_GRAPH, SCORE_GRAPH
from spt_core.task import find
from spt_core.training.encoded import encoded_arrays

CURVE_POINTS = 200
Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkConfig:
    """How thoroughly to measure.

    `num_trials` Optuna trials per baseline (0 leaves baselines out), on at most `baseline_rows`
    training rows; `num_resamples` bootstrap draws; `num_calls` timed single-row answers.
    """

    num_trials: int = 20
    baseline_rows: int = 2_000_000
    evaluation_rows: int = 1_000_000
    num_resamples: int = 200
    num_calls: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse counts that measure nothing."""
        if self.num_trials < 0 or self.num_resamples < 10 or self.num_calls < 100:
            raise InputError(
                "a benchmark needs num_trials >= 0, num_resamples >= 10 and num_calls >= 100, "
                f"however: {self.num_trials=}, {self.num_resamples=}, {self.num_calls=}"
            )


class BenchmarkSuite:
    """Measures exported models in one way."""

    def __init__(self, config: BenchmarkConfig | None = None) -> None:
        self._config = config or BenchmarkConfig()

    def run(
        self,
        exported: ExportedModel,
        evaluation_set: EvaluationSet,
        *,
        policy: DecisionPolicy,
        splits: Splits | None = None,
        on_trial: OnTrial | None = None,
    ) -> Report:
        """Quality with 95 % intervals, cost, subgroups, latency, size; baselines if given splits.

        The baselines train on the splits' training rows and are tuned on its validation rows; the
        evaluation set is touched here alone.
        """
        config = self._config
        artifact = exported.artifact
        task = find(artifact.task)
        answerer = Answerer(task, artifact.signature, open_runtime(exported), policy)
        table = evaluation_set.table(limit=config.evaluation_rows)
        labels = np.asarray(table[evaluation_set.label], dtype=np.float64)
        probabilities = answerer.score(table).astype(np.float64)
        features = Encoder(artifact.signature).table(table)
        models = {artifact.model_name: (probabilities, _answer_latency(answerer, table, config))}
        parameters: dict[str, Mapping[str, Any]] = {}
        if splits is not None and config.num_trials:
            for baseline in self._baselines(exported, splits, on_trial):
                latency = _timed(lambda row, b=baseline: b.score(row), features, config.num_calls)
                models[baseline.name] = (baseline.score(features), latency)
                parameters[baseline.name] = baseline.parameters
        return Report(
            task=artifact.task,
            model_name=artifact.model_name,
            metric=task.metric,
            evaluation_set=evaluation_set.uri,
            evaluation_fingerprint=evaluation_set.fingerprint,
            num_rows=len(labels),
            num_positives=int(labels.sum()),
            synthetic=evaluation_set.synthetic,
            quality={
                name: self._quality(labels, scores, policy) for name, (scores, _) in models.items()
            },
            latency_ms={name: _quantiles(times) for name, (_, times) in models.items()},
            curves={
                name: {**_curves(labels, scores), "latency_ms": _percentiles(times)}
                for name, (scores, times) in models.items()
            },
            baseline_parameters=parameters,
            subgroups=subgroup_figures(table, artifact.protected, labels, probabilities, policy),
            compliance=run_checks(task, exported, policy),
            size_bytes=exported.size_bytes,
            memory_bytes=resident_bytes(
                [exported.read(name) for name in (KERNEL, SCORE_GRAPH, EXPLAIN_GRAPH)]
            ),
            latency_target_ms=task.latency_target_ms,
            size_target_mb=task.size_target_mb,
            machine=f"{platform.machine()}, {psutil.cpu_count()} logical CPUs, {platform.system()}",
        )

    def _baselines(
        self, exported: ExportedModel, splits: Splits, on_trial: OnTrial | None
    ) -> list[Baseline]:
        config, signature = self._config, exported.artifact.signature
        train, train_labels = encoded_arrays(splits, "train", signature, limit=config.baseline_rows)
        held_out, held_out_labels = encoded_arrays(
            splits, "validation", signature, limit=config.baseline_rows
        )
        rows = Rows(
            train,
            train_labels.astype(np.float64),
            held_out,
            held_out_labels.astype(np.float64),
            len(signature.numbers),
        )
        metric = METRICS[find(exported.artifact.task).metric]
        return tune_baselines(
            rows, metric, num_trials=config.num_trials, seed=config.seed, on_trial=on_trial
        )

    def _quality(
        self, labels: Array, probabilities: Array, policy: DecisionPolicy
    ) -> dict[str, dict[str, float]]:
        metrics = {**METRICS, f"cost_per_case_{policy.costs.currency}": policy.expected_cost}
        figures: dict[str, dict[str, float]] = {}
        for name, metric in metrics.items():
            low, high = bootstrap_interval(
                metric,
                labels,
                probabilities,
                num_resamples=self._config.num_resamples,
                seed=self._config.seed,
            )
            figures[name] = {"value": metric(labels, probabilities), "low": low, "high": high}
        return figures


def _answer_latency(answerer: Answerer, table: pa.Table, config: BenchmarkConfig) -> Array:
    """Seconds of single answers, encoding and reasons included."""
    fields = [f.name for f in answerer.signature.fields if f.name in table.column_names]
    records = [_json_record(r) for r in table.select(fields).slice(0, 500).to_pylist()]
    return _timed_calls(answerer.answer, records, config.num_calls)


def _timed(call: Callable[[Any], Any], features: NDArray[np.float32], num_calls: int) -> Array:
    rows = [features[i : i + 1] for i in range(min(len(features), 500))]
    return _timed_calls(call, rows, min(num_calls, 500))


def _timed_calls(call: Callable[[Any], Any], inputs: list[Any], num_calls: int) -> Array:
    for value in inputs[:50]:
        call(value)
    seconds = np.empty(num_calls)
    for number in range(num_calls):
        value = inputs[number % len(inputs)]
        start = time.perf_counter()
        call(value)
        seconds[number] = time.perf_counter() - start
    return seconds


def _json_record(record: dict[str, Any]) -> dict[str, Any]:
    """A row as a client would send it: times as text, missing values as null."""
    return {k: v.isoformat() if hasattr(v, "isoformat") else v for k, v in record.items()}


def _quantiles(seconds: Array) -> dict[str, float]:
    p50, p90, p99 = np.quantile(seconds, [0.5, 0.9, 0.99]) * 1000
    return {"p50": float(p50), "p90": float(p90), "p99": float(p99)}


def _percentiles(seconds: Array) -> list[float]:
    """The 1st to the 99th percentile in milliseconds."""
    return (np.percentile(seconds, np.arange(1, 100)) * 1000).tolist()


def _curves(labels: Array, probabilities: Array) -> dict[str, list[float]]:
    """Points of the precision-recall curve and of the calibration curve, few enough to store."""
    precision, recall, _ = precision_recall_curve(labels, probabilities)
    kept = np.unique(np.linspace(0, len(recall) - 1, CURVE_POINTS).astype(int))
    order = np.argsort(probabilities, kind="stable")
    bins = [part for part in np.array_split(order, 10) if len(part)]
    return {
        "recall": recall[kept].tolist(),
        "precision": precision[kept].tolist(),
        "predicted": [float(probabilities[part].mean()) for part in bins],
        "observed": [float(labels[part].mean()) for part in bins],
    }
