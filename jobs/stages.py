"""The stages of a run as a person watches them: each shows a bar, and reuses what is finished.

A stage imports what does its work: torch, ray and others take seconds, and --help needs none.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cluster.settings import actor
from jobs.command import Run
from jobs.console import Stage
from jobs.service import rolled_out
from spt_core.artifacts import (
    ExportedModel,
    digest,
    exists,
    lineage,
    read_bytes,
    write_bytes,
)
from spt_core.compression.limits import Limits
from spt_core.data.splits import Splits
from spt_core.errors import InputError, QualityError
from spt_core.heads import HEADS
from spt_core.model import SpecializedModel
from spt_core.policy import Policy
from spt_core.registry import CHAMPION, Deployment, ModelVersion, require_compatible
from spt_core.task import Task, find
from spt_core.training import TrainingConfig

if TYPE_CHECKING:
    from spt_core.benchmark import Report
    from spt_core.compression.measured import FrontPoint
    from spt_core.compression.selection import Selection
    from spt_core.distillation.targets import TargetResult
    from spt_core.export.tensorrt import EngineFile
    from spt_core.optimization.search import SearchResult

MIN_SHARE_KEPT = 0.95  # of the teacher's metric; a student below it is warned of
NUM_SHOWN_METRICS = 4
TENSORRT = "tensorrt"  # the variant for GPU replicas
_TITLES = {"roc_auc": "ROC AUC", "recall_at_fpr_1pct": "recall at 1 % FPR"}


def prepared(run: Run) -> Splits:
    """Corpus -> Splits."""
    from spt_core.data.splitting import split

    with run.screen.stage("prepare") as stage:
        stage.say("reading")
        corpus = run.corpus()
        stage.say(f"checking and splitting {corpus.name}")
        with run.registry().lease(f"prepare:{run.settings.storage}"):  # names share the splits
            splits = split(run.task, corpus, run.settings.storage, run.config.split)
        rows = ", ".join(f"{count:,} {part}" for part, count in splits.num_rows.items())
        stage.say(f"{rows} rows{_reused(splits.reused)}")
    _show_rows(run, splits)
    for finding in splits.findings:
        where = f" {finding.column}" if finding.column else ""
        run.screen.warn(f"  {finding.kind}", f"{where}: {finding.detail}")
    for reason, count in splits.quarantine.items():
        run.screen.warn(
            "  quarantine",
            f": {count:,} bad row{'s' if count > 1 else ''}, {reason}; see "
            f"{splits.uri}/quarantine.parquet",
        )
    return splits


def _show_rows(run: Run, splits: Splits) -> None:
    run.screen.say(f"  {_rows_sentence(splits)}")


def _rows_sentence(splits: Splits) -> str:
    """Where each row of the corpus has gone."""
    shares = [f"{sum(splits.num_rows.values()):,} in parts"]
    shares += [f"{count:,} left out ({reason})" for reason, count in splits.num_left_out.items()]
    shares += [f"{sum(splits.quarantine.values()):,} in quarantine"] if splits.quarantine else []
    return f"{splits.num_rows_in:,} rows in: {', '.join(shares)}"


def refuse_incompatible(run: Run, splits: Splits) -> None:
    """Say before the training, not after it, that the model could not become the champion."""
    registry, name = run.registry(), f"{run.task.path}/{run.arguments.name}"
    if name in registry.names() and CHAMPION in registry.aliases(name):
        require_compatible(splits.signature, registry.get(name), "this data")


def trained(run: Run, splits: Splits) -> SpecializedModel:
    """Splits -> teacher."""
    from spt_core.training import SpecializedModelTrainer

    with run.screen.stage("train") as stage:
        stage.say("starting workers")
        trainer = SpecializedModelTrainer(run.config.training)
        teacher = trainer.train(
            splits, fresh=run.fresh, on_metrics=_watch(stage, run.config.training)
        )
        stage.say(_quality("teacher", run.task, teacher))
    _show_notes(run, teacher)
    return teacher


def distilled(run: Run, teacher: SpecializedModel, splits: Splits) -> SpecializedModel:
    """Teacher -> student."""
    from spt_core.distillation import DistillationPipeline, share_kept

    config = run.config.distillation
    with run.screen.stage("distill") as stage:
        stage.say("labelling augmented rows with the teacher")
        student = DistillationPipeline(config).distill(
            teacher,
            splits,
            fresh=run.fresh,
            on_metrics=_watch(stage, config.training),
            on_fold=lambda number, of: stage.say(f"the teacher of fold {number} of {of}"),
        )
        metrics = student.artifact.metrics
        kept = share_kept(metrics, teacher.artifact.metrics, run.task)
        stage.say(f"{_quality('student', run.task, student)}, {kept:.1%} of its teacher's")
    if kept < MIN_SHARE_KEPT:
        run.screen.warn(
            "  quality",
            f": the student keeps {kept:.1%} of its teacher's {run.task.metric.replace('_', ' ')}; "
            "more steps (distillation.num_steps) or a larger student "
            "(distillation.training.network) may keep more",
        )
    _show_notes(run, student)
    return student


def students_of(
    run: Run, teacher: SpecializedModel, splits: Splits
) -> Mapping[str, SpecializedModel]:
    """Teacher -> the recipe's student; where limits are stated, those that a search finds."""
    if run.config.limits == Limits() or not run.config.search.num_trials:
        return {"": distilled(run, teacher, splits)}
    return searched(run, teacher, splits).students


