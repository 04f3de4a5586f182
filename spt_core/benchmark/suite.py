"""BenchmarkSuite: one exported model on one frozen evaluation set, with baselines beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answering import Answerer
from spt_core.artifacts import ExportedModel
from spt_core.benchmark.backtests import backtest_facts
from spt_core.benchmark.compliance import run_checks
from spt_core.benchmark.config import BenchmarkConfig
from spt_core.benchmark.decisions import decision_facts, too_few
from spt_core.benchmark.inputs import input_facts, part_facts
from spt_core.benchmark.memory import resident_bytes
from spt_core.benchmark.pictures import deletion_facts, picture_facts
from spt_core.benchmark.report import Report
from spt_core.benchmark.subgroups import subgroup_figures, subgroup_metrics
from spt_core.benchmark.timing import json_record, machine, percentiles, quantiles, timed_calls
from spt_core.data.splits import EvaluationSet, Splits, sampled_places
from spt_core.families.baseline import Baselines, BaselineWork, OnTrial
from spt_core.families.training import TRAINING
from spt_core.heads.base import AnswerHead
from spt_core.heads.metrics import confusion
from spt_core.heads.outcomes import Outcomes, interval
from spt_core.model import open_answerer
from spt_core.policy import DecisionPolicy, Policy
from spt_core.signature import Signature
from spt_core.task import Task

TIMED_RECORDS = 500
BASELINE_CALLS = 500
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
        """Quality with 95 % intervals, subgroups, latency, size; baselines if given splits.

        The baselines train on the splits' training rows and are tuned on its validation rows; the
        evaluation set is touched here alone. Intervals resample whole groups, where the task or
        the splits' corpus names a column of them.
        """
        config, artifact = self._config, exported.artifact
        answerer = open_answerer(exported, policy)
        task, head, label = answerer.task, answerer.head, evaluation_set.label
        table = evaluation_set.table(limit=config.evaluation_rows)
        group = None if splits is None else splits.corpus.group
        weight = None if splits is None else splits.corpus.weight
        time = task.time if splits is None else splits.corpus.time
        own = answerer.outcomes(table, label, group=group, weight=weight)
        outcomes = {artifact.model_name: own}
        times = {
            artifact.model_name: _answer_times(
                answerer, artifact.signature, table, config.num_calls
            )
        }
        tuned = Baselines([], {})
        if splits is not None and config.num_trials:
            tuned = TRAINING[artifact.family].baselines(
                self._work(exported, answerer, splits, on_trial)
            )
        for baseline in tuned.fitted:
            of = baseline.outcomes(table, label, group)
            outcomes[baseline.name] = of._replace(weights=own.weights)
            calls = min(config.num_calls, BASELINE_CALLS)
            times[baseline.name] = timed_calls(baseline.call, baseline.inputs(table), calls)
        num_groups = len(np.unique(own.groups))
        return Report(
            task=artifact.task,
            model_name=artifact.model_name,
            metric=task.metric,
            evaluation_set=evaluation_set.uri,
            evaluation_fingerprint=evaluation_set.fingerprint,
            num_rows=table.num_rows,
            num_positives=evaluation_set.num_positives,
            synthetic=evaluation_set.synthetic,
            quality={name: self._quality(of, policy, head) for name, of in outcomes.items()},
            latency_ms={name: quantiles(seconds) for name, seconds in times.items()},
            curves={
                name: {**head.curves(of), "latency_ms": percentiles(times[name])}
                for name, of in outcomes.items()
            },
            baseline_parameters={each.name: each.parameters for each in tuned.fitted},
            left_out=tuned.left_out,
            subgroups=_subgroups(table, artifact.protected, own, policy, head),
            compliance=run_checks(task, exported, policy),
            size_bytes=exported.size_bytes,
            memory_bytes=resident_bytes(exported).with_code,
            latency_target_ms=task.latency_target_ms,
            size_target_mb=task.size_target_mb,
            machine=machine(),
            head=task.head,
            num_groups=num_groups if num_groups < table.num_rows else 0,
            confusion=confusion(own),
            classes={name: rows for name, of in outcomes.items() if (rows := head.by_class(of))},
            decisions=decision_facts(outcomes, policy)
            if isinstance(policy, DecisionPolicy)
            else {},
            currency=policy.costs.currency if isinstance(policy, DecisionPolicy) else "",
            inputs=input_facts(answerer, table),
            parts=[] if splits is None else part_facts(splits),
            too_few=too_few(own) if isinstance(policy, DecisionPolicy) else "",
            pictures=picture_facts(answerer, table, own),
            deletion=deletion_facts(answerer, table, seed=config.seed),
            backtest=backtest_facts(outcomes, table, task, time, group or task.group),
            takings=_takings(task, table, outcomes),
        )

    def _work(
        self,
        exported: ExportedModel,
        answerer: Answerer,
        splits: Splits,
        on_trial: OnTrial | None,
    ) -> BaselineWork:
        config = self._config
        return BaselineWork(
            task=answerer.task,
            signature=exported.artifact.signature,
            classes=answerer.classes,
            splits=splits,
            policy=answerer.policy,
            num_trials=config.num_trials,
            max_rows=config.baseline_rows,
            seed=config.seed,
            on_trial=on_trial,
        )

    def _quality(
        self, of: Outcomes, policy: Policy, head: AnswerHead
    ) -> dict[str, dict[str, float]]:
        config = self._config
        figures: dict[str, dict[str, float]] = {}
        for name, metric in head.metrics_under(policy).items():
            low, high = interval(metric, of, num_resamples=config.num_resamples, seed=config.seed)
            figures[name] = {"value": metric(of), "low": low, "high": high}
        return figures


def _takings(task: Task, table: pa.Table, outcomes: Mapping[str, Outcomes]) -> dict[str, Any]:
    """What acting on each model's answers earns; {} where nothing tells."""
    if task.takings is None:
        return {}
    earned = {name: task.takings(table, of.probabilities) for name, of in outcomes.items()}
    return {name: figures for name, figures in earned.items() if figures}


def _subgroups(
    table: pa.Table, protected: tuple[str, ...], of: Outcomes, policy: Policy, head: AnswerHead
) -> dict[str, list[dict[str, Any]]]:
    """Figures per protected group; none where a row has several items (pairs, spans)."""
    if isinstance(policy, DecisionPolicy):
        return subgroup_figures(table, protected, of, policy)
    if len(of.labels) != table.num_rows:
        return {}
    return subgroup_metrics(table, protected, of, head.metrics_under(policy))


def _answer_times(
    answerer: Answerer, signature: Signature, table: pa.Table, num_calls: int
) -> Array:
    """Seconds of single answers, encoding and reasons included, to records as clients send them.

    A client that sends what its record is about alone (a text without the mentions) is the usual
    one, and the dearest.
    """
    subject = answerer.task.subject
    fields = signature.fields if subject is None else (subject,)
    some = table.select([field.name for field in fields if field.name in table.column_names])
    chosen = pa.array(sampled_places(some.num_rows, TIMED_RECORDS))
    records = [json_record(record) for record in some.take(chosen).to_pylist()]
    return timed_calls(answerer.answer, records, num_calls)
