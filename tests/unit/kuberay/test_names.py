"""Each port, module, command line, variable and metric that a manifest names exists."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray._private import ray_constants
from ray.autoscaler._private.constants import AUTOSCALER_METRIC_PORT
from ray.dashboard.consts import DASHBOARD_METRIC_PORT
from ray.serve.schema import (
    DeploymentSchema,
    HTTPOptionsSchema,
    ServeApplicationSchema,
    ServeDeploySchema,
)

from cluster.lifecycle import serve_environment
from jobs import registry, submit
from jobs.command import parser
from serve.api import reapply_registered
from serve.meters import METRICS
from spt_core.continuous.meters import COUNTS, LEVELS
from spt_core.task import find
from tests.unit.kuberay.manifests import (
    FOLDERS,
    KUBERAY,
    OVERLAYS,
    ROOT,
    clusters,
    containers,
    literals,
    of_kind,
    only,
    pods,
)

RAY = Path(ray.__file__).parent
RAY_PORTS = {
    "gcs-server": ray_constants.DEFAULT_PORT,
    "dashboard": ray_constants.DEFAULT_DASHBOARD_PORT,
    "as-metrics": AUTOSCALER_METRIC_PORT,
    "dash-metrics": DASHBOARD_METRIC_PORT,
    "metrics": 8080,  # KubeRay starts Ray with it
    "serve": 8000,
    "valkey": 6379,
}
AGENT_PORT = ray_constants.DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
LIBPQ = {"PGPASSWORD"}
SCHEMAS = {
    "": ServeDeploySchema,
    "applications": ServeApplicationSchema,
    "deployments": DeploymentSchema,
    "http_options": HTTPOptionsSchema,
}
OUR_METRICS = {*COUNTS, *LEVELS, *METRICS}


def serve_configuration(folder: str) -> dict[str, Any]:
    return yaml.safe_load(only(folder, "RayService")["spec"]["serveConfigV2"])


@pytest.mark.parametrize("folder", FOLDERS)
def test_ports_are_those_on_which_something_listens(folder: str) -> None:
    for name, container in containers(folder):
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
        assert ports.items() <= RAY_PORTS.items(), name
        for probe in ("livenessProbe", "readinessProbe"):
            checked = container.get(probe, {})
            if "httpGet" in checked:
                assert checked["httpGet"]["port"] in {AGENT_PORT, *ports.values()}, name
            elif checked:
                assert checked["tcpSocket"]["port"] in ports, name


@pytest.mark.parametrize("name", OVERLAYS)
def test_open_ports_are_those_of_containers(name: str) -> None:
    ports = {
        port["containerPort"]
        for _, container in containers(f"overlays/{name}")
        for port in container.get("ports", ())
    }
    for manifest in of_kind(f"overlays/{name}", "NetworkPolicy"):
        for rule in manifest["spec"].get("ingress", ()):
            assert {port["port"] for port in rule.get("ports", ())} <= ports, manifest["metadata"]


def test_monitors_ask_for_ports_by_their_names() -> None:
    named = {
        port["name"]
        for _, container in containers("overlays/production")
        for port in container.get("ports", ())
    }
    heads, workers = (
        only("overlays/production", "ServiceMonitor"),
        only("overlays/production", "PodMonitor"),
    )
    assert {e["port"] for e in heads["spec"]["endpoints"]} <= named
    assert {e["port"] for e in workers["spec"]["podMetricsEndpoints"]} <= named


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_service_listens_where_its_probes_ask(name: str) -> None:
    assert serve_configuration(f"overlays/{name}")["http_options"] == {
        "host": "0.0.0.0",
        "port": RAY_PORTS["serve"],
    }


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_node_of_the_service_has_the_variables_of_the_tuned_path(name: str) -> None:
    spec = clusters(f"overlays/{name}")["RayService/spt"]
    groups = (spec["headGroupSpec"], *spec["workerGroupSpecs"])
    variables = [g["template"]["spec"]["containers"][0]["env"] for g in groups]
    assert all(one == variables[0] for one in variables)
    given = literals({"env": variables[0]})
    assert serve_environment().items() <= given.items()
    assert given["SPT_HTTP_HOST"] == "0.0.0.0"


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_jobs_head_knows_how_far_its_cluster_grows(name: str) -> None:
    spec = clusters(f"overlays/{name}")["RayCluster/spt-jobs"]
    most: dict[str, int] = {}
    for group in spec["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        asked = container["resources"]["requests"]
        for resource, key in (("CPU", "cpu"), ("GPU", "nvidia.com/gpu")):
            number = int(asked.get(key, 0)) * group["maxReplicas"]
            most[resource] = most.get(resource, 0) + number
    (head,) = spec["headGroupSpec"]["template"]["spec"]["containers"]
    given = dict(part.split("=") for part in literals(head)["SPT_SCALES_TO"].split(","))
    assert {name: int(number) for name, number in given.items()} == {
        name: number for name, number in most.items() if number
    }
    assert literals(head)["SPT_SERVICE"] == "elsewhere"


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_service_wants_keys_and_its_haproxy_is_started_by_our_script(name: str) -> None:
    spec = clusters(f"overlays/{name}")["RayService/spt"]
    given = literals(spec["headGroupSpec"]["template"]["spec"]["containers"][0])
    assert given["SPT_AUTHENTICATION"] == "on"
    (folder,) = re.findall(
        r"^FROM .* AS runtime$.*?^WORKDIR (\S+)$",
        (KUBERAY / "Dockerfile").read_text(),
        re.M | re.S,
    )
    script = ROOT / Path(given["RAY_SERVE_HAPROXY_BINARY_PATH"]).relative_to(folder)
    assert script.stat().st_mode & 0o111 == 0o111
    assert (script.parent / "errors" / "503.http").is_file()


@pytest.mark.parametrize("name", OVERLAYS)
def test_ray_is_the_pinned_one(name: str) -> None:
    for spec in clusters(f"overlays/{name}").values():
        assert f"ray=={spec['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()


def test_the_images_are_of_this_version() -> None:
    (version,) = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    images = yaml.safe_load((KUBERAY / "image" / "kustomization.yaml").read_text())["images"]
    assert {image["newTag"] for image in images} == {version}


@pytest.mark.parametrize("folder", FOLDERS)
def test_variables_are_read_by_somebody(folder: str) -> None:
    for name, container in containers(folder):
        words = " ".join([*container.get("command", ()), *container.get("args", ())])
        for variable in (one["name"] for one in container.get("env", ())):
            assert is_read(variable) or re.search(rf"\$\(?{variable}\b", words), (name, variable)


@pytest.mark.parametrize("name", OVERLAYS)
def test_settings_are_read_by_the_project(name: str) -> None:
    data = only(f"overlays/{name}", "ConfigMap")["data"]
    assert data.keys() == {"SPT_STORAGE", "SPT_DATABASE_URL"}
    assert all(is_read(variable) for variable in data)


def is_read(variable: str) -> bool:
    if variable.startswith("SPT_"):
        return f'"{variable}"' in (ROOT / "cluster" / "settings.py").read_text()
    if variable.startswith("RAY_AUTH_"):
        return f'"{variable}"' in (RAY / "_private" / "authentication_test_utils.py").read_text()
    if variable.startswith("RAY_SERVE_"):
        return f'"{variable}"' in (RAY / "serve" / "_private" / "constants.py").read_text()
    return variable in LIBPQ or variable in serve_environment()


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_configuration_of_serve_has_no_key_that_serve_would_ignore(name: str) -> None:
    """Serve takes unknown keys without a word."""
    content = serve_configuration(f"overlays/{name}")
    ServeDeploySchema.model_validate(content)
    assert list(unread(content)) == []
    content["applications"][0]["deployments"][0]["num_replica"] = 3
    assert list(unread(content)) == ["num_replica"]


def unread(content: Mapping[str, Any], place: str = "") -> Iterator[str]:
    fields = SCHEMAS[place].model_fields
    for name, value in content.items():
        if name not in fields:
            yield name
        elif name in SCHEMAS:
            for one in value if isinstance(value, list) else [value]:
                yield from unread(one, name)


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_application_is_what_the_roll_out_calls_the_api(name: str) -> None:
    (application,) = serve_configuration(f"overlays/{name}")["applications"]
    from spt_core.rollout import render  # what a promotion applies over it

    (own,) = render([])["applications"]
    same = ("name", "route_prefix", "import_path", "args")
    assert [application[key] for key in same] == [own[key] for key in same]
    module, _, function = application["import_path"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    (deployment,) = application["deployments"]
    assert deployment["name"] == own["deployments"][0]["name"]
    inspect.signature(reapply_registered).bind(**deployment["user_config"]["reapply"])


def test_the_clock_submits_a_command_line_that_exists_to_a_cluster_that_exists() -> None:
    job = only("overlays/production", "CronJob")["spec"]["jobTemplate"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    assert container["command"] == ["python", "-m", submit.__name__]
    asked = submit._parser().parse_args(container["args"])
    assert asked.command[:3] == ["python", "-m", registry.__name__]
    registry._parser().parse_args(asked.command[3:])
    cluster = only("overlays/production", "RayCluster")["metadata"]["name"]
    assert asked.address == f"http://{cluster}-head-svc:{RAY_PORTS['dashboard']}"


def test_the_job_is_a_command_line_that_exists_on_a_cluster_that_exists() -> None:
    spec = only("job", "RayJob")["spec"]
    program, flag, module, *words = shlex.split(spec["entrypoint"])
    assert (program, flag, module) == ("python", "-m", "jobs.benchmark")
    find(parser("benchmark", "").parse_args(words).task)
    cluster = only("overlays/production", "RayCluster")["metadata"]["name"]
    assert spec["clusterSelector"] == {"ray.io/cluster": cluster}


@pytest.mark.parametrize("name", ["gpu", "production"])
def test_the_memory_of_heads_is_the_valkey_of_this_namespace(name: str) -> None:
    service = only(f"overlays/{name}", "Service")
    (port,) = service["spec"]["ports"]
    for spec in clusters(f"overlays/{name}").values():
        address = spec["gcsFaultToleranceOptions"]["redisAddress"]
        assert address == f"{service['metadata']['name']}:{port['port']}"
    selector = service["spec"]["selector"].items()
    assert [p.owner for p in pods(f"overlays/{name}") if selector <= p.labels.items()] == [
        "StatefulSet/spt-valkey"
    ]


@pytest.mark.parametrize("folder", FOLDERS)
def test_service_accounts_exist(folder: str) -> None:
    accounts = {m["metadata"]["name"] for m in of_kind("overlays/production", "ServiceAccount")}
    for pod in pods(folder):
        assert pod.spec.get("serviceAccountName", "spt-jobs") in accounts, pod.owner


def rules() -> list[Mapping[str, Any]]:
    (group,) = only("overlays/production", "PrometheusRule")["spec"]["groups"]
    return list(group["rules"])


def test_alerts_ask_for_metrics_that_exist() -> None:
    modules = RAY / "dashboard" / "modules"
    sources = [
        RAY / "serve" / "_private" / "deployment_state.py",
        modules / "reporter" / "reporter_agent.py",
        modules / "metrics" / "dashboards" / "serve_dashboard_panels.py",
    ]
    text = "".join(path.read_text() for path in sources)
    for rule in rules():
        names = re.findall(r"\bray_(\w+)", rule["expr"])
        assert names, rule["alert"]
        for name in names:
            plain = re.sub(r"_(total|bucket)$", "", name)
            is_rays = f'"{plain}"' in text or f"ray_{name}{{" in text
            assert is_rays or plain in OUR_METRICS, (rule["alert"], name)


def test_every_alert_has_its_cause_in_the_readme() -> None:
    text = (KUBERAY / "README.md").read_text()
    assert [r["alert"] for r in rules() if f"| `{r['alert']}` |" not in text] == []
