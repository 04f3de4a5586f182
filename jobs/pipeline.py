"""The main job: from a table to an HTTP answer, each stage resumed or reused where it was left.

python -m jobs.pipeline financial_services/fraud_detection --data tx.parquet --label is_fraud
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.lifecycle import stop_serve
from jobs.command import Run, parser, read_run, started
from jobs.exits import run as call
from jobs.service import asked, elsewhere, require_service, serve_until_interrupted, shown
from jobs.stages.exporting import optimized, refitted
from jobs.stages.fitting import prepared, refuse_incompatible, students_of, trained
from jobs.stages.judging import benchmarked, decided, deployed, registered, show_report
from spt_core.registry import ModelVersion


def pipeline(run: Run) -> tuple[ModelVersion, str, dict[str, Any]]:
    """The whole flow; every arrow is a stage that is a job of its own too.

    On a cluster that never serves it ends with the version, and says how the service takes it.
    """
    splits = prepared(run)  # Corpus -> Splits
    refuse_incompatible(run, splits)
    teacher = trained(run, splits)  # -> SpecializedModel
    students = students_of(run, teacher, splits)  # -> SpecializedModel, or several, searched
    # -> ExportedModel: the best of what keeps the limits, refused without parity
    model, front, _ = optimized(run, teacher, students, splits)
    policy = decided(model, splits)  # -> DecisionPolicy or LabelPolicy
    report, report_uri = benchmarked(run, model, policy, splits, front)  # -> Report, with baselines
    show_report(run, report)
    if (
        run.config.refit and not model.artifact.privacy
    ):  # on every row but the test's; the report stays its twin's
        model, report = refitted(run, model, teacher, splits, report)
    version = registered(run, model, policy, report, report_uri)  # -> ModelVersion
    if not run.settings.serves:
        return version, report_uri, {"deploy": elsewhere(version)}
    deployed(run, version)  # champion by compare-and-set; Serve follows
    return version, report_uri, asked(run.settings, version)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow, show the answer, and serve until Ctrl-C."""
    command_line = parser("pipeline", __doc__ or "")
    command_line.add_argument(
        "--once", action="store_true", help="end after the answer instead of serving"
    )
    run = read_run(command_line.parse_args(arguments))
    if run.settings.serves:
        require_service(run.settings)
    with started(run):
        try:
            _show(run, *pipeline(run))
            ends = run.arguments.once or not run.settings.serves
            if not ends and run.settings.ray_address is None:
                serve_until_interrupted(run.screen, run.settings)
        finally:
            if run.settings.ray_address is None:
                stop_serve()
    return 0


def _show(run: Run, version: ModelVersion, report_uri: str, question: dict[str, Any]) -> None:
    content = {
        "version": version.ref,
        "exported": version.exported.uri,
        "report": report_uri,
        "quality": version.report["quality"][version.report["model_name"]],
        "seconds": run.screen.seconds,
        **question,
    }
    if "deploy" in question:
        run.screen.say(f"registered {version.ref}; the service, which is elsewhere, takes it by")
        text = str(question["deploy"])
    else:
        text = shown(question)
    run.screen.result(content, f"\n{text}\n\nreport: {report_uri}")


if __name__ == "__main__":
    call(main)
