"""The one roll-out writer: registry -> whole Serve configuration -> applied -> read back.

promote: alias by compare-and-set, deployment row, apply, ask every replica what it serves; a
version that a replica refuses is rolled back before the call ends.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, final

from spt_core.errors import ConflictError, InputError, SptError, UnavailableError
from spt_core.registry import (
    CHAMPION,
    DEFAULT_MODEL_NAME,
    Deployment,
    ModelVersion,
    Registry,
    ref_of,
)
from spt_core.task import example_record, find

LEASE = "rollout"
API_APPLICATION = "api"
READ_BACK_TIMEOUT_S = 180.0
# Of replicas that follow a load; Serve's own would hear of it every 10 s, and wait for 30.
METRICS_INTERVAL_S, LOOK_BACK_S, UPSCALE_DELAY_S, DOWNSCALE_DELAY_S = 1.0, 5.0, 3.0, 60.0
ASK_TIMEOUT_S = 20.0
_POLL_S = 0.1


class RolloutError(SptError):
    """A version did not reach every replica; what served before serves on."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Replica:
    """What one replica says of itself: what it serves, and why it refused what it was asked to."""

    ref: str
    policy: str
    asked: str
    error: str


class Scaled(NamedTuple):
    """Replicas that follow the load and the task's latency target, within bounds."""

    min_replicas: int
    max_replicas: int


NumReplicas = int | Scaled


def replicas_within(least: int, most: int) -> NumReplicas:
    """A fixed number of replicas, or a range that follows the load."""
    return least if least == most else Scaled(least, most)


class Service(Protocol):
    """What serves: takes a whole configuration and says what became of it. One caller at a time."""

    def apply(self, configuration: Mapping[str, Any]) -> None:
        """Start moving to the configuration; an application that it leaves out is deleted."""
        ...

    def replicas(self, application: str, num_replicas: NumReplicas) -> list[Replica] | None:
        """What every replica says; None while not just so many are running."""
        ...

    def num_replicas(self, application: str) -> NumReplicas | None:
        """How many replicas the application is meant to have; None for one that is not there."""
        ...


class Target(NamedTuple):
    """What an application should come to."""

    version: ModelVersion
    num_replicas: NumReplicas


def promote(
    registry: Registry,
    version: ModelVersion,
    *,
    actor: str,
    reason: str = "",
    num_replicas: NumReplicas | None = None,
    otherwise: Mapping[str, NumReplicas] | None = None,
    service: Service | None = None,
    champion_before: str | None = None,
) -> Deployment:
    """The live deployment of the version; RolloutError when a replica refused it.

    Without `num_replicas` there are as many as before, or what `otherwise` says of the task, or
    one. `champion_before` is the reference that must be the champion now ("": none), if this
    version is not so already: ConflictError.
    """
    name, number = version.name, version.version
    if num_replicas is not None:
        _require_replicas(num_replicas)
    service = service or RayServe()
    with registry.lease(LEASE):
        before = registry.aliases(name).get(CHAMPION)
        _require_champion(version, before, champion_before)
        if before != number:
            registry.set_alias(name, CHAMPION, number, expected=before, actor=actor, reason=reason)
        epoch = next((d.epoch for d in registry.deployments() if d.name == name), 0)
        deployment = registry.deploy(
            name, number, expected_epoch=epoch, actor=actor, variant=version.variant
        )
        num_by_application = (
            {} if num_replicas is None else {application_name(version): num_replicas}
        )
        try:
            targets = _apply(registry, service, num_by_application, otherwise=otherwise)
            _await(next(target for target in targets if target.version.name == name), service)
        except RolloutError as error:
            registry.mark(deployment, "failed", str(error))
            if before is not None and before != number:
                registry.set_alias(
                    name, CHAMPION, before, expected=number, actor=actor, reason=str(error)
                )
            _go_back(registry, service, name, error)
            raise
        return registry.mark(deployment, "live")


def _require_champion(version: ModelVersion, before: int | None, expected: str | None) -> None:
    champion = "" if before is None else f"{version.name}@{before}"
    own = ref_of(version.name, version.version)
    if expected is not None and champion not in (expected, own):
        raise ConflictError(
            f"{expected or 'nothing'} must be the champion for {version.ref} to follow it, "
            f"however: {champion or 'nothing'} is"
        )


def resume(
    registry: Registry,
    *,
    otherwise: Mapping[str, NumReplicas] | None = None,
    service: Service | None = None,
) -> list[Deployment]:
    """Bring Serve to what the registry says, as after a restart; the deployments, all tried.

    `otherwise` says by task how many replicas an application has that is not there; else one.
    One whose `error` is set was refused: a pending one has failed and its predecessor serves; a
    live one stays what should serve, and its replicas go on trying to load it.
    """
    service = service or RayServe()
    with registry.lease(LEASE):
        serving = registry.serving()
        resumed: list[Deployment] = []
        targets = _apply(registry, service, {}, otherwise=otherwise)
        for deployment, target in zip(serving, targets, strict=True):
            try:
                _await(target, service)
                resumed.append(registry.mark(deployment, "live"))
            except RolloutError as error:
                resumed.append(_refused(registry, deployment, str(error)))
        if any(deployment.state == "failed" for deployment in resumed):
            _apply(registry, service, {})
        return resumed


