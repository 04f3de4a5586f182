"""What the registry holds, and how it is named.

"financial_services/fraud_detection" + "/default" + "@7" = a ModelVersion's `ref`; ":edge" behind it
names a variant.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from spt_core.artifacts import ExportedModel, exported_from_json
from spt_core.errors import CorruptArtifactError, InputError
from spt_core.policy import Policy, policy_from_json

CHAMPION = "champion"
DEFAULT_MODEL_NAME = "default"
DeploymentState = Literal["pending", "live", "failed", "retired"]
DEPLOYMENT_STATES: tuple[DeploymentState, ...] = get_args(DeploymentState)
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_ALIAS = re.compile(r"[a-z][a-z0-9_-]*")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelVersion:
    """An exported model with the policy that decides on its answers and the report that it earned.

    `lineage` are the URIs of the artifacts behind it, its own first; `licences` are those of all
    data behind any of them. Versions of one name count from 1. A `variant` is the same version for
    a deployment target: another export with a policy and a report of its own.
    """

    name: str
    version: int
    exported: ExportedModel
    policy: Policy
    report: Mapping[str, Any]
    report_uri: str
    licences: tuple[str, ...]
    lineage: tuple[str, ...]
    created_at: str
    created_by: str
    variant: str = ""

    @property
    def ref(self) -> str:
        """`industry/task/model_name@version`, with `:variant` behind it if it is one."""
        return ref_of(self.name, self.version, self.variant)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `version_from_json` reads back."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """What should answer for one name: `version` takes `traffic_share` of the requests.

    `previous_version` takes the rest, and everything if this deployment fails; None for a first.
    `epoch` grows by one with each deployment of the name, so a stale writer is told from a new one.
    `variant` is that of the version which answers; "" is the version itself.
    """

    name: str
    version: int
    traffic_share: float
    state: DeploymentState
    epoch: int
    previous_version: int | None
    error: str
    actor: str
    at: str
    variant: str = ""

    @property
    def ref(self) -> str:
        """What answers, as ModelVersion.ref."""
        return ref_of(self.name, self.version, self.variant)

    def __post_init__(self) -> None:
        """Refuse a share or a state that cannot be."""
        if not 0.0 < self.traffic_share <= 1.0:
            raise InputError(f"a traffic share must be in (0, 1], however: {self.traffic_share}")
        if self.state not in DEPLOYMENT_STATES:
            raise InputError(f"a state must be one of {DEPLOYMENT_STATES}, however: {self.state!r}")
        if self.traffic_share < 1.0 and self.previous_version is None:
            raise InputError(
                "a first deployment must take all traffic, as nothing else could take the rest, "
                f"however: {self.traffic_share=}"
            )

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `deployment_from_json` reads back."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AliasChange:
    """One move of an alias: who, when, why; `from_version` is None when it was new."""

    name: str
    alias: str
    from_version: int | None
    to_version: int
    actor: str
    reason: str
    at: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `alias_change_from_json` reads back."""
        return dataclasses.asdict(self)


class Ref(NamedTuple):
    """A parsed reference: `selector` is a version number or an alias, `variant` may be ""."""

    name: str
    selector: int | str
    variant: str = ""


class Check(NamedTuple):
    """What a compliance check found; only a required one stands in the way of a promotion."""

    passed: bool
    required: bool = True
    fact: str = ""


