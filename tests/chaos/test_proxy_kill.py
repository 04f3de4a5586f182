"""kill -9 of HAProxy and of the actor that keeps it: both are back within 15 s."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from cluster.lifecycle import haproxies
from cluster.state import private_folder
from tests.chaos.test_replica_kill import APPLICATION, NUM_CLIENTS, Client, wait_for_replicas
from tests.chaos.test_replica_kill import service as service
from tests.live_service import LiveService
from tests.tiny_models import FRAUD

pytestmark = [pytest.mark.ray, pytest.mark.slow]
WITHIN_S = 15.0
QUIET_S = 3.0  # without a failure for so long, it is back


def proxies(service: LiveService) -> list[int]:
    """The HAProxy of the service."""
    return haproxies(private_folder(service.port), served=True)


def keepers(service: LiveService) -> list[int]:
    """The actor that starts and watches it."""
    return [psutil.Process(pid).ppid() for pid in proxies(service)]


@pytest.fixture
def clients(service: LiveService) -> Iterator[list[Client]]:
    service.call("promote", f"{FRAUD}@1", 1)
    wait_for_replicas(service, 1)
    time.sleep(2)  # HAProxy has seen it
    stopped = threading.Event()
    started = [Client(service.port, stopped) for _ in range(NUM_CLIENTS)]
    for client in started:
        client.start()
    yield started
    stopped.set()
    for client in started:
        client.join()


@pytest.mark.parametrize("victims", [proxies, keepers])
def test_a_killed_proxy_is_back(
    service: LiveService,
    clients: list[Client],
    victims: object,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert callable(victims)
    (victim,) = victims(service)
    time.sleep(2)
    killed = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    while True:
        time.sleep(0.2)
        now = time.monotonic()
        last = max((moment for client in clients for moment in client.failures), default=killed)
        if now - max(last, killed) > QUIET_S and proxies(service):
            break
        assert now - killed < WITHIN_S + QUIET_S, "it is not back"
    answered = sum(client.num_answered for client in clients)
    failed = sum(len(client.failures) for client in clients)
    with capsys.disabled():
        print(  # noqa: T201  # the figure that this test is for
            f"\n{victims.__name__}: {failed} failed of {answered + failed:,}, back after "
            f"{last - killed:.1f} s"
        )
    assert victim not in victims(service)
    assert service.call("replica_pids", APPLICATION)