def searched(run: Run, teacher: SpecializedModel, splits: Splits) -> SearchResult:
    """Teacher -> students on Ray Tune; an interrupted search goes on."""
    from spt_core.optimization.search import Progress, search

    with run.screen.stage("search") as stage:
        stage.say("measuring what each shape of a student takes")

        def on_progress(progress: Progress) -> None:
            total = progress.num_trials
            best = "" if math.isnan(progress.best_loss) else f", best {progress.best_loss:.4f}"
            trial = f"trial {progress.num_done} of {total}, " if progress.num_done else ""
            stage.advance(progress.num_done, total, f"{trial}{progress.what}{best}")

        result = search(
            teacher,
            splits,
            run.config.distillation,
            run.config.limits,
            run.config.search,
            fresh=run.fresh,
            on_progress=on_progress,
        )
        front = sum(trial.on_front for trial in result.trials)
        stage.say(
            f"{len(result.trials)} students trained, {front} on the front, "
            f"{len(result.students)} to be exported: {', '.join(result.students)}"
        )
    for shape, reason in result.left_out.items():
        run.screen.say(f"  {shape}: {reason}")
    return result


def targeted(
    run: Run, teacher: SpecializedModel, splits: Splits, targets: Any
) -> Mapping[str, TargetResult]:
    """Teacher -> for each deployment target the best model that keeps its limits, or why not."""
    from spt_core.distillation import DistillationPipeline

    config = run.config.distillation
    with run.screen.stage("distill") as stage:
        results = DistillationPipeline(config).run_comprehensive_distillation(
            teacher,
            splits,
            None,
            targets,
            fresh=run.fresh,
            on_metrics=_watch(stage, config.training),
            on_target=lambda name: stage.say(f"{name}: measuring what a student takes"),
        )
        kept = [name for name, result in results.items() if not result.refusal]
        stage.say(f"{len(kept)} of {len(results)} targets have a model: {', '.join(kept) or '-'}")
    for name, result in results.items():
        if result.front:
            _show_front(run, result.front, f"{name}: {result.share_kept:.1%} of its teacher's kept")
        if result.refusal:
            run.screen.warn(f"  {name}", f": refused: {result.refusal}")
    return results


def optimized(
    run: Run,
    teacher: SpecializedModel,
    students: Mapping[str, SpecializedModel],
    splits: Splits,
) -> Selection:
    """Teacher + students -> the best exported model that keeps the limits."""
    from spt_core.compression.selection import select

    with run.screen.stage("optimize") as stage:
        stage.say("exporting what could be served, and timing it")
        selection = select(
            teacher,
            students,
            splits,
            run.config.limits,
            fresh=run.fresh,
            on_candidate=lambda name: stage.say(f"exporting and timing: {name}"),
        )
        point = next(point for point in selection.front if point.chosen)
        gap = selection.model.parity["max_abs_difference"]["probability"]
        stage.say(
            f"{point.name}: {point.size_mb:.2f} MB, {point.latency_ms['p50']:.3f} ms, differs from "
            f"the checkpoint by {gap:.1e}"
        )
    for note in selection.notes:
        run.screen.say(f"  {note}")
    if len(selection.front) > 1:
        _show_front(run, selection.front)
    return selection


