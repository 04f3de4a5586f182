"""One text model on one evaluation set: figures by document, by class, and of the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answering.text import TextAnswerer
from spt_core.artifacts import ExportedModel
from spt_core.benchmark.baselines import OnTrial
from spt_core.benchmark.compliance import run_checks
from spt_core.benchmark.config import BenchmarkConfig
from spt_core.benchmark.outcomes import outcomes_of
from spt_core.benchmark.report import Report
from spt_core.benchmark.text_baselines import tune_text_baselines
from spt_core.benchmark.timing import machine, percentiles, quantiles, timed_calls
from spt_core.data.splits import EvaluationSet, Splits
from spt_core.metrics import HEAD_METRICS, Outcomes, class_figures, outcome_interval
from spt_core.model import open_answerer
from spt_core.policy import LabelPolicy
from spt_core.runtime.memory import resident_bytes
from spt_core.runtime.text import GRAPH, TOKENIZER

TIMED_TEXTS = 500
Array = NDArray[np.float64]


def text_report(
    config: BenchmarkConfig,
    exported: ExportedModel,
    evaluation_set: EvaluationSet,
    policy: LabelPolicy,
    *,
    splits: Splits | None,
    on_trial: OnTrial | None,
) -> Report:
    """Quality with intervals by document, figures by class; baselines if given splits."""
    artifact = exported.artifact
    answerer = open_answerer(exported, policy)
    assert isinstance(answerer, TextAnswerer), "a label policy goes with texts"
    task, label = answerer.task, evaluation_set.label
    table = evaluation_set.table(limit=config.evaluation_rows)
    group = None if splits is None else splits.corpus.group
    found = {artifact.model_name: outcomes_of(answerer, table, label, group=group)}
    times = {artifact.model_name: _answer_times(answerer, table, config.num_calls)}
    parameters: dict[str, Mapping[str, Any]] = {}
    left_out: dict[str, str] = {}
    if splits is not None and config.num_trials:
        tuned = tune_text_baselines(
            task,
            answerer.classes,
            splits.table("train", limit=config.baseline_rows),
            splits.table("validation", limit=config.baseline_rows),
            splits.label,
            num_trials=config.num_trials,
            on_trial=on_trial,
        )
        left_out = tuned.left_out
        for baseline in tuned.fitted:
            found[baseline.name] = baseline.outcomes(table, group)
            texts = table[task.text_field.name].slice(0, TIMED_TEXTS).to_pylist()
            times[baseline.name] = timed_calls(baseline.score, texts, min(config.num_calls, 500))
            parameters[baseline.name] = baseline.parameters
    return Report(
        task=artifact.task,
        model_name=artifact.model_name,
        metric=task.metric,
        evaluation_set=evaluation_set.uri,
        evaluation_fingerprint=evaluation_set.fingerprint,
        num_rows=table.num_rows,
        num_positives=evaluation_set.num_positives,
        synthetic=evaluation_set.synthetic,
        quality={name: _quality(task.head, of, config) for name, of in found.items()},
        latency_ms={name: quantiles(seconds) for name, seconds in times.items()},
        curves={name: {"latency_ms": percentiles(seconds)} for name, seconds in times.items()},
        baseline_parameters=parameters,
        left_out=left_out,
        subgroups={},
        compliance=run_checks(task, exported, policy),
        size_bytes=exported.size_bytes,
        memory_bytes=resident_bytes([exported.read(GRAPH), exported.read(TOKENIZER)], of_text=True),
        latency_target_ms=task.latency_target_ms,
        size_target_mb=task.size_target_mb,
        machine=machine(),
        head=task.head,
        num_groups=len(np.unique(found[artifact.model_name].groups)),
        classes=_classes(found) if task.head != "regression" else {},
    )


def _quality(head: str, of: Outcomes, config: BenchmarkConfig) -> dict[str, dict[str, float]]:
    figures: dict[str, dict[str, float]] = {}
    for name, metric in HEAD_METRICS[head].items():
        low, high = outcome_interval(
            metric, of, num_resamples=config.num_resamples, seed=config.seed
        )
        figures[name] = {"value": metric(of), "low": low, "high": high}
    return figures


def _classes(found: Mapping[str, Outcomes]) -> dict[str, list[dict[str, Any]]]:
    return {name: class_figures(of) for name, of in found.items()}


def _answer_times(answerer: TextAnswerer, table: pa.Table, num_calls: int) -> Array:
    """Seconds of single answers to records with a text alone, as most clients send them."""
    name = answerer.task.text_field.name
    records: Sequence[dict[str, Any]] = [
        {name: text} for text in table[name].slice(0, TIMED_TEXTS).to_pylist()
    ]
    return timed_calls(answerer.answer, list(records), num_calls)
