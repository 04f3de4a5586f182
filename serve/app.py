"""The Serve applications that the roll-out writer names in its configuration."""

from __future__ import annotations

from typing import Any

import ray
from ray import serve
from ray.serve import Application

from cluster.settings import logs_are_json, replica_runtime
from serve.api import Api
from serve.model_server import ModelServer
from spt_core.families.serving import ON_GPU
from spt_core.task import RuntimeName, find

# Serve's default of 5 would queue requests that a microsecond model could answer at once.
MAX_ONGOING_REQUESTS = 100
MAX_QUEUED_REQUESTS = 1000
NUM_CPUS = 0.25
_LOGGING = {
    "enable_access_log": False,
    "log_level": "WARNING",
    "encoding": "JSON" if logs_are_json() else "TEXT",
}

_ModelServer = serve.deployment(
    name="ModelServer",
    max_ongoing_requests=MAX_ONGOING_REQUESTS,
    max_queued_requests=MAX_QUEUED_REQUESTS,
    logging_config=_LOGGING,
    ray_actor_options={"num_cpus": NUM_CPUS},
    health_check_period_s=5,
)(serve.ingress()(ModelServer))

_Api = serve.deployment(
    name="Api",
    max_ongoing_requests=20,
    logging_config=_LOGGING,
    ray_actor_options={"num_cpus": 0.1},
)(serve.ingress()(Api))


def task_application(args: dict[str, Any]) -> Application:
    """One task's model server; its version comes with the user configuration."""
    options = actor_options(args["task"], replica_runtime())
    return _ModelServer.options(ray_actor_options=options).bind(args["task"])


def actor_options(task: str, runtime: RuntimeName) -> dict[str, float]:
    """What a replica takes of a machine: a GPU where it runs on one and the cluster has any.

    Where there is none it starts all the same and says what it lacks, instead of waiting for one.
    """
    if runtime == "onnx" or find(task).family not in ON_GPU:
        return {"num_cpus": NUM_CPUS}
    num_gpus = min(1.0, ray.cluster_resources().get("GPU", 0.0))
    return {"num_cpus": NUM_CPUS, "num_gpus": num_gpus}


def api_application(args: dict[str, Any]) -> Application:
    """Everything that is not the hot route: models, health, documentation."""
    del args
    return _Api.bind()
