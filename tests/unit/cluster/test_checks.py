"""What is refused before anything starts: places that no node has, files that not all nodes see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.checks import (
    Room,
    refuse_unshared_files,
    require_replica_ports,
    require_replicas,
    require_workers,
    room,
)
from cluster.settings import REPLICA_PORTS, Settings, load_settings, read_replicas, replicas
from spt_core.errors import InputError, NotFoundError

FRAUD = "financial_services/fraud_detection"
TWO = Room([{"CPU": 2.0}, {"CPU": 2.0, "GPU": 1.0}], {})
SCALES = Room([{}], {"CPU": 32.0, "GPU": 4.0})


@pytest.mark.parametrize(("room", "num_workers", "num_gpus"), [(TWO, 4, 0), (TWO, 1, 1)])
def test_workers_that_have_a_place_are_let_through(
    room: Room, num_workers: int, num_gpus: float
) -> None:
    require_workers(num_workers, num_gpus=num_gpus, room=room)
    require_workers(4, num_gpus=1, room=SCALES)


def test_workers_without_a_place_are_told_what_is_missing() -> None:
    with pytest.raises(InputError, match="they need 5 CPUs, where there can be 4;"):
        require_workers(5, num_gpus=0, room=TWO)
    with pytest.raises(InputError, match="they need 2 GPUs, where there can be 1;"):
        require_workers(2, num_gpus=1, room=TWO)
    with pytest.raises(InputError, match="33 CPUs, where there can be 32 and 33 GPUs, where"):
        require_workers(33, num_gpus=1, room=SCALES)


def test_where_nobody_can_say_how_far_a_cluster_grows_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    named = load_settings(storage="/data", database_url="postgresql://h/spt")
    assert room(named) is None
    require_workers(1000, num_gpus=8, room=None)
    require_replicas(1000, num_cpus=1, room=None)
    monkeypatch.setenv("SPT_SCALES_TO", "CPU=32, GPU=2")
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4.0}}])
    grows = room(load_settings(storage="/data", database_url="postgresql://h/spt"))
    assert grows == Room([{"CPU": 4.0}], {"CPU": 32.0, "GPU": 2.0})
    monkeypatch.setenv("SPT_SCALES_TO", "CPUs=32")
    with pytest.raises(InputError, match="such as CPU=32,GPU=2, however: 'CPUs=32'"):
        load_settings(storage="/data", database_url="postgresql://h/spt")


def test_a_replica_fits_on_one_node_or_nowhere() -> None:
    require_replicas(16, num_cpus=0.25, room=TWO)
    with pytest.raises(InputError, match="room for 16 at most"):
        require_replicas(17, num_cpus=0.25, room=TWO)
    with pytest.raises(InputError, match="room for 0 at most"):
        require_replicas(1, num_cpus=4.0, room=TWO)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Tells what nodes Ray has, and which of them see the files of this machine."""

    def tell(addresses: list[str], *, blind: tuple[str, ...] = ()) -> None:
        listed = [{"Alive": True, "NodeManagerAddress": name, "NodeID": name} for name in addresses]
        monkeypatch.setattr("ray.nodes", lambda: listed)
        monkeypatch.setattr(
            "ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy",
            lambda node, soft: node,
        )

        def options(*, num_cpus: float, scheduling_strategy: str) -> Any:
            name = scheduling_strategy
            return SimpleNamespace(
                remote=lambda path: "" if name in blind else Path(path).read_text()
            )

        monkeypatch.setattr("ray.remote", lambda function: SimpleNamespace(options=options))
        monkeypatch.setattr("ray.get", lambda read, timeout: read)

    return tell


def settings_of(monkeypatch: pytest.MonkeyPatch, storage: str, database: str) -> Settings:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return load_settings(storage=storage, database_url=database)


def test_a_shared_file_system_is_proven_by_a_file_that_every_node_reads(
    tmp_path: Path, nodes: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(monkeypatch, str(tmp_path / "with blank"), "postgresql://h/spt")
    nodes(["10.0.0.1", "10.0.0.2"])
    refuse_unshared_files(settings)
    nodes(["10.0.0.1", "10.0.0.2", "10.0.0.3"], blind=("10.0.0.2", "10.0.0.3"))
    with pytest.raises(InputError, match=r"is not there on 10\.0\.0\.2, 10\.0\.0\.3"):
        refuse_unshared_files(settings)
    assert list((tmp_path / "with blank").iterdir()) == []


def test_a_file_database_is_refused_beyond_one_machine(
    tmp_path: Path, nodes: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(monkeypatch, "s3://bucket/root", f"sqlite:///{tmp_path}/spt.db")
    nodes(["127.0.0.1", "127.0.0.1"])  # two nodes, one machine
    refuse_unshared_files(settings)
    nodes(["10.0.0.1", "10.0.0.2"])
    with pytest.raises(InputError, match="the database is a SQLite file; set SPT_DATABASE_URL"):
        refuse_unshared_files(settings)


@pytest.mark.parametrize(("text", "bounds"), [("2", (2, 2)), ("1..4", (1, 4)), ("3..3", (3, 3))])
def test_replicas_are_a_number_or_a_range(text: str, bounds: tuple[int, int]) -> None:
    assert read_replicas(text, "--replicas") == bounds


@pytest.mark.parametrize("text", ["", "0", "-1", "4..1", "1..", "..2", "two", "1...4", "1.5"])
def test_anything_else_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(InputError, match="--replicas must be a number of replicas such as 2"):
        read_replicas(text, "--replicas")


def test_the_settings_name_tasks_with_their_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPT_REPLICAS", raising=False)
    assert replicas() == {}
    monkeypatch.setenv("SPT_REPLICAS", f"{FRAUD}=1..4, financial_services/trading=2")
    assert replicas() == {FRAUD: (1, 4), "financial_services/trading": (2, 2)}
    monkeypatch.setenv("SPT_REPLICAS", "financial_services/froud_detection=2")
    with pytest.raises(NotFoundError, match="the nearest is"):
        replicas()


def test_replicas_of_this_machine_have_a_port_each():
    require_replica_ports(len(REPLICA_PORTS))
    with pytest.raises(InputError, match="replicas must find a place, however: each takes a port"):
        require_replica_ports(len(REPLICA_PORTS) + 1)
