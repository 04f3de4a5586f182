"""Export what is served of a task to ONNX: python -m jobs.export INDUSTRY/TASK ..."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.command import parser, read_run, started
from jobs.exits import run as call
from jobs.stages import optimized, prepared, students_of, trained


def main(arguments: Sequence[str] | None = None) -> int:
    """Corpus -> teacher -> student (both reused) -> the best within the limits, as ONNX."""
    run = read_run(parser("export", __doc__ or "").parse_args(arguments))
    with started(run):
        splits = prepared(run)
        teacher = trained(run, splits)
        model = optimized(run, teacher, students_of(run, teacher, splits), splits).model
    run.screen.result(
        {"uri": model.uri, "parity": model.parity, "size_bytes": model.size_bytes}, model.uri
    )
    return 0


if __name__ == "__main__":
    call(main)
