"""Distill a task's teacher into a small student: python -m jobs.distill INDUSTRY/TASK ...

With --targets, into one for each place that it is to run in: each keeps its target's limits as
measured here, and becomes a variant of the version that the teacher's student is registered as
(run jobs.benchmark or jobs.pipeline first). `jobs.deploy` and `jobs.predict` take --variant.

targets.json, with the keys that it needs of those shown:
  {"phone": {"mobile_deployment": true, "compression_ratio": 0.3, "target_latency_ms": 50,
             "target_size_mb": 25, "quantization": "int8"},
   "edge":  {"edge_deployment": true, "pruning_ratio": 0.3, "target_memory_mb": 50},
   "cloud": {"cloud_deployment": true, "batch_optimization": true, "target_throughput_qps": 1000}}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.settings import actor
from jobs.command import Run, parser, read_run, started
from jobs.exits import run as call
from jobs.stages.exporting import targeted, version_of
from jobs.stages.fitting import distilled, prepared, trained
from jobs.stages.judging import benchmarked
from spt_core.data.splits import Splits
from spt_core.errors import InputError
from spt_core.model import SpecializedModel

REFUSED = 2  # the exit code where a target is refused; what the others got is registered


def main(arguments: Sequence[str] | None = None) -> int:
    """Corpus -> teacher (reused if it is there) -> student, or students by target."""
    command_line = parser("distill", __doc__ or "")
    command_line.add_argument(
        "--targets", metavar="FILE", help="JSON: deployment targets, by name or as a list"
    )
    run = read_run(command_line.parse_args(arguments))
    targets = None if run.arguments.targets is None else _read(run.arguments.targets)
    with started(run):
        splits = prepared(run)
        teacher = trained(run, splits)
        if targets is not None:
            return _variants(run, teacher, splits, targets)
        student = distilled(run, teacher, splits)
    artifact = student.artifact
    run.screen.result(
        {"uri": artifact.uri, "metrics": artifact.metrics, "reused": student.reused}, artifact.uri
    )
    return 0


def _read(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"--targets must name a JSON file, however: {path}: {error}") from error


def _variants(run: Run, teacher: SpecializedModel, splits: Splits, targets: Any) -> int:
    """Each target's model, with a report of its own, as a variant of the teacher's version."""
    version = version_of(run, teacher)
    results = targeted(run, teacher, splits, targets)
    lines: dict[str, Any] = {}
    for name, result in results.items():
        if result.exported is None or result.policy is None:
            lines[name] = {"refused": result.refusal}
            continue
        report, uri = benchmarked(run, result.exported, result.policy, splits, result.front)
        variant = run.registry().add_variant(
            version,
            name,
            result.exported,
            result.policy,
            report.to_json(),
            created_by=f"jobs.distill by {actor()}",
            report_uri=uri,
        )
        lines[name] = {
            "variant": variant.ref,
            "exported": result.exported.uri,
            "share_kept": result.share_kept,
            "report": uri,
        }
    text = "\n".join(
        f"{name}: {line.get('variant') or 'refused: ' + line['refused']}"
        for name, line in lines.items()
    )
    run.screen.result({"version": version.ref, "targets": lines}, text)
    return REFUSED if any("refused" in line for line in lines.values()) else 0


if __name__ == "__main__":
    call(main)
