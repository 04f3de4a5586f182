"""Distill a task's teacher into a small student: python -m jobs.distill INDUSTRY/TASK ..."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.command import parser, read_run, started
from jobs.exits import run as call
from jobs.stages import distilled, prepared, trained


def main(arguments: Sequence[str] | None = None) -> int:
    """Corpus -> teacher (reused if it is there) -> student."""
    run = read_run(parser("distill", __doc__ or "").parse_args(arguments))
    with started(run):
        splits = prepared(run)
        student = distilled(run, trained(run, splits), splits)
    artifact = student.artifact
    run.screen.result(
        {"uri": artifact.uri, "metrics": artifact.metrics, "reused": student.reused}, artifact.uri
    )
    return 0


if __name__ == "__main__":
    call(main)
