"""kill -9 of a replica under load: how many requests fail, and that the service comes back."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spt_core.artifacts import as_uri
from spt_core.model import default_policy
from spt_core.registry import Registry
from spt_core.task import find
from tests.live_service import LiveService
from tests.tiny_models import FRAUD, tiny_export

pytestmark = [pytest.mark.ray, pytest.mark.slow]
ROUTE = f"/v1/{FRAUD}"
APPLICATION = FRAUD.replace("/", "-")
BODY = json.dumps(dict(find(FRAUD).example))
NUM_CLIENTS = 4
MOST_FAILED = 2 * NUM_CLIENTS  # what each client has under way, and once more
PAUSE_S = 0.005  # between a client's requests: a load, not a flood of retries while all is down


class Client(threading.Thread):
    """Asks on one connection without retrying; a failure is an error or a status other than 200."""

    def __init__(self, port: int, stopped: threading.Event) -> None:
        super().__init__()
        self.port, self.stopped = port, stopped
        self.num_answered = 0
        self.failures: list[float] = []  # when

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self.stopped.is_set():
            try:
                connection.request("POST", ROUTE, BODY)
                response = connection.getresponse()
                response.read()
                good = response.status == 200
            except (OSError, http.client.HTTPException):
                connection.close()
                good = False
            if good:
                self.num_answered += 1
            else:
                self.failures.append(time.monotonic())
            time.sleep(PAUSE_S)
        connection.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    folder = tmp_path_factory.mktemp("storage")
    task = find(FRAUD)
    registry = Registry(f"sqlite:///{folder}/spt.db")
    export = tiny_export(task, as_uri(Path(folder)))
    registry.add(export, default_policy(export), {}, created_by="test")
    with LiveService(str(folder)) as live:
        yield live


def wait_for_replicas(
    service: LiveService, number: int, *, without: int | None = None
) -> list[int]:
    deadline = time.monotonic() + 90
    while True:
        pids = service.call("replica_pids", APPLICATION)
        if len(pids) == number and without not in pids and None not in pids:
            return pids
        assert time.monotonic() < deadline, pids
        time.sleep(0.3)


@pytest.mark.parametrize("num_replicas", [2, 1])
def test_a_killed_replica_costs_few_requests_and_the_service_comes_back(
    service: LiveService, num_replicas: int, capsys: pytest.CaptureFixture[str]
) -> None:
    service.call("promote", f"{FRAUD}@1", num_replicas)
    victim = wait_for_replicas(service, num_replicas)[0]
    time.sleep(2)  # HAProxy has seen them
    stopped = threading.Event()
    clients = [Client(service.port, stopped) for _ in range(NUM_CLIENTS)]
    for client in clients:
        client.start()
    time.sleep(2)
    killed = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    wait_for_replicas(service, num_replicas, without=victim)
    time.sleep(3)
    stopped.set()
    for client in clients:
        client.join()
    failures = sorted(moment for client in clients for moment in client.failures)
    answered = sum(client.num_answered for client in clients)
    outage_s = failures[-1] - killed if failures else 0.0
    with capsys.disabled():
        print(  # noqa: T201  # the figure that this test is for
            f"\n{num_replicas} replica(s), one killed: {len(failures)} failed of "
            f"{answered + len(failures):,}, the last {outage_s:.1f} s after the kill"
        )
    assert len(failures) <= MOST_FAILED
    assert all(moment >= killed for moment in failures)
    assert service.ask(ROUTE, raw=BODY.encode()).status == 200
