"""The Serve applications that the roll-out writer names in its configuration."""

from __future__ import annotations

from typing import Any

import ray
from ray import serve
from ray.serve import Application
from ray.serve.config import BackpressureConfig

from cluster.settings import REPLICA_CPUS, is_embedded, logs_are_json, replica_runtime
from serve.api import Api
from serve.model_server import ModelServer
from spt_core.families.serving import ON_GPU
from spt_core.task import RuntimeName, find

# Serve's default of 5 would queue requests that a microsecond model could answer at once.
MAX_ONGOING_REQUESTS = 100
MAX_QUEUED_REQUESTS = 1000  # a second of work of a table's model; of one in threads, fewer
MAX_QUEUED_IN_THREADS = 100
RETRY_AFTER_S = 1  # a full replica says so
_HEAD = "node:__internal_head__"  # a resource that Ray gives its head, and nobody else
_LOGGING = {
    "enable_access_log": False,
    "log_level": "WARNING",
    "encoding": "JSON" if logs_are_json() else "TEXT",
}

_ModelServer = serve.deployment(
    name="ModelServer",
    max_ongoing_requests=MAX_ONGOING_REQUESTS,
    max_queued_requests=MAX_QUEUED_REQUESTS,
    backpressure_config=BackpressureConfig(retry_after_s=RETRY_AFTER_S),
    logging_config=_LOGGING,
    ray_actor_options={"num_cpus": REPLICA_CPUS},
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
    is_inline = find(args["task"]).facts.inline_records > 0
    return _ModelServer.options(
        ray_actor_options={**options, **beside_haproxy()},
        max_queued_requests=MAX_QUEUED_REQUESTS if is_inline else MAX_QUEUED_IN_THREADS,
    ).bind(args["task"])


def beside_haproxy() -> dict[str, Any]:
    """On this machine's own cluster replicas stay on the head, whose loopback HAProxy asks.

    They take none of its processors there: a job that joins would wait for one for ever.
    """
    return {"num_cpus": 0, "resources": {_HEAD: 0.001}} if is_embedded() else {}


def actor_options(task: str, runtime: RuntimeName) -> dict[str, float]:
    """What a replica takes of a machine: a GPU where it runs on one and the cluster has any.

    Where there is none it starts all the same and says what it lacks, instead of waiting for one.
    """
    if runtime == "onnx" or find(task).family not in ON_GPU:
        return {"num_cpus": REPLICA_CPUS}
    num_gpus = min(1.0, ray.cluster_resources().get("GPU", 0.0))
    return {"num_cpus": REPLICA_CPUS, "num_gpus": num_gpus}


def api_application(args: dict[str, Any]) -> Application:
    """Everything that is not the hot route: models, health, documentation."""
    del args
    return _Api.options(ray_actor_options={"num_cpus": 0.1, **beside_haproxy()}).bind()
