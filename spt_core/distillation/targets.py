"""Where a student is to run: the specification's dictionaries, read, and what came of each.

{"name": "edge_device", "compression_ratio": 0.2, "memory_limit_mb": 100} -> DeploymentTarget
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from spt_core.artifacts import ExportedModel
from spt_core.compression.limits import Limits
from spt_core.compression.selection import FrontPoint
from spt_core.errors import InputError, nearest
from spt_core.model import SpecializedModel
from spt_core.policy import Policy
from spt_core.task import Task

Place = Literal["mobile", "edge", "cloud"]
# What the specification calls one limit in its two places.
_NAMES: Mapping[str, str] = {
    "latency_requirement_ms": "latency_ms",
    "target_latency_ms": "latency_ms",
    "memory_limit_mb": "memory_mb",
    "target_memory_mb": "memory_mb",
    "target_size_mb": "size_mb",
    "target_throughput_qps": "throughput_qps",
}
_OWN = ("name", "compression_ratio", "quantization", "pruning_ratio", "batch_optimization")
_PLACES = tuple(f"{place}_deployment" for place in get_args(Place))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DeploymentTarget:
    """One place and what a model may take there.

    Attributes:
        name: unique among the targets of a run.
        place: what kind of machine; "mobile" gets a `.ort` file and a note on its use too.
        compression_ratio: the student's weights may take this share of its teacher's bytes; None
            asks for what the DistillationConfig does.
        limits: as measured on this machine; a limit that is not stated is the task's.
        pruning_ratio: share of its width that the student loses before it is taught.
    """

    name: str
    place: Place | None = None
    compression_ratio: float | None = None
    limits: Limits = dataclasses.field(default_factory=Limits)
    pruning_ratio: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TargetResult:
    """What came of a target: a model that keeps its limits, or the reason why there is none.

    `share_kept` is that of the teacher's metric on validation rows; thresholds of `policy` are
    fitted on the model's own scores. `front` is what it was chosen among.
    """

    target: DeploymentTarget
    refusal: str = ""
    exported: ExportedModel | None = None
    policy: Policy | None = None
    share_kept: float | None = None
    front: Sequence[FrontPoint] = ()

    @property
    def model(self) -> SpecializedModel:
        """The model with its policy; InputError where the target was refused."""
        if self.exported is None:
            raise InputError(f"the target {self.target.name!r} has no model: {self.refusal}")
        return SpecializedModel(self.exported, policy=self.policy)


def deployment_targets(
    targets: Sequence[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]], task: Task
) -> list[DeploymentTarget]:
    """The targets of a list, or of a dictionary by name; InputError names what cannot be read."""
    if isinstance(targets, Mapping):
        given = [{"name": name, **_with_place(name, content)} for name, content in targets.items()]
    else:
        given = [dict(content) for content in targets]
    if not given:
        raise InputError("distillation needs a target at least, however: there is none")
    read = [_target(content, task) for content in given]
    names = [target.name for target in read]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"targets must have names of their own, however: two are {name!r}")
    return read


def _with_place(name: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
    """A target that is called `mobile_deployment` is one."""
    return {**content, name: True} if name in _PLACES else content


def _target(content: Mapping[str, Any], task: Task) -> DeploymentTarget:
    name = content.get("name")
    if not isinstance(name, str) or not name:
        raise InputError(f"a target must have a name, however: {dict(content)} has none")
    allowed = (*_OWN, *_NAMES, *_PLACES)
    for key in content:
        if key not in allowed:
            raise InputError(
                f"a target's keys are the specification's, however: {name!r} has {key!r}; "
                f"{nearest(key, allowed)}"
            )
    places = [place for place in get_args(Place) if content.get(f"{place}_deployment")]
    if len(places) > 1:
        raise InputError(f"a target is one place, however: {name!r} is {' and '.join(places)}")
    return DeploymentTarget(
        name=name,
        place=places[0] if places else None,
        compression_ratio=_share(content, "compression_ratio", name) or None,
        limits=_limits(content, task, name),
        pruning_ratio=_share(content, "pruning_ratio", name),
    )


def _limits(content: Mapping[str, Any], task: Task, name: str) -> Limits:
    quantization = content.get("quantization")
    if quantization not in (None, "int8"):
        raise InputError(f"quantization must be int8, however: {name!r} has {quantization!r}")
    if quantization and not task.facts.has_int8:
        raise InputError(
            f"quantization must be left out where a family has no INT8 (a table's models are small "
            f"as they are), however: {name!r} of {task.path} asks for it"
        )
    values: dict[str, Any] = {}
    for key, limit in _NAMES.items():
        if key not in content:
            continue
        if limit in values and values[limit] != content[key]:
            raise InputError(f"a target has one {limit}, however: {name!r} has two")
        values[limit] = _number(content, key, name)
    return Limits(
        **values,
        in_batches=bool(content.get("batch_optimization")),
        int8_only=quantization is not None,
    )


def _share(content: Mapping[str, Any], key: str, name: str) -> float:
    """A share in [0, 1) of pruning, in (0, 1] of compression; 0 where it is not there."""
    if key not in content:
        return 0.0
    value = _number(content, key, name)
    is_ratio = key == "compression_ratio"
    if not (0 < value <= 1 if is_ratio else 0 <= value < 1):
        interval = "(0, 1]" if is_ratio else "[0, 1)"
        raise InputError(f"{key} must be in {interval}, however: {name!r} has {value}")
    return value


def _number(content: Mapping[str, Any], key: str, name: str) -> float:
    value = content[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{key} must be a number, however: {name!r} has {value!r}")
    return float(value)
