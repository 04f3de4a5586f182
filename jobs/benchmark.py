"""Benchmark a task's served model beside tuned baselines: python -m jobs.benchmark ...

Then by reasons, compliance, groups, gaps, typos, months, time, memory and size. With --versions
every registered version of the model is measured, side by side on the same rows, and none is made.
"""

from __future__ import annotations

from collections.abc import Sequence

from jobs.command import Run, parser, read_run, started
from jobs.exits import run as call
from jobs.stages.exporting import optimized
from jobs.stages.fitting import prepared, students_of, trained
from jobs.stages.judging import (
    all_benchmarks,
    benchmarked,
    decided,
    registered,
    show_benchmarks,
    show_report,
    versions_beside,
)
from spt_core.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Everything up to the report, which is registered as a version but not deployed."""
    command_line = parser("benchmark", __doc__ or "")
    command_line.add_argument(
        "--versions", action="store_true", help="measure what is registered, side by side"
    )
    run = read_run(command_line.parse_args(arguments))
    if run.arguments.versions:
        return _beside(run)
    with started(run):
        splits = prepared(run)
        teacher = trained(run, splits)
        model, front, _ = optimized(run, teacher, students_of(run, teacher, splits), splits)
        policy = decided(model, splits)
        report, report_uri = benchmarked(run, model, policy, splits, front)
        version = registered(run, model, policy, report, report_uri)
        benchmarks, page = all_benchmarks(run, version, report)
    show_report(run, report)
    show_benchmarks(run, [benchmarks])
    run.screen.result(
        {
            "version": version.ref,
            "report": report_uri,
            "benchmarks": benchmarks,
            "benchmarks_page": page,
            **report.to_json(),
        },
        f"{report_uri}\n{page}",
    )
    return 0


def _beside(run: Run) -> int:
    arguments = run.arguments
    if arguments.data is not None or arguments.dataset is not None:
        raise InputError(
            "--versions measures each version on its own held-out rows, however: "
            f"{'--data' if arguments.dataset is None else '--dataset'} is given too"
        )
    contents, left_out, page = versions_beside(run)
    show_benchmarks(run, contents)
    for ref, why in left_out.items():
        run.screen.warn("  not beside", f" {ref}: it differs in {why}")
    run.screen.result({"versions": contents, "left_out": left_out, "page": page}, page)
    return 0


if __name__ == "__main__":
    call(main)
