"""What a cluster must give before anything long starts: places for workers, files that all see.

Each check ends in one sentence that says what is missing.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cluster.settings import REPLICA_PORTS, Settings
from spt_core.artifacts import filesystem
from spt_core.errors import InputError

_PROOF_S = 60.0  # a worker process must start on each node
Resources = Mapping[str, float]


class Room(NamedTuple):
    """What a cluster has on each node now, and in all at most, where something adds nodes."""

    nodes: Sequence[Resources]
    most: Resources


def require_workers(num_workers: int, *, num_gpus: float, room: Room | None) -> None:
    """InputError where so many workers, each with GPUs on one node, can never be placed.

    Of processors the workers share what there is (fitting/ray_train.py), but one each must be
    there: more processes than processors only wait for each other.
    """
    if room is None:
        return
    lacks: list[str] = []
    for name, each in (("CPU", 1.0), ("GPU", num_gpus)):
        if each <= 0:
            continue
        places = _places(name, each, room)
        if places < num_workers:
            lacks.append(f"{num_workers * each:g} {name}s, where there can be {places * each:g}")
    if lacks:
        raise InputError(
            f"{num_workers} workers must find a place, however: they need {' and '.join(lacks)}; "
            "fewer by --set training.num_workers=N, or a larger cluster"
        )


def require_replicas(num_replicas: int, *, num_cpus: float, room: Room | None) -> None:
    """InputError where so many replicas can never be placed."""
    if room is None:
        return
    places = _places("CPU", num_cpus, room)
    if places < num_replicas:
        raise InputError(
            f"{num_replicas} replicas must find a place, however: each takes {num_cpus:g} CPUs, "
            f"and the cluster has room for {places} at most; fewer by --replicas"
        )


def require_replica_ports(num_replicas: int) -> None:
    """InputError where so many replicas of this machine's service have no port each."""
    if num_replicas > len(REPLICA_PORTS):
        raise InputError(
            f"{num_replicas} replicas must find a place, however: each takes a port, and a service "
            f"of one machine has {len(REPLICA_PORTS)}; fewer by --replicas"
        )


def room(settings: Settings) -> Room | None:
    """What the Ray has that this process is connected to; None where nobody can say.

    A named cluster may grow, and no autoscaler tells how far: its manifest does, by SPT_SCALES_TO.
    """
    import ray

    if settings.is_named and not settings.scales_to:
        return None
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Room(nodes, settings.scales_to)


def _places(name: str, each: float, room: Room) -> int:
    now = sum(int(node.get(name, 0.0) / each + 1e-9) for node in room.nodes)
    return max(now, int(room.most.get(name, 0.0) / each + 1e-9))


def refuse_unshared_files(settings: Settings) -> None:
    """InputError where a cluster of several machines would each see files of their own.

    A file of this process must be read by every node: that is what a shared file system does. A
    SQLite database is refused all the same: network file systems do not keep its locks.
    """
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len({node["NodeManagerAddress"] for node in nodes}) < 2:
        return
    if settings.database_url.startswith("sqlite"):
        raise InputError(
            f"a cluster's nodes must share a database, however: there are {len(nodes)} nodes, and "
            "the database is a SQLite file; set SPT_DATABASE_URL to a Postgres"
        )
    if settings.storage.startswith("file://"):
        blind = _blind(Path(filesystem(settings.storage)[1]), nodes)
        if blind:
            raise InputError(
                f"a cluster's nodes must share the storage, however: what this process writes to "
                f"{settings.storage} is not there on {', '.join(blind)}; use a shared file system "
                "or an object store"
            )


def _blind(folder: Path, nodes: Sequence[Mapping[str, str]]) -> list[str]:
    """The nodes that do not read what this process writes."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    text, file = secrets.token_hex(16), folder / f".proof-{secrets.token_hex(8)}"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    try:
        ask = ray.remote(read_or_nothing)
        reads = {
            node["NodeManagerAddress"]: ask.options(
                num_cpus=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            ).remote(str(file))
            for node in nodes
        }
        return [name for name, read in reads.items() if ray.get(read, timeout=_PROOF_S) != text]
    finally:
        file.unlink(missing_ok=True)


def read_or_nothing(path: str) -> str:
    """A file's text; nothing where there is none, or none that may be read."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""
