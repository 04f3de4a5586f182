"""The one roll-out writer: registry -> whole Serve configuration -> applied -> read back.

promote: alias by compare-and-set, deployment row, apply, ask every replica what it serves; a
version that a replica refuses is rolled back before the call ends.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

from spt_core.errors import SptError
from spt_core.registry import Deployment, ModelVersion, Registry
from spt_core.task import find

CHAMPION = "champion"
DEFAULT_MODEL = "default"
LEASE = "rollout"
API_APPLICATION = "api"
APPLY_TIMEOUT_S = 180.0
_POLL_S = 0.1


class RolloutError(SptError):
    """A version did not reach every replica; what served before serves on."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Replica:
    """What one replica says of itself: the reference that it serves, or why it refused."""

    ref: str
    policy: str
    error: str


Apply = Callable[[dict[str, Any]], None]
ReadBack = Callable[[str, int], list[Replica] | None]


def promote(
    registry: Registry,
    version: ModelVersion,
    *,
    actor: str,
    num_replicas: int = 1,
    apply: Apply | None = None,
    read_back: ReadBack | None = None,
) -> Deployment:
    """The live deployment of the version; RolloutError when a replica refused it.

    `apply` and `read_back` reach Serve; tests hand over their own.
    """
    name, number = version.name, version.version
    with registry.lease(LEASE):
        before = registry.aliases(name).get(CHAMPION)
        if before != number:
            registry.set_alias(name, CHAMPION, number, expected=before, actor=actor)
        epoch = next((d.epoch for d in registry.deployments() if d.name == name), 0)
        deployment = registry.deploy(name, number, expected_epoch=epoch, actor=actor)
        try:
            _apply_all(registry, num_replicas, apply, read_back)
        except RolloutError as error:
            registry.mark(deployment, "failed", str(error))
            if before is not None and before != number:
                registry.set_alias(
                    name, CHAMPION, before, expected=number, actor=actor, reason=str(error)
                )
            _apply_all(registry, num_replicas, apply, read_back)
            raise
        return registry.mark(deployment, "live")


def resume(
    registry: Registry,
    *,
    num_replicas: int = 1,
    apply: Apply | None = None,
    read_back: ReadBack | None = None,
) -> list[Deployment]:
    """Bring Serve to what the registry says, as after a restart; the deployments that are live."""
    with registry.lease(LEASE):
        _apply_all(registry, num_replicas, apply, read_back)
        return [registry.mark(deployment, "live") for deployment in registry.serving()]


def render(versions: list[ModelVersion], num_replicas: int) -> dict[str, Any]:
    """The whole Serve configuration: one application per task, and the API. Serve deletes the rest."""
    applications = [
        {
            "name": application_name(version),
            "route_prefix": route(version),
            "import_path": "serve.app:task_application",
            "args": {"task": _task_path(version)},
            "deployments": [
                {
                    "name": "ModelServer",
                    "num_replicas": num_replicas,
                    "user_config": {
                        "ref": version.ref,
                        "exported": version.exported.uri,
                        "policy": version.policy.to_json(),
                    },
                }
            ],
        }
        for version in versions
    ]
    api = {
        "name": API_APPLICATION,
        "route_prefix": "/",
        "import_path": "serve.app:api_application",
        "args": {},
        "deployments": [{"name": "Api", "user_config": {"models": [_public(v) for v in versions]}}],
    }
    return {"applications": [*applications, api]}


def application_name(version: ModelVersion) -> str:
    """Serve's name for a task's application; a model name beyond the default has its own."""
    return version.name.removesuffix(f"/{DEFAULT_MODEL}").replace("/", "-")


def route(version: ModelVersion) -> str:
    """`/v1/industry/task`, with the model name behind it unless it is the default one."""
    return "/v1/" + version.name.removesuffix(f"/{DEFAULT_MODEL}")


def serve_apply(configuration: dict[str, Any]) -> None:
    """Hand the configuration to Serve, declaratively."""
    from ray.serve.context import _get_global_client  # its public twin needs a dashboard
    from ray.serve.schema import ServeDeploySchema

    client = _get_global_client()
    assert client is not None, "Serve must be started before a roll-out"
    client.deploy_apps(ServeDeploySchema.model_validate(configuration))


def serve_read_back(application: str, num_replicas: int) -> list[Replica] | None:
    """What every replica serves; None while they are not all running yet."""
    from ray import serve

    status = serve.status().applications.get(application)
    if status is None or status.status in ("DEPLOYING", "NOT_STARTED"):
        return None
    if status.status == "DEPLOY_FAILED":
        raise RolloutError(f"Serve could not start {application}, however: {status.message[:500]}")
    handle = serve.get_deployment_handle("ModelServer", application)
    if not handle.is_initialized:
        handle._init(_run_router_in_separate_loop=True)  # the tuned path has no loop on a driver
    found = handle.broadcast("served").results(timeout_s=10)
    return [Replica(**content) for content in found] if len(found) == num_replicas else None


def _apply_all(
    registry: Registry, num_replicas: int, apply: Apply | None, read_back: ReadBack | None
) -> None:
    versions = [registry.get(f"{d.name}@{d.version}") for d in registry.serving()]
    (apply or serve_apply)(render(versions, num_replicas))
    deadline = time.monotonic() + APPLY_TIMEOUT_S
    for version in versions:
        _await(version, num_replicas, read_back or serve_read_back, deadline)


def _await(version: ModelVersion, num_replicas: int, read_back: ReadBack, deadline: float) -> None:
    """Poll until every replica serves the version with its policy, or says why it does not."""
    application = application_name(version)
    replicas: list[Replica] | None = None
    while time.monotonic() < deadline:
        replicas = read_back(application, num_replicas)
        if replicas is not None:
            refused = [r.error for r in replicas if r.error]
            if refused:
                raise RolloutError(f"every replica must take {version.ref}, however: {refused[0]}")
            wanted = (version.ref, version.policy.version)
            if all((r.ref, r.policy) == wanted for r in replicas):
                return
        time.sleep(_POLL_S)
    raise RolloutError(
        f"every replica must serve {version.ref} within {APPLY_TIMEOUT_S:g} s, however: {replicas}"
    )


def _task_path(version: ModelVersion) -> str:
    return version.name.rpartition("/")[0]


def _public(version: ModelVersion) -> Mapping[str, Any]:
    """What the API tells of a deployed version."""
    task = find(_task_path(version))
    return {
        "ref": version.ref,
        "task": task.path,
        "route": route(version),
        "title": task.title,
        "description": task.description,
        "input": version.exported.artifact.signature.json_schema(),
        "example": dict(task.example),
        "answer": {name: dict(schema) for name, schema in task.answer.items()},
        "created_at": version.created_at,
        "licences": list(version.licences),
        "policy": version.policy.version,
    }


