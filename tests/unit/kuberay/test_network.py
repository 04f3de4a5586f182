"""Who reaches whom, as the network policies say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.kuberay.manifests import OVERLAYS, of_kind, pods

OWN = {"kubernetes.io/metadata.name": "spt"}
SERVING = {"app.kubernetes.io/component": "serving"}
JOBS = {"app.kubernetes.io/component": "jobs"}
HEAD, WORKER = {"ray.io/node-type": "head"}, {"ray.io/node-type": "worker"}
SUBMITTER = {"app.kubernetes.io/component": "submitter"}
VALKEY = {"app.kubernetes.io/component": "valkey"}
GATEWAY = {"spt/gateway": "true"}
OPERATOR = {"kubernetes.io/metadata.name": "kuberay-system"}
PROMETHEUS = {"kubernetes.io/metadata.name": "monitoring"}
PORTS = (53, 443, 5432, 6379, 6443, 8000, 8080, 8265, 8404, 9101, 10001, 30000, 44217, 52365)
Labels = Mapping[str, str]


def selects(selector: Mapping[str, Any], labels: Labels) -> bool:
    expressions = selector.get("matchExpressions", ())
    assert all(one["operator"] == "In" for one in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )


def is_peer(peer: Mapping[str, Any], namespace: Labels, labels: Labels) -> bool:
    if "ipBlock" in peer:
        return False
    place = (
        selects(peer["namespaceSelector"], namespace)
        if "namespaceSelector" in peer
        else (namespace == OWN)
    )
    return place and selects(peer.get("podSelector", {}), labels)


def has_port(rule: Mapping[str, Any], port: int) -> bool:
    return "ports" not in rule or port in [one["port"] for one in rule["ports"]]


def let_in(name: str, target: Labels, namespace: Labels, source: Labels) -> list[int]:
    """The ports of a pod that a pod of a namespace reaches."""
    policies = [p["spec"] for p in of_kind(f"overlays/{name}", "NetworkPolicy")]
    rules = [
        rule
        for policy in policies
        if "Ingress" in policy["policyTypes"] and selects(policy["podSelector"], target)
        for rule in policy.get("ingress", ())
        if any(is_peer(peer, namespace, source) for peer in rule["from"])
    ]
    return [port for port in PORTS if any(has_port(rule, port) for rule in rules)]


def let_out(name: str, source: Labels, target: Labels) -> list[int]:
    """The ports of another pod of ours that a pod may ask."""
    rules = [
        rule
        for manifest in of_kind(f"overlays/{name}", "NetworkPolicy")
        if "Egress" in (policy := manifest["spec"])["policyTypes"]
        and selects(policy["podSelector"], source)
        for rule in policy.get("egress", ())
        if any(is_peer(peer, OWN, target) for peer in rule["to"])
    ]
    return [port for port in PORTS if any(has_port(rule, port) for rule in rules)]


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_pod_is_closed_where_nothing_opens_it(name: str) -> None:
    (closed,) = (
        m["spec"]
        for m in of_kind(f"overlays/{name}", "NetworkPolicy")
        if m["spec"]["podSelector"] == {} and "Ingress" in m["spec"]["policyTypes"]
    )
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize(
    ("target", "namespace", "source", "ports"),
    [
        (SERVING | WORKER, GATEWAY, {}, [8000]),
        (SERVING | HEAD, GATEWAY, {}, []),
        (JOBS | HEAD, GATEWAY, {}, []),
        (SERVING | HEAD, OPERATOR, {}, [8000, 8265]),
        (SERVING | WORKER, OPERATOR, {}, []),
        (SERVING | WORKER, OWN, JOBS | WORKER, []),
        (JOBS | WORKER, OWN, SERVING | WORKER, []),
        (SERVING | WORKER, OWN, SERVING | HEAD, list(PORTS)),
        (JOBS | HEAD, OWN, SUBMITTER, [8265]),
        (SERVING | HEAD, OWN, SUBMITTER, []),
        (SERVING | WORKER, {"kubernetes.io/metadata.name": "default"}, SERVING | WORKER, []),
    ],
)
def test_a_pod_is_reached_by_those_who_need_it(
    name: str, target: Labels, namespace: Labels, source: Labels, ports: list[int]
) -> None:
    assert let_in(name, target, namespace, source) == ports


def test_statistics_of_haproxy_are_for_the_cluster_itself() -> None:
    for namespace in (GATEWAY, OPERATOR, PROMETHEUS):
        reached = let_in("production", SERVING | WORKER, namespace, {})
        assert not {8404, 9101} & set(reached), namespace


def test_prometheus_reads_metrics_and_nothing_else() -> None:
    for target in (SERVING | HEAD, JOBS | WORKER):
        assert let_in("production", target, PROMETHEUS, {}) == [8080, 44217]


def test_the_memory_of_heads_is_for_heads() -> None:
    assert let_in("production", VALKEY, OWN, SERVING | HEAD) == [6379]
    assert let_in("production", VALKEY, OWN, SERVING | {"ray.io/node-type": "redis-cleanup"}) == [
        6379
    ]
    assert let_in("production", VALKEY, OWN, SERVING | WORKER) == []
    assert let_out("production", VALKEY, SERVING | HEAD) == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_who_is_asked_may_be_asked(name: str) -> None:
    """Both ends of a way must be open: a way in without the way out is none."""
    labels = [pod.labels for pod in pods(f"overlays/{name}")]
    for source in labels:
        for target in labels:
            reached, asked = let_in(name, target, OWN, source), let_out(name, source, target)
            assert reached == asked, (source, target)


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_world_is_asked_by_tls_and_postgres_alone(name: str) -> None:
    outside = {
        port["port"]
        for manifest in of_kind(f"overlays/{name}", "NetworkPolicy")
        for rule in manifest["spec"].get("egress", ())
        if any("ipBlock" in peer for peer in rule["to"])
        for port in rule["ports"]
    }
    assert outside == {443, 5432, 6443}  # the last one for the autoscaler, from heads
