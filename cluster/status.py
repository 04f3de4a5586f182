"""What `python -m cluster status` says: nodes, models, every port that is held, and what is wrong.

Ports are those that processes of the Ray really listen on, so that none is forgotten.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from cluster.lifecycle import haproxies, ray_session
from cluster.local import left_in
from cluster.settings import HEAD_PORTS, REPLICA_PORTS, SERVICE_PORTS, load_settings, ports_of
from cluster.state import LocalCluster, private_folder, recorded
from spt_core.errors import SptError

_LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def status(port: int) -> dict[str, Any]:
    """What runs for the port: `state` is "nothing", "runs", or "stale" with the reason."""
    state = recorded(port)
    left = haproxies(private_folder(port))
    troubles = [f"HAProxy {pid} outlived its service; `down` ends it" for pid in left]
    content: dict[str, Any] = {"port": port, "state": "nothing", "troubles": troubles}
    if state is None:
        return content
    content |= {
        "kind": state.kind,
        "process": state.process.pid,
        "address": state.address,
        "dashboard": state.dashboard,
        "storage": state.storage,
    }
    if state.trouble:
        rest = left_in(Path(state.folder)) if state.folder else []
        lives = f"; {len(rest)} of its processes live on" if rest else ""
        troubles.append(f"{state.trouble}{lives}; `down` clears it")
        return {**content, "state": "stale"}
    content |= {"state": "runs", "ports": list(_ports(state, port))}
    if state.kind == "node":
        return content
    try:
        with ray_session(load_settings(storage=state.storage)):
            return {**content, "nodes": _nodes(), "models": _models()}
    except SptError as error:
        troubles.append(str(error))
    return content


def lines(content: Mapping[str, Any]) -> Iterator[str]:
    """The same for a person."""
    port = content["port"]
    yield f"port {port}: {_WORDS[content['state']]}".rstrip()
    for trouble in content["troubles"]:
        yield f"  wrong: {trouble}"
    if content["state"] != "runs":
        return
    names = {"cluster": "a cluster", "run": "a job that serves", "node": "a node"}
    yield f"  {names[content['kind']]}: process {content['process']}, Ray at {content['address']}"
    if content["dashboard"]:
        yield f"  dashboard: {content['dashboard']}"
    if content["storage"]:
        yield f"  storage: {content['storage']}"
    for node in content.get("nodes", ()):
        free = ", ".join(
            f"{node['free'].get(name, 0):g} of {total:g} {name}s free"
            for name, total in node["resources"].items()
        )
        yield f"  node {node['address']}: {free}"
    for model in content.get("models", ()):
        error = f", {model['error']}" if model["error"] else ""
        yield (
            f"  {model['route']}: {model['ref']}, policy {model['policy']}, "
            f"{model['replicas']} replicas, {model['state']}{error}"
        )
    for held in content["ports"]:
        yield f"  port {held['address']}:{held['port']} {held['name']} ({held['process']})"


_WORDS = {
    "nothing": "nothing runs; `python -m cluster up` starts a cluster",
    "runs": "",
    "stale": "what ran has ended",
}


def _ports(state: LocalCluster, port: int) -> Iterator[dict[str, Any]]:
    """Every port that a process of it listens on, with its name where it is one of ours."""
    named = {number: name for name, number in ports_of(port, SERVICE_PORTS).items()}
    named |= {number: name for name, number in ports_of(port, HEAD_PORTS).items()}
    named |= {port + offset: "replica" for offset in REPLICA_PORTS}
    processes: dict[int, psutil.Process] = {}
    for one in (state.process, *state.nodes):
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(one.pid)
            processes |= {p.pid: p for p in (root, *root.children(recursive=True))}
    held = [
        {
            "port": connection.laddr.port,
            "address": connection.laddr.ip.removeprefix("::ffff:"),
            "name": named.get(connection.laddr.port, "given by the system"),
            "process": f"{process.name()} {process.pid}",
            "is_open": connection.laddr.ip not in _LOOPBACK,
        }
        for process in processes.values()
        for connection in _listening(process)
    ]
    yield from sorted(held, key=lambda one: one["port"])


def _listening(process: psutil.Process) -> list[Any]:  # a type that psutil does not export
    try:
        connections = process.net_connections("tcp")
    except psutil.Error:  # it has just ended
        return []
    return [one for one in connections if one.status == psutil.CONN_LISTEN]


def _nodes() -> list[dict[str, Any]]:
    import ray
    from ray._private.state import available_resources_per_node

    free = available_resources_per_node()
    return [
        {
            "address": node["NodeManagerAddress"],
            "resources": _counted(node["Resources"]),
            "free": _counted(free.get(node["NodeID"], {})),
        }
        for node in ray.nodes()
        if node["Alive"]
    ]


def _counted(resources: Mapping[str, float]) -> dict[str, float]:
    return {name: resources[name] for name in ("CPU", "GPU") if name in resources}


def _models() -> list[dict[str, Any]]:
    """Each application's version and policy, as its replicas were told."""
    from cluster.lifecycle import serve_runs

    if not serve_runs():
        return []
    from ray.serve.schema import ApplicationStatus

    from spt_core.rollout import serve_details

    models: list[dict[str, Any]] = []
    for application in serve_details()["applications"].values():
        server = application["deployments"].get("ModelServer")
        if server is None:
            continue
        config = server["deployment_config"]["user_config"] or {}
        models.append(
            {
                "route": application["route_prefix"],
                "ref": config.get("ref", ""),
                "policy": (config.get("policy") or {}).get("version", ""),
                "replicas": server["target_num_replicas"],
                "state": ApplicationStatus(application["status"]).value,
                "error": application["message"],
            }
        )
    return models
