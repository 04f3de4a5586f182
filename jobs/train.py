"""Train the teacher of a task: python -m jobs.train INDUSTRY/TASK --data tx.parquet"""

from __future__ import annotations

from collections.abc import Sequence

from jobs.command import parser, read_run, started
from jobs.exits import run as call
from jobs.stages.fitting import prepared, trained


def main(arguments: Sequence[str] | None = None) -> int:
    """Corpus -> teacher."""
    run = read_run(parser("train", __doc__ or "").parse_args(arguments))
    with started(run):
        teacher = trained(run, prepared(run))
    artifact = teacher.artifact
    run.screen.result(
        {"uri": artifact.uri, "metrics": artifact.metrics, "reused": teacher.reused}, artifact.uri
    )
    return 0


if __name__ == "__main__":
    call(main)