def _show_front(
    run: Run,
    front: Sequence[FrontPoint],
    title: str = "what could be served, on validation rows",
) -> None:
    metric = run.task.metric.replace("_", " ")
    rows = [
        [
            point.name,
            ", ".join(f"{name} {share:.2f}" for name, share in point.parts.items()),
            f"{point.metric:.4f}",
            f"{point.loss:.4f}",
            f"{point.latency_ms['p50']:.3f}",
            f"{point.size_mb:.2f}",
            "served" if point.chosen else point.refusal or "within limits",
        ]
        for point in front
    ]
    run.screen.table(
        title,
        ["candidate", "made of", metric, "loss", "p50 ms", "MB", ""],
        rows,
    )


def version_of(run: Run, teacher: SpecializedModel) -> ModelVersion:
    """The newest version that descends from the teacher; variants are made of it."""
    registry, name = run.registry(), f"{run.task.path}/{run.arguments.name}"
    versions = registry.versions(name) if name in registry.names() else []
    for version in reversed(versions):
        if teacher.artifact.uri in version.lineage:
            return version
    raise InputError(
        f"a target's model is a variant of a version of the same teacher, however: {name} has none "
        "of this one; run jobs.benchmark with the same flags first"
    )


def with_engine(
    run: Run, version: ModelVersion, model: ExportedModel, splits: Splits
) -> tuple[ModelVersion, EngineFile]:
    """Exported model -> Q/DQ graph where that is as good -> engine for this machine's GPU.

    The graph, with thresholds and a report of its own, is the version's variant TENSORRT: replicas
    on processors answer with it too, only slower, and the report's latencies are theirs.
    """
    from spt_core.compression.qdq import quantize_symmetric
    from spt_core.compression.quantize import QuantizeConfig
    from spt_core.export import export
    from spt_core.export.tensorrt import engine_of

    source, registry = export(model.artifact), run.registry()
    with run.screen.stage("quantize") as stage:
        stage.say("Q/DQ against full precision on validation rows")
        table = splits.table("validation", limit=QuantizeConfig().max_rows)
        policy = decided(source, splits)
        try:
            source = quantize_symmetric(source, table, splits.label, policy, fresh=run.fresh)
            policy = decided(source, splits)
            stage.say("INT8 between QuantizeLinear and DequantizeLinear")
        except QualityError as error:
            stage.say(f"INT8 is refused, full precision is kept: {error}")
    others = [registry.variants(other) for other in registry.versions(version.name)]
    earlier = [each.exported for each in sum(others, []) if each.variant == TENSORRT]
    with run.screen.stage("engine") as stage:
        stage.say("trying kernels on the GPU")
        engine = engine_of(source, earlier=earlier, fresh=run.fresh)
        gap = engine.parity["probability"]
        stage.say(f"differs from ONNX Runtime by {gap:.1e}")
    report, uri = benchmarked(run, source, policy, splits)
    variant = registry.add_variant(
        version,
        TENSORRT,
        source,
        policy,
        report.to_json(),
        created_by=f"jobs.export by {actor()}",
        report_uri=uri,
    )
    return variant, engine


def refitted(
    run: Run,
    model: ExportedModel,
    teacher: SpecializedModel,
    splits: Splits,
    report: Report,
) -> tuple[ExportedModel, Report]:
    """What was chosen -> the same trained on every row but the test's, with its twin's report."""
    from spt_core.compression.refitting import refitted_export, student_of
    from spt_core.data.splits import refit_splits
    from spt_core.distillation import DistillationPipeline
    from spt_core.training import SpecializedModelTrainer

    num_rows = refit_splits(splits).num_rows["train"]
    with run.screen.stage("refit") as stage:
        stage.say(f"the teacher, on {num_rows:,} rows")
        training, distillation = run.config.training, run.config.distillation
        own_teacher = SpecializedModelTrainer(training).refit(
            teacher, splits, fresh=run.fresh, on_metrics=_watch(stage, training)
        )
        stage.say(f"the student, on {num_rows:,} rows")
        own_student = DistillationPipeline(distillation).refit(
            SpecializedModel(student_of(model.artifact)),
            own_teacher,
            splits,
            fresh=run.fresh,
            on_metrics=_watch(stage, distillation.training),
            on_fold=lambda number, of: stage.say(f"the teacher of fold {number} of {of}"),
        )
        output = refitted_export(model, own_teacher.artifact, own_student.artifact)
        stage.say(
            f"{num_rows:,} rows, where the figures above are of {splits.num_rows['train']:,}: "
            "thresholds and calibration stay"
        )
    twin = {"num_rows": num_rows, "num_rows_of_twin": splits.num_rows["train"], "twin": model.uri}
    return output, dataclasses.replace(report, refit=twin)


