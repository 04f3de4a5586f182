"""The stages from trained models to what may be served, as a person watches them.

teacher + students -> ExportedModel: the best within the limits, one by target, refitted, an engine
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cluster.settings import actor
from jobs.command import Run
from jobs.stages.fitting import watch
from jobs.stages.judging import benchmarked, decided
from spt_core.artifacts import ExportedModel, write_bytes
from spt_core.data.splits import Splits
from spt_core.errors import InputError, QualityError
from spt_core.model import SpecializedModel
from spt_core.registry import ModelVersion

if TYPE_CHECKING:
    from spt_core.benchmark import Report
    from spt_core.compression.measured import FrontPoint
    from spt_core.compression.selection import Selection
    from spt_core.distillation.targets import TargetResult
    from spt_core.export.tensorrt import EngineFile
    from spt_core.optimization.search import SearchResult

TENSORRT = "tensorrt"  # the variant for GPU replicas


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
            on_metrics=watch(stage, config.training),
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


def show_search(run: Run, result: SearchResult, selection: Selection) -> str:
    """The address of the search's page."""
    from spt_core.optimization.page import search_page

    page = search_page(run.task, result, selection.front, run.config.limits)
    write_bytes(f"{result.uri}/search.html", page.encode())
    return f"{result.uri}/search.html"


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
            teacher, splits, fresh=run.fresh, on_metrics=watch(stage, training)
        )
        stage.say(f"the student, on {num_rows:,} rows")
        own_student = DistillationPipeline(distillation).refit(
            SpecializedModel(student_of(model.artifact)),
            own_teacher,
            splits,
            fresh=run.fresh,
            on_metrics=watch(stage, distillation.training),
            on_fold=lambda number, of: stage.say(f"the teacher of fold {number} of {of}"),
        )
        output = refitted_export(model, own_teacher.artifact, own_student.artifact)
        stage.say(
            f"{num_rows:,} rows, where the figures above are of {splits.num_rows['train']:,}: "
            "thresholds and calibration stay"
        )
    twin = {"num_rows": num_rows, "num_rows_of_twin": splits.num_rows["train"], "twin": model.uri}
    return output, dataclasses.replace(report, refit=twin)


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