def version_from_json(content: Mapping[str, Any]) -> ModelVersion:
    """The ModelVersion that `to_json` wrote; CorruptArtifactError when it is not one."""
    try:
        values: dict[str, Any] = {  # Any: JSON, checked here
            **content,
            "exported": exported_from_json(content["exported"]),
            "policy": policy_from_json(content["policy"]),
            "licences": _texts(content["licences"]),
            "lineage": _texts(content["lineage"]),
        }
        if not isinstance(values["report"], Mapping):
            raise TypeError("the report is not an object")
        version = ModelVersion(**values)
        failed_compliance(version.report)
        if version.name != name_of(version.exported):
            raise ValueError(f"its artifact belongs to {name_of(version.exported)}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        where = f"{content.get('name')}@{content.get('version')}"
        raise CorruptArtifactError(
            f"a stored model version must be whole, however: {where} is not "
            f"({type(error).__name__}: {error})"
        ) from error
    return version


def deployment_from_json(content: Mapping[str, Any]) -> Deployment:
    """The Deployment that `to_json` wrote; CorruptArtifactError when it is not one."""
    try:
        return Deployment(**content)
    except (TypeError, ValueError) as error:
        raise CorruptArtifactError(
            f"a stored deployment must be whole, however: {content.get('name')} is not ({error})"
        ) from error


def alias_change_from_json(content: Mapping[str, Any]) -> AliasChange:
    """The AliasChange that `to_json` wrote; CorruptArtifactError when it is not one."""
    try:
        return AliasChange(**content)
    except TypeError as error:
        raise CorruptArtifactError(
            f"a stored alias change must be whole, however: {content.get('name')} is not ({error})"
        ) from error


def compliance(report: Mapping[str, Any]) -> dict[str, Check]:
    """The report's compliance checks, each written as true or false or as an object of a Check."""
    checks = report.get("compliance", {})
    if not isinstance(checks, Mapping):
        raise InputError(f"a report's compliance must be an object, however: {checks!r}")
    return {str(name): _check(str(name), check) for name, check in checks.items()}


def failed_compliance(report: Mapping[str, Any]) -> list[str]:
    """The required compliance checks that the report says have failed, each with its fact."""
    return [
        f"{name} ({check.fact})" if check.fact else name
        for name, check in compliance(report).items()
        if check.required and not check.passed
    ]


def _check(name: str, content: object) -> Check:
    match content:
        case bool():
            return Check(content)
        case {"passed": bool() as passed, **rest}:
            required, fact = rest.get("required", True), rest.get("fact", "")
            if isinstance(required, bool) and isinstance(fact, str):
                return Check(passed, required, fact)
        case _:
            pass
    raise InputError(
        "a compliance check must be true, false or an object with passed, required and fact, "
        f"however: {name} is {content!r}"
    )


def name_of(exported: ExportedModel) -> str:
    """`industry/task/model_name` of an exported model."""
    return f"{exported.artifact.task}/{exported.artifact.model_name}"


def full_name(text: str) -> str:
    """A checked `industry/task/model_name`; the model name may be left out."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(_PART.fullmatch(part) for part in parts):
        raise InputError(
            "a model is named INDUSTRY/TASK or INDUSTRY/TASK/MODEL_NAME, of letters, digits, "
            f"'_', '.' and '-', however: {text!r}"
        )
    return "/".join(parts if len(parts) == 3 else [*parts, DEFAULT_MODEL_NAME])


def parse_ref(text: str) -> Ref:
    """The parts of INDUSTRY/TASK[/MODEL_NAME][@VERSION_OR_ALIAS][:VARIANT]; else the champion."""
    text, colon, variant = text.partition(":")
    if colon:
        checked_variant(variant)
    name, at, selector = text.partition("@")
    if at and selector.isascii() and selector.isdigit():
        return Ref(full_name(name), int(selector), variant)
    return Ref(full_name(name), checked_alias(selector if at else CHAMPION), variant)


def ref_of(name: str, version: int, variant: str = "") -> str:
    """What `parse_ref` reads."""
    return f"{name}@{version}{':' if variant else ''}{variant}"


def checked_variant(variant: str) -> str:
    """The name of a variant; InputError when it could be taken for something else."""
    if not _PART.fullmatch(variant):
        raise InputError(
            f"a variant is named by letters, digits, '_', '.' and '-', however: {variant!r}"
        )
    return variant


def checked_alias(alias: str) -> str:
    """The alias; InputError when it could be taken for something else."""
    if not _ALIAS.fullmatch(alias):
        raise InputError(
            "an alias must be lower-case letters, digits, '_' and '-' and begin with a letter, "
            f"however: {alias!r}"
        )
    return alias


def _texts(values: object) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or any(not isinstance(v, str) for v in values):
        raise TypeError(f"{values!r} is not a list of texts")
    return tuple(values)