def show_search(run: Run, result: SearchResult, selection: Selection) -> str:
    """The address of the search's page."""
    from spt_core.optimization.page import search_page

    page = search_page(run.task, result, selection.front, run.config.limits)
    write_bytes(f"{result.uri}/search.html", page.encode())
    return f"{result.uri}/search.html"


def exported(run: Run, model: SpecializedModel, splits: Splits) -> ExportedModel:
    """One model -> ONNX, proven against the checkpoint; a text's in INT8 where it is as good."""
    from spt_core.export import export

    with run.screen.stage("export") as stage:
        stage.say("tracing the graph")
        output = export(model.artifact, fresh=run.fresh)
        gap = output.parity["max_abs_difference"]["probability"]
        stage.say(f"{output.size_bytes / 1e6:.2f} MB, differs from the checkpoint by {gap:.1e}")
    return _quantized(run, output, splits) if run.task.facts.has_int8 else output


def _quantized(run: Run, full: ExportedModel, splits: Splits) -> ExportedModel:
    from spt_core.compression.quantize import QuantizeConfig, quantize

    policy = decided(full, splits)
    with run.screen.stage("quantize") as stage:
        stage.say("INT8 against full precision on validation rows")
        try:
            table = splits.table("validation", limit=QuantizeConfig().max_rows)
            model = quantize(full, table, splits.label, policy, fresh=run.fresh)
        except QualityError as error:
            stage.say(f"INT8 is refused, full precision is kept: {error}")
            return full
        kept = model.parity["quality"]
        stage.say(
            f"{model.size_bytes / 1e6:.2f} MB in INT8, {kept['metric'].replace('_', ' ')} "
            f"{kept['int8']:.4f} (full precision {kept['full_precision']:.4f})"
        )
    return model


def decided(model: ExportedModel, splits: Splits) -> Policy:
    """What the model says of rows that trained nothing -> its policy."""
    from spt_core.scoring import fitted_policy

    return fitted_policy(model, splits)


def benchmarked(
    run: Run,
    model: ExportedModel,
    policy: Policy,
    splits: Splits,
    front: Sequence[FrontPoint] = (),
) -> tuple[Report, str]:
    """Exported model -> Report and the address of its page; `front` is what it was chosen among."""
    from spt_core.benchmark import BenchmarkSuite, report_from_json

    config, evaluation_set = run.config.benchmark, splits.evaluation_set()
    name = digest([policy.version, dataclasses.asdict(config), evaluation_set.fingerprint])
    uri = f"{model.uri}/report-{name}"
    with run.screen.stage("benchmark") as stage:
        if exists(f"{uri}.json") and not run.fresh:  # the JSON is written last
            stage.say(f"{uri}.html{_reused(True)}")
            return report_from_json(json.loads(read_bytes(f"{uri}.json"))), f"{uri}.html"
        stage.say("scoring held-out rows")

        def on_trial(name: str, trial: int, num_trials: int) -> None:
            stage.advance(trial, num_trials, f"tuning {name}, trial {trial} of {num_trials}")

        report = BenchmarkSuite(config).run(
            model, evaluation_set, policy=policy, splits=splits, on_trial=on_trial
        )
        report = dataclasses.replace(report, front=[point.to_json() for point in front])
        page = report.html(
            facts=_facts(model, policy, splits),
            findings=[dataclasses.asdict(finding) for finding in splits.findings],
            use=_use(run.task, model),
            rows=_rows_sentence(splits),
        )
        write_bytes(f"{uri}.html", page.encode())
        write_bytes(f"{uri}.json", json.dumps(report.to_json()).encode())
        stage.say(f"{uri}.html")
    return report, f"{uri}.html"


def registered(
    run: Run,
    model: ExportedModel,
    policy: Policy,
    report: Report,
    report_uri: str,
    *,
    created_by: str = "jobs.pipeline",
) -> ModelVersion:
    """Exported model + policy + report -> a version in the registry."""
    with run.screen.stage("register") as stage:
        version = run.registry().add(
            model, policy, report.to_json(), created_by=created_by, report_uri=report_uri
        )
        stage.say(version.ref)
    return version


