"""What a student would take, before anybody trains it: random weights, exported and measured.

Lesson -> network of random weights -> exported as a trained one is -> FrontPoint
"""

from __future__ import annotations

import dataclasses

from safetensors.torch import save as save_weights

from spt_core.artifacts import has_manifest, load_artifact
from spt_core.compression.limits import Limits
from spt_core.compression.measured import FrontPoint, measured
from spt_core.compression.quantize import draft_int8
from spt_core.export import export
from spt_core.families.candidate import Candidate
from spt_core.families.training import TRAINING
from spt_core.fitting.lesson import Lesson
from spt_core.fitting.ray_train import write_artifact
from spt_core.task import find


def draft_points(lesson: Lesson, name: str, uri: str, limits: Limits) -> list[FrontPoint]:
    """The student of a lesson as it could be served: in full precision, and in INT8 if it has that.

    Its loss and metrics are those of random weights, and say nothing; its refusal is about what it
    takes. The artifact stays in the folder `uri`. StudentSizeError where it is larger than asked.
    """
    task = find(lesson.splits.task)
    if has_manifest(uri):
        artifact = load_artifact(uri)
    else:
        plan = TRAINING[task.family].distill(lesson)
        run = plan.draft()
        state = run.learner.network(run).state_dict()
        weights = save_weights({name: tensor.contiguous() for name, tensor in state.items()})
        artifact = write_artifact(uri, lesson.splits, run, plan.finish(weights))
    exported = export(artifact)
    exports = {} if limits.int8_only else {"": exported}
    if task.facts.has_int8:
        exports[" INT8"] = draft_int8(exported)
    candidate = Candidate(name, "student", 0.0, artifact.metrics, {"student": 1.0}, {})
    of_size = dataclasses.replace(limits, quality={}, cost_per_case=None, impact_ratio=None)
    return [
        measured(candidate, each, lesson.splits, of_size, f"{name}{variant}")
        for variant, each in exports.items()
    ]


def fits(points: list[FrontPoint]) -> bool:
    """Whether one of them keeps the limits."""
    return any(not point.refusal for point in points)
