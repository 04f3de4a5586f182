import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from spt_core.errors import ConflictError, InputError
from spt_core.registry import Registry, process_owner

ELSEWHERE = "elsewhere:1:1"
HOLD = """
import sys, time
from spt_core.registry import Registry
with Registry(sys.argv[1]).lease("rollout", ttl_s=float(sys.argv[2])) as lease:
    print(lease.epoch, flush=True)
    time.sleep(600)
"""
RACE = """
import sys
from spt_core.errors import ConflictError
from spt_core.registry import Registry
registry = Registry(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    with registry.lease("rollout"):
        print("won", flush=True)
        sys.stdin.readline()
except ConflictError:
    print("lost", flush=True)
"""


def hold_nothing_more(url):
    """Take the lease out of its holder's hands, as another host would after it ran out."""
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        connection.execute(
            sa.text("UPDATE spt_lease SET owner = :owner, epoch = epoch + 1"), {"owner": ELSEWHERE}
        )


def test_a_lease_is_held_by_one_and_free_afterwards(registry):
    with registry.lease("rollout") as lease:
        with (
            pytest.raises(ConflictError, match=f"host {socket.gethostname()}, pid {os.getpid()}"),
            registry.lease("rollout"),
        ):
            pass
        with registry.lease("watch"):
            lease.check()
    with registry.lease("rollout") as again:
        assert again.epoch == lease.epoch + 1


def test_a_lease_is_released_after_an_error(registry):
    with pytest.raises(ZeroDivisionError), registry.lease("rollout"):
        raise ZeroDivisionError
    with registry.lease("rollout"):
        pass


@pytest.mark.slow
def test_after_kill_9_the_lease_is_taken_over_at_once(registry, url, start):
    holder = start(HOLD, url, "600")
    assert holder.stdout.readline() == "1\n"
    with pytest.raises(ConflictError, match=f"pid {holder.pid}"), registry.lease("rollout"):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while "Z" not in _state(holder.pid) and time.monotonic() < deadline:
        time.sleep(0.01)

    with registry.lease("rollout") as lease:  # although nobody has reaped the dead process
        assert lease.epoch == 2


def _state(pid):
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123  procfs
        return stat.read().rpartition(")")[2].split()[0]


def test_another_process_with_the_same_pid_is_another_owner(registry):
    recycled = f"{socket.gethostname()}:{os.getpid()}:1"
    with registry.lease("rollout", recycled), registry.lease("rollout") as lease:
        assert lease.epoch == 2


def test_an_owner_on_another_host_is_waited_for(registry):
    with registry.lease("rollout", ELSEWHERE, ttl_s=0.3) as lost:
        lost._stop.set()  # the other host is cut off: nobody renews
        with (
            pytest.raises(ConflictError, match="host elsewhere, pid 1 holds the lease 'rollout'"),
            registry.lease("rollout"),
        ):
            pass
        time.sleep(0.4)
        with registry.lease("rollout") as lease:
            assert lease.epoch == 2
            with pytest.raises(ConflictError, match=f"pid {os.getpid()} holds"):
                lost.check()
            assert lost.lost.is_set()
            lease.check()


def test_a_lease_is_renewed_while_it_is_held(registry):
    with registry.lease("rollout", ELSEWHERE, ttl_s=0.6) as lease:
        time.sleep(1.2)
        with pytest.raises(ConflictError), registry.lease("rollout"):
            pass
        assert not lease.lost.is_set()


def test_a_lost_lease_is_noticed_without_asking(registry, url):
    with registry.lease("rollout", ttl_s=0.3) as lease:
        hold_nothing_more(url)
        assert lease.lost.wait(5)
        with pytest.raises(ConflictError, match="must be ours"):
            lease.check()


def test_a_lost_lease_is_not_released_for_its_new_holder(registry, url):
    with registry.lease("rollout", ttl_s=600):
        hold_nothing_more(url)
    with pytest.raises(ConflictError, match="host elsewhere"), registry.lease("rollout"):
        pass


def test_of_threads_that_race_one_holds_the_lease(url):
    barrier = threading.Barrier(6)
    done = threading.Barrier(6)

    def take(_):
        registry = Registry(url)
        barrier.wait()
        try:
            with registry.lease("rollout"):
                done.wait()
                return 1
        except ConflictError:
            done.wait()
            return 0

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(take, range(6))) == 1


@pytest.mark.slow
def test_of_processes_that_race_one_holds_the_lease(url, start):
    processes = [start(RACE, url) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()

    assert sorted(p.stdout.readline() for p in processes) == ["lost\n", "lost\n", "won\n"]


def test_the_owner_names_host_pid_and_start():
    host, pid, started = process_owner().rsplit(":", 2)

    assert (host, int(pid)) == (socket.gethostname(), os.getpid())
    assert int(started) > 0


def test_a_lease_is_checked_only_while_it_is_held(registry):
    with pytest.raises(InputError, match="must be entered"):
        registry.lease("rollout").check()
    with pytest.raises(InputError, match="positive time"):
        registry.lease("rollout", ttl_s=0)