def deployed(run: Run, version: ModelVersion) -> Deployment:
    """Version -> champion, served by every replica."""
    return rolled_out(run.screen, run.settings, run.registry(), version)


def show_report(run: Run, report: Report) -> None:
    """The figures beside the baselines', for a person."""
    quality = report.quality[report.model_name]
    names = [name for name in HEADS[find(report.task).head].metrics if name in quality]
    names = names[:NUM_SHOWN_METRICS]
    if report.too_few:
        run.screen.warn("  few", f": {report.too_few}")
    rows = [
        [
            model,
            *("-" if report.too_few else _with_interval(q[n]) for n in names),
            f"{report.latency_ms[model]['p50']:.3f}",
        ]
        for model, q in report.quality.items()
    ]
    synthetic = ", SYNTHETIC data" if report.synthetic else ""
    what = HEADS[find(report.task).head].noun
    groups = f" of {report.num_groups:,} groups" if report.num_groups else ""
    run.screen.table(
        f"{report.task}: {report.num_rows:,} held-out rows{groups}, "
        f"{report.num_positives:,} {what}{synthetic}",
        ["model", *(_TITLES.get(name, name.replace("_", " ")) for name in names), "p50 ms"],
        rows,
    )
    for name, check in report.compliance.items():
        if not check["passed"]:
            run.screen.warn("  compliance", f" {name}: {check['fact']}")


def _with_interval(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:.4f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def _show_notes(run: Run, model: SpecializedModel) -> None:
    for note in model.artifact.notes:
        run.screen.warn("  note", f": {note}")


def _watch(stage: Stage, config: TrainingConfig) -> Callable[[Mapping[str, float]], None]:
    def on_metrics(metrics: Mapping[str, float]) -> None:
        shown = [f"{k.replace('_', ' ')} {v:.4f}" for k, v in metrics.items() if k.endswith("loss")]
        epoch = int(metrics["epoch"])
        stage.advance(
            epoch, config.num_epochs, f"epoch {epoch} of {config.num_epochs}, {', '.join(shown)}"
        )

    return on_metrics


def _quality(role: str, task: Task, model: SpecializedModel) -> str:
    metric = f"validation_{task.metric}"
    value = model.artifact.metrics[metric]
    return f"{role}: {metric.replace('_', ' ')} {value:.4f}{_reused(model.reused)}"


def _reused(reused: bool) -> str:
    return " (finished before, reused; --fresh makes it again)" if reused else ""


def _use(task: Task, model: ExportedModel) -> dict[str, str]:
    """What the model is for, what it was made from, who made it and who approves it."""
    metric = f"validation_{task.metric}"
    use = {"intended use": task.description}
    for artifact in lineage(model.artifact):
        figures = artifact.metrics
        if metric not in figures:
            continue
        shares = [
            f"{name.removesuffix('_weight')} {share:.2f}"
            for name, share in figures.items()
            if name.endswith("_weight")
        ]
        made_of = f", a blend of {', '.join(shares)}" if shares else ""
        what = "served" if artifact.uri == model.artifact.uri else artifact.role
        if what in use:  # the nearest of its role is the one
            continue
        use[what] = f"{metric.replace('_', ' ')} {figures[metric]:.4f}{made_of}"
    approver = "a person, before it may serve: the task is of high risk"
    return {
        **use,
        "author": actor(),
        "approver": approver if task.high_risk else "none is asked for by the task",
    }


def _facts(model: ExportedModel, policy: Policy, splits: Splits) -> dict[str, Any]:
    artifact, decision = model.artifact, policy.described()
    decision |= {name: model.parity[name] for name in ("quality",) if name in model.parity}
    return {
        "model": model.uri,
        "made from": " <- ".join(a.uri for a in lineage(artifact)),
        "data": splits.uri,
        "data fingerprint": artifact.data_fingerprint,
        "code fingerprint": artifact.code_fingerprint,
        "licences of the data": ", ".join(artifact.licences) or "unknown",
        "seed": artifact.seed,
        **decision,
        "farthest from the checkpoint": ", ".join(
            f"{name} {gap:.1e}" for name, gap in model.parity["max_abs_difference"].items()
        ),
    }