def reapply(
    registry: Registry,
    *,
    num_replicas: int,
    otherwise: Mapping[str, NumReplicas] | None = None,
    service: Service | None = None,
) -> list[str]:
    """Apply all that the registry says should serve, and wait for none of it; the references.

    For a Serve whose configuration somebody else has written, as KubeRay's operator does.
    `num_replicas`, or what `otherwise` says of a task, is for applications that are not there.
    """
    _require_replicas(num_replicas)
    with registry.lease(LEASE):
        targets = _apply(
            registry, service or RayServe(), {}, otherwise=otherwise, default=num_replicas
        )
    return [target.version.ref for target in targets]


def _require_replicas(num_replicas: NumReplicas) -> None:
    least, most = num_replicas if isinstance(num_replicas, Scaled) else (num_replicas,) * 2
    if not 1 <= least <= most:
        raise InputError(
            f"a service needs at least one replica, and at most as many as it may have, however: "
            f"{num_replicas}"
        )


def render(targets: Sequence[Target]) -> dict[str, Any]:
    """The whole Serve configuration: an application per task, and the API; the rest goes."""
    applications = [
        {
            "name": application_name(version),
            "route_prefix": route(version),
            "import_path": "serve.app:task_application",
            "args": {"task": _task_path(version)},
            "deployments": [
                {
                    "name": "ModelServer",
                    **_scaling(version, num_replicas),
                    "user_config": {
                        "ref": version.ref,
                        "exported": version.exported.uri,
                        "files": dict(version.exported.files),
                        "policy": version.policy.to_json(),
                    },
                }
            ],
        }
        for version, num_replicas in targets
    ]
    public = [_public(target.version) for target in targets]
    api = {
        "name": API_APPLICATION,
        "route_prefix": "/",
        "import_path": "serve.app:api_application",
        "args": {},
        "deployments": [{"name": "Api", "user_config": {"models": public}}],
    }
    return {"applications": [*applications, api]}


def _scaling(version: ModelVersion, num_replicas: NumReplicas) -> dict[str, Any]:
    """Serve's fields for a number of replicas, or for a range of them (serve/scaling.py)."""
    if not isinstance(num_replicas, Scaled):
        return {"num_replicas": num_replicas}
    latency_ms = find(_task_path(version)).latency_target_ms
    return {
        "autoscaling_config": {
            **num_replicas._asdict(),
            "metrics_interval_s": METRICS_INTERVAL_S,
            "look_back_period_s": LOOK_BACK_S,
            "upscale_delay_s": UPSCALE_DELAY_S,
            "downscale_delay_s": DOWNSCALE_DELAY_S,
            "policy": {
                "policy_function": "serve.scaling:LoadAndLatency",
                "policy_kwargs": {"latency_target_ms": latency_ms},
            },
        }
    }


def application_name(version: ModelVersion) -> str:
    """Serve's name for a task's application; a model name beyond the default has its own."""
    return version.name.removesuffix(f"/{DEFAULT_MODEL_NAME}").replace("/", "-")


def route(version: ModelVersion) -> str:
    """`/v1/industry/task`, with the model name behind it unless it is the default one."""
    return "/v1/" + version.name.removesuffix(f"/{DEFAULT_MODEL_NAME}")


@final
class RayServe:
    """The Service of the Ray that this process is connected to; Serve must have been started."""

    def apply(self, configuration: Mapping[str, Any]) -> None:
        """Hand the configuration to Serve, declaratively."""
        from ray.serve.schema import ServeDeploySchema

        _client().deploy_apps(ServeDeploySchema.model_validate(configuration))

    def replicas(self, application: str, num_replicas: NumReplicas) -> list[Replica] | None:
        """What every replica says; RolloutError when Serve cannot start them."""
        from ray import serve
        from ray.exceptions import RayError

        status = serve.status().applications.get(application)
        if status is None or status.status in ("DEPLOYING", "NOT_STARTED"):
            return None
        if status.status == "DEPLOY_FAILED":
            raise RolloutError(f"Serve must start {application}, however: {status.message[:500]}")
        handle: Any = serve.get_deployment_handle("ModelServer", application)  # for its _init
        if not handle.is_initialized:
            handle._init(_run_router_in_separate_loop=True)  # the tuned path has no driver loop
        try:
            contents = handle.broadcast("served").results(timeout_s=10)
        except (RayError, TimeoutError):  # a replica that is just ending, or not there yet
            return None
        least, most = num_replicas if isinstance(num_replicas, Scaled) else (num_replicas,) * 2
        return (
            [Replica(**content) for content in contents] if least <= len(contents) <= most else None
        )

    def ask(self, application: str, method: str, *arguments: Any) -> list[Any]:
        """What every replica of a task's server returns; RolloutError when not all answer."""
        from ray import serve
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        try:
            handle: Any = serve.get_deployment_handle("ModelServer", application)
            if not handle.is_initialized:
                handle._init(_run_router_in_separate_loop=True)
            return list(handle.broadcast(method, *arguments).results(timeout_s=ASK_TIMEOUT_S))
        except (RayError, RayServeException, TimeoutError) as error:
            raise RolloutError(
                f"every replica of {application} must answer, however: {str(error)[:300]}"
            ) from error

    def num_replicas(self, application: str) -> NumReplicas | None:
        """The target that Serve's controller holds."""
        applications = serve_details()["applications"]
        deployments = applications.get(application, {"deployments": {}})["deployments"]
        if not deployments:
            return None
        server = deployments["ModelServer"]
        scaling = server["deployment_config"].get("autoscaling_config")
        if scaling:
            return Scaled(scaling["min_replicas"], scaling["max_replicas"])
        return server["target_num_replicas"]


