"""BenchmarkSuite: models on frozen held-out rows, beside baselines, and by many benchmarks at once.

ExportedModel + EvaluationSet -> Report; SpecializedModel -> the specification's JSON
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spt_core.answering import Answerer
from spt_core.artifacts import ExportedModel, digest
from spt_core.benchmark.accuracy import accuracy
from spt_core.benchmark.backtests import backtest_facts, limit_facts, total_facts
from spt_core.benchmark.compliance import Measured, compliance, run_checks
from spt_core.benchmark.comprehensive import settings_of, summarized
from spt_core.benchmark.config import BenchmarkConfig
from spt_core.benchmark.custom import custom, require_keys
from spt_core.benchmark.decisions import decision_facts, too_few
from spt_core.benchmark.efficiency import efficiency
from spt_core.benchmark.inputs import input_facts, part_facts
from spt_core.benchmark.memory import resident_bytes
from spt_core.benchmark.pictures import deletion_facts, picture_facts
from spt_core.benchmark.reasoning import reasoning
from spt_core.benchmark.report import Report
from spt_core.benchmark.robustness import robustness
from spt_core.benchmark.safety import safety
from spt_core.benchmark.subgroups import subgroup_figures, subgroup_metrics
from spt_core.benchmark.subject import Measure, Subject
from spt_core.benchmark.tasks import BenchmarkResult, BenchmarkTask, BenchmarkType
from spt_core.benchmark.timing import json_record, machine, percentiles, quantiles, timed_calls
from spt_core.data.corpus import SAMPLE
from spt_core.data.splits import EvaluationSet, Splits, load_splits, sampled_places
from spt_core.errors import InputError, SptError
from spt_core.families.baseline import Baselines, BaselineWork, OnTrial
from spt_core.families.training import TRAINING
from spt_core.heads.base import AnswerHead
from spt_core.heads.metrics import confusion
from spt_core.heads.outcomes import Outcomes, interval, values_of
from spt_core.model import SpecializedModel, open_answerer
from spt_core.policy import DecisionPolicy, Policy
from spt_core.signature import Signature
from spt_core.task import IndustryType, Task, industry_named

TIMED_RECORDS = 500
MAX_ROWS = 50_000  # of all benchmarks, which resample them hundreds of times
RUN_ROWS = 1000  # of readings in a row: events and false alarms are counted along them
BASELINE_CALLS = 500
_PRIVATE = {"baselines": "they would read the training rows without differential privacy"}
Array = NDArray[np.float64]
# What is measured on held-out rows; what the model's files say is compliance and efficiency.
MEASURES: Mapping[BenchmarkType, Measure] = {
    BenchmarkType.DOMAIN_KNOWLEDGE: accuracy,
    BenchmarkType.REASONING: reasoning,
    BenchmarkType.SAFETY: safety,
    BenchmarkType.ROBUSTNESS: robustness,
}


class BenchmarkSuite:
    """Measures exported models in one way."""

    def __init__(self, config: BenchmarkConfig | None = None) -> None:
        self._config = config or BenchmarkConfig()
        self._custom: dict[IndustryType, dict[str, BenchmarkTask]] = {}

    def add_custom_benchmark(self, industry: IndustryType, task: BenchmarkTask) -> None:
        """From now on the models of an industry are asked these cases too."""
        named = industry_named(industry)
        if named != task.industry:
            raise InputError(
                f"a benchmark is added to its own industry, however: {task.task_id!r} is of "
                f"{task.industry}, not of {industry}"
            )
        own = self._custom.setdefault(named, {})
        if task.task_id in own:
            raise InputError(
                f"a benchmark's id must be its own, however: {industry} has two {task.task_id!r}"
            )
        own[task.task_id] = task

    def run_comprehensive_benchmark(
        self,
        *,
        model: SpecializedModel,
        model_name: str,
        industries: Sequence[IndustryType | str] | IndustryType | str | None = None,
        report: Report | None = None,
    ) -> dict[str, Any]:
        """The specification's JSON of all benchmarks of a model, and its parts beside that.

        Args:
            model: exported or a checkpoint; it names the rows that it has never seen.
            model_name: what it is called in the result.
            industries: whose benchmarks are run, one or several: the model's own, and those with
                custom ones; None takes the model's.
            report: what `run` has measured of the same model, so that its memory is not again.
        """
        own = model.task.industry
        names = [industries] if isinstance(industries, str) else industries or [own]
        asked = [industry_named(one, "industries: each of them") for one in names]
        for industry in asked:
            if industry != own and not self._custom.get(industry):
                raise InputError(
                    "industries must be the model's own or have custom benchmarks, however: "
                    f"{model_name} is of {own}, and {industry} has none"
                )
            for task in self._custom.get(industry, {}).values():
                require_keys(model.task, task)
        subject, why = self._subject(model)
        built_in = self._built_in(model, subject, why, report)
        results: dict[str, list[BenchmarkResult]] = {}
        for industry in dict.fromkeys(asked):
            mine = self._custom.get(industry, {}).values()
            results[industry.value] = [
                *(built_in if industry == own else ()),
                *(custom(model.open(), task, self._config, _deletion(built_in)) for task in mine),
            ]
        return summarized(model_name, results, self._protocol(model, subject, asked))

    def _subject(self, model: SpecializedModel) -> tuple[Subject | None, str]:
        """The model with its held-out rows; None and why where it names none."""
        uri = model.artifact.splits
        if not uri:
            return None, "the model does not name the rows that it was trained beside"
        try:
            splits = load_splits(uri)
            table = _sampled(splits, self._config.evaluation_rows)
        except (SptError, OSError) as error:
            return None, f"its held-out rows cannot be read: {error}"
        corpus, answerer = splits.corpus, model.open()
        return Subject(
            model=model,
            answerer=answerer,
            splits=splits,
            table=table,
            of=answerer.outcomes(table, splits.label, group=corpus.group, weight=corpus.weight),
            config=self._config,
            is_sample=splits.synthetic and corpus.name == SAMPLE,
        ), ""

    def _built_in(
        self, model: SpecializedModel, subject: Subject | None, why: str, report: Report | None
    ) -> list[BenchmarkResult]:
        checks = compliance(model, None if report is None else _measured(report))
        if subject is None:
            return [*(_not_measured(kind, why) for kind in MEASURES), *checks]
        memory_bytes = None if report is None else report.memory_bytes
        return [
            *(result for measure in MEASURES.values() for result in measure(subject)),
            *checks,
            efficiency(subject, memory_bytes=memory_bytes),
        ]

    def _protocol(
        self, model: SpecializedModel, subject: Subject | None, industries: Sequence[IndustryType]
    ) -> dict[str, Any]:
        rows = None if subject is None else subject.splits.evaluation_set()
        cases = [
            [
                *(task.task_id, task.input_data, task.expected_outputs),
                *(task.evaluation_criteria, task.tolerance),
            ]
            for industry in sorted(set(industries))
            for task in self._custom.get(industry, {}).values()
        ]
        return {
            "task": model.task.path,
            "metric": model.task.metric,
            "evaluation_set": "" if rows is None else rows.uri,
            "evaluation_fingerprint": "" if rows is None else rows.fingerprint,
            "num_rows": 0 if subject is None else subject.table.num_rows,
            "synthetic": rows is not None and rows.synthetic,
            "settings": settings_of(self._config),
            "custom": digest(cases) if cases else "",
            "model": model.source.uri,
            "machine": machine(),
        }

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

        The baselines train on the splits' training rows and are tuned on its validation rows, and a
        private model has none; the evaluation set is touched here alone. Intervals resample whole
        groups, where the task or the splits' corpus names a column of them.
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
        tuned = Baselines([], dict(_PRIVATE) if artifact.privacy else {})
        if splits is not None and config.num_trials and not artifact.privacy:
            tuned = TRAINING[artifact.family].baselines(
                self._work(exported, answerer, splits, on_trial)
            )
        for baseline in tuned.fitted:
            of = baseline.outcomes(table, label, group)
            outcomes[baseline.name] = of._replace(weights=own.weights)
            calls = min(config.num_calls, BASELINE_CALLS)
            times[baseline.name] = timed_calls(baseline.call, baseline.inputs(table), calls)
        num_groups = len(np.unique(own.groups))
        report = Report(
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
            subgroups=_subgroups(table, artifact.protected, own, policy, answerer),
            compliance={},
            size_bytes=exported.size_bytes,
            memory_bytes=resident_bytes(exported).with_code,
            latency_target_ms=task.latency_target_ms,
            size_target_mb=task.size_target_mb,
            machine=machine(),
            head=task.head,
            compared_rate=task.compared_rate,
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
            totals=total_facts(outcomes, task),
            limits=limit_facts(own, task, policy),
            takings=_takings(task, table, outcomes),
        )
        checks = run_checks(task, exported, policy, _measured(report))
        return dataclasses.replace(report, compliance=checks)

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
        """Each metric that these rows define."""
        config = self._config
        figures: dict[str, dict[str, float]] = {}
        metrics = head.metrics_under(policy)
        for name, value in values_of(metrics, of).items():
            low, high = interval(
                metrics[name], of, num_resamples=config.num_resamples, seed=config.seed
            )
            figures[name] = {"value": value, "low": low, "high": high}
        return figures


def _measured(report: Report) -> Measured:
    """What a report says of its own model."""
    name = report.model_name
    return Measured(
        num_rows=report.num_rows,
        num_positives=report.num_positives,
        quality=report.quality[name],
        classes=report.classes.get(name, ()),
        backtest=report.backtest.get(name, ()),
        subgroups=report.subgroups,
    )


def _takings(task: Task, table: pa.Table, outcomes: Mapping[str, Outcomes]) -> dict[str, Any]:
    """What acting on each model's answers earns; {} where nothing tells."""
    if task.takings is None:
        return {}
    earned = {name: task.takings(table, of.probabilities) for name, of in outcomes.items()}
    return {name: figures for name, figures in earned.items() if figures}


