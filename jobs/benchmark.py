"""Benchmark a task's served model beside tuned baselines: python -m jobs.benchmark ..."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.command import parser, read_run, started
from jobs.exits import run as call
from jobs.stages.exporting import optimized
from jobs.stages.fitting import prepared, students_of, trained
from jobs.stages.judging import benchmarked, decided, registered, show_report


def main(arguments: Sequence[str] | None = None) -> int:
    """Everything up to the report, which is registered as a version but not deployed."""
    run = read_run(parser("benchmark", __doc__ or "").parse_args(arguments))
    with started(run):
        splits = prepared(run)
        teacher = trained(run, splits)
        model, front, _ = optimized(run, teacher, students_of(run, teacher, splits), splits)
        policy = decided(model, splits)
        report, report_uri = benchmarked(run, model, policy, splits, front)
        version = registered(run, model, policy, report, report_uri)
    show_report(run, report)
    run.screen.result(
        {"version": version.ref, "report": report_uri, **report.to_json()}, report_uri
    )
    return 0


if __name__ == "__main__":
    call(main)