def serve_details() -> dict[str, Any]:
    """What Serve's controller says of its applications."""
    return _client().get_serve_details()


def _client() -> Any:  # Serve's client, of a private type
    from ray.serve import context

    check: Any = vars(context)["_check_cached_client_alive"]
    client, was_known = check()
    if client is None and was_known:  # Serve was shut down since: forgotten now, found again later
        raise UnavailableError("Serve must run for a roll-out, however: its controller is gone")
    find_client: Any = vars(context)["_get_global_client"]  # its public twin needs a dashboard
    client = client or find_client()
    assert client is not None, "Serve must be started before a roll-out"
    return client


def _apply(
    registry: Registry,
    service: Service,
    num_replicas: Mapping[str, NumReplicas],
    *,
    otherwise: Mapping[str, NumReplicas] | None = None,
    default: int = 1,
) -> list[Target]:
    """Apply everything that the registry says should serve, in the order of `serving`.

    `num_replicas` by application; where it says nothing there are as many as before, or what
    `otherwise` says of the task, or `default`.
    """
    targets: list[Target] = []
    for deployment in registry.serving():
        version = registry.get(deployment.ref)
        name = application_name(version)
        number = (
            num_replicas.get(name)
            or service.num_replicas(name)
            or (otherwise or {}).get(_task_path(version), default)
        )
        targets.append(Target(version, number))
    service.apply(render(targets))
    return targets


def _await(target: Target, service: Service) -> None:
    """Poll until every replica serves the version with its policy, or says why it does not."""
    version = target.version
    deadline = time.monotonic() + READ_BACK_TIMEOUT_S
    replicas: list[Replica] | None = None
    while time.monotonic() < deadline:
        replicas = service.replicas(application_name(version), target.num_replicas)
        if replicas is not None:
            refused = [r.error for r in replicas if r.error and r.asked == version.ref]
            if refused:
                raise RolloutError(f"every replica must take {version.ref}, however: {refused[0]}")
            expected = (version.ref, version.policy.version)
            if all((r.ref, r.policy) == expected for r in replicas):
                return
        time.sleep(_POLL_S)
    raise RolloutError(
        f"every replica must serve {version.ref} within {READ_BACK_TIMEOUT_S:g} s, however: "
        f"{replicas or 'they are not all running'}"
    )


def _go_back(registry: Registry, service: Service, name: str, cause: RolloutError) -> None:
    """Apply what served before, and see that it does."""
    for target in _apply(registry, service, {}):
        if target.version.name == name:
            try:
                _await(target, service)
            except RolloutError as error:
                raise RolloutError(f"{cause}; going back failed too: {error}") from error


def _refused(registry: Registry, deployment: Deployment, error: str) -> Deployment:
    if deployment.state == "live":
        return dataclasses.replace(deployment, error=error)
    before, name = deployment.previous_version, deployment.name
    if before is not None and registry.aliases(name).get(CHAMPION) == deployment.version:
        registry.set_alias(
            name,
            CHAMPION,
            before,
            expected=deployment.version,
            actor=deployment.actor,
            reason=error,
        )
    return registry.mark(deployment, "failed", error)


def _task_path(version: ModelVersion) -> str:
    return version.name.rpartition("/")[0]


def _public(version: ModelVersion) -> Mapping[str, Any]:
    """What the API tells of a deployed version."""
    task, signature = find(_task_path(version)), version.exported.artifact.signature
    read = dataclasses.replace(
        signature, fields=(*signature.fields, *task.beside(signature).fields)
    )
    return {
        "ref": version.ref,
        "task": task.path,
        "route": route(version),
        "title": task.title,
        "description": task.description,
        "input": read.json_schema(),
        "example": dict(example_record(task, signature)),
        "answer": {name: dict(schema) for name, schema in task.answer.items()},
        "created_at": version.created_at,
        "licences": list(version.licences),
        "policy": version.policy.version,
    }
