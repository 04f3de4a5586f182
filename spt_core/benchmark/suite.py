"""BenchmarkSuite: one exported model on one frozen evaluation set, with baselines beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from spt_core.answering.tabular import Answerer
from spt_core.artifacts import ExportedModel
from spt_core.benchmark.baselines import Baseline, OnTrial, tune_baselines
from spt_core.benchmark.compliance import run_checks
from spt_core.benchmark.config import BenchmarkConfig
from spt_core.benchmark.report import Report
from spt_core.benchmark.subgroups import subgroup_figures
from spt_core.benchmark.text_suite import text_report
from spt_core.benchmark.timing import json_record, machine, percentiles, quantiles, timed_calls
from spt_core.data.splits import EvaluationSet, Splits
from spt_core.encoder import Encoder
from spt_core.metrics import METRICS, bootstrap_interval
from spt_core.model import open_runtime
from spt_core.models.boosters import Rows
from spt_core.policy import DecisionPolicy, LabelPolicy, Policy
from spt_core.runtime.kernel import KERNEL
from spt_core.runtime.memory import resident_bytes
from spt_core.runtime.onnx import EXPLAIN_GRAPH, SCORE_GRAPH
from spt_core.task import find
from spt_core.training.encoded import encoded_arrays

CURVE_POINTS = 200
Array = NDArray[np.float64]


class BenchmarkSuite:
    """Measures exported models in one way."""

    def __init__(self, config: BenchmarkConfig | None = None) -> None:
        self._config = config or BenchmarkConfig()

    def run(
        self,
        exported: ExportedModel,
        evaluation_set: EvaluationSet,
        *,
        policy: Policy,
        splits: Splits | None = None,
        on_trial: OnTrial | None = None,
    ) -> Report:
        """Quality with 95 % intervals, cost, subgroups, latency, size; baselines if given splits.

        The baselines train on the splits' training rows and are tuned on its validation rows; the
        evaluation set is touched here alone.
        """
        if isinstance(policy, LabelPolicy):
            return text_report(
                self._config, exported, evaluation_set, policy, splits=splits, on_trial=on_trial
            )
        return self._table_report(exported, evaluation_set, policy, splits, on_trial)

    def _table_report(
        self,
        exported: ExportedModel,
        evaluation_set: EvaluationSet,
        policy: DecisionPolicy,
        splits: Splits | None,
        on_trial: OnTrial | None,
    ) -> Report:
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
            latency_ms={name: quantiles(times) for name, (_, times) in models.items()},
            curves={
                name: {**_curves(labels, scores), "latency_ms": percentiles(times)}
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
            machine=machine(),
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
    records = [json_record(r) for r in table.select(fields).slice(0, 500).to_pylist()]
    return timed_calls(answerer.answer, records, config.num_calls)


def _timed(call: Callable[[Any], Any], features: NDArray[np.float32], num_calls: int) -> Array:
    rows = [features[i : i + 1] for i in range(min(len(features), 500))]
    return timed_calls(call, rows, min(num_calls, 500))


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