def _subgroups(
    table: pa.Table, protected: tuple[str, ...], of: Outcomes, policy: Policy, answerer: Answerer
) -> dict[str, list[dict[str, Any]]]:
    """Figures per protected group; none where a row has several items (pairs, spans)."""
    if isinstance(policy, DecisionPolicy):
        return subgroup_figures(table, protected, of, policy, answerer.task.compared_rate)
    if len(of.labels) != table.num_rows:
        return {}
    return subgroup_metrics(table, protected, of, answerer.head.metrics_under(policy))


def _sampled(splits: Splits, limit: int) -> pa.Table:
    """Held-out rows, from all over them where they are many; of readings, runs of them."""
    table = splits.evaluation_set().table(limit=limit)
    kinds = [field.kind for field in splits.signature.fields]
    run_rows = RUN_ROWS if "sequence" in kinds else 1
    return table.take(pa.array(sampled_places(table.num_rows, MAX_ROWS, run_rows=run_rows)))


def _deletion(results: Sequence[BenchmarkResult]) -> float | None:
    return next((r.score for r in results if r.task_id == "reasoning_deletion"), None)


def _not_measured(kind: BenchmarkType, why: str) -> BenchmarkResult:
    name = kind.value.replace("_", " ").capitalize()
    return BenchmarkResult(
        task_id=kind.value, name=name, benchmark_type=kind, note="", not_measured=why
    )


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
