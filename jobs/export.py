"""Export what is served of a task to ONNX: python -m jobs.export INDUSTRY/TASK ...

With --engine tensorrt on a machine with a GPU, texts get an engine for it too. Its model becomes
the variant `tensorrt` of the version that the teacher's student is registered as (run
jobs.benchmark or jobs.pipeline first): `jobs.deploy --variant tensorrt` puts it into service, and
replicas with SPT_RUNTIME=tensorrt run the engine of their own GPU and driver, or refuse it.
"""

from __future__ import annotations

from collections.abc import Sequence

from jobs.command import Run, parser, read_run, started
from jobs.exits import run as call
from jobs.stages.exporting import optimized, version_of, with_engine
from jobs.stages.fitting import prepared, students_of, trained
from spt_core.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Corpus -> teacher -> student (both reused) -> the best within the limits, as ONNX."""
    command_line = parser("export", __doc__ or "")
    command_line.add_argument(
        "--engine", choices=["tensorrt"], help="build an engine for this machine's GPU too"
    )
    run = read_run(command_line.parse_args(arguments))
    if run.arguments.engine is not None:
        _require_gpu(run)
    with started(run):
        splits = prepared(run)
        teacher = trained(run, splits)
        version = None if run.arguments.engine is None else version_of(run, teacher)
        model = optimized(run, teacher, students_of(run, teacher, splits), splits).model
        content = {"uri": model.uri, "parity": model.parity, "size_bytes": model.size_bytes}
        text = model.uri
        if version is not None:
            variant, engine = with_engine(run, version, model, splits)
            content |= {"variant": variant.ref, "engine": engine._asdict()}
            text = f"{model.uri}\n{variant.ref}: {engine.uri}"
    run.screen.result(content, text)
    return 0


def _require_gpu(run: Run) -> None:
    """Refuse before an hour of training what could not be built after it."""
    from spt_core.families.serving import ON_GPU
    from spt_core.families.tensorrt import this_device

    if run.task.family not in ON_GPU:
        raise InputError(
            f"engines are of families that GPUs serve ({', '.join(ON_GPU)}), however: "
            f"{run.task.path} is of the family {run.task.family!r}"
        )
    this_device()


if __name__ == "__main__":
    call(main)
