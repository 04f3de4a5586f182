"""The Serve applications that the roll-out writer names in its configuration."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve import Application

from serve.api import Api
from serve.model_server import ModelServer

# Serve's default of 5 would queue requests that a microsecond model could answer at once.
MAX_ONGOING_REQUESTS = 100
MAX_QUEUED_REQUESTS = 1000
_LOGGING = {"enable_access_log": False, "log_level": "WARNING"}

_ModelServer = serve.deployment(
    name="ModelServer",
    max_ongoing_requests=MAX_ONGOING_REQUESTS,
    max_queued_requests=MAX_QUEUED_REQUESTS,
    logging_config=_LOGGING,
    ray_actor_options={"num_cpus": 0.25},
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
    return _ModelServer.bind(args["task"])


def api_application(args: dict[str, Any]) -> Application:
    """Everything that is not the hot route: models, health, documentation."""
    del args
    return _Api.bind()
